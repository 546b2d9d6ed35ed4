//! The relay's integration tests: one binary, folders mirror the rooms.

// Nothing outside this binary can reach its items.
#![allow(unreachable_pub)]

mod support;

mod api;
mod apps;
mod cli;
mod documents;
mod e2e;
mod endpoint;
mod hostile;
mod notify;
mod store;
