//! The endpoints against real servers.

mod capture;
mod server;
