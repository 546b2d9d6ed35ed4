//! PostgreSQL as a side of a sync.

mod temporal;
pub mod types;
