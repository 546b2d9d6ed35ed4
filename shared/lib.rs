//! What agent and relay must agree on: identity, pairing token, wire messages, tunnel.

pub mod identity;
pub mod pairing;
pub mod tunnel;
pub mod wire;
