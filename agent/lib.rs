//! The agent: runs beside a private PostgreSQL, dials out, hands over logged-in database sessions.
//!
//! Nothing listens in the private network. `service` wires the running agent, `tunnel` keeps the
//! connection to the relay, `route` finds the way to it, `origin` decides what may be reached and logs in, `identity` holds key
//! and certificate, `slot_guard` keeps slots from filling the disk.

pub mod audit;
pub mod cli;
pub mod config;
mod durable;

pub mod identity;
pub mod route;
pub mod tunnel;

pub mod origin;

pub mod doctor;
pub mod grant;
pub mod service;
mod slot_guard;
