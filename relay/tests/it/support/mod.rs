//! What the integration tests stand on.

// Each room's tests use a part of it.
#![allow(dead_code)]

pub mod bench;
pub mod chance;
pub mod desk;
pub mod link;
pub mod port;
pub mod postgres;
pub mod provider;
pub mod python;
pub mod side;
pub mod stream;
