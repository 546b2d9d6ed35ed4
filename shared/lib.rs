//! What agent and relay must agree on: identity, pairing token, wire messages, tunnel.
//!
//! Nothing here knows a database, a store or a sync. Both binaries call it; it calls neither.

pub mod identity;
pub mod pairing;
pub mod tunnel;
pub mod wire;

mod class;

pub use class::Class;
