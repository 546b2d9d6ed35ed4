//! PostgreSQL as a side of a sync.

mod temporal;
pub mod types;

mod sqlstate;
mod tls;

pub mod connect;
pub mod direct;

mod fix_key;
mod inspect;
mod problems;
mod relations;
pub mod shape;
