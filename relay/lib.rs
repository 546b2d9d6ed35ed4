//! The relay: accepts agents, runs two-way syncs through their tunnels, serves API and console.
//!
//! Rooms in the order in which data flows through them; `app` wires them and nobody imports it.

pub mod identity;
pub mod pairing;
pub mod tunnel;

pub mod endpoint;
pub mod engine;
pub mod notify;
pub mod store;

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod observe;
pub mod place;
