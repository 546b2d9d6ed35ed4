//! What agent and relay must agree on: identity, pairing token, wire messages, tunnel;
//! and what both do alike: TLS towards PostgreSQL, sizes in configurations, what systemd is
//! told, and logs that stop nobody.
//!
//! Nothing here knows a store or a sync. Both binaries call it; it calls neither.

pub mod identity;
pub mod log_writer;
pub mod pairing;
pub mod service_manager;
pub mod size;
pub mod sslmode;
pub mod tunnel;
pub mod wire;

mod class;

pub use class::Class;
