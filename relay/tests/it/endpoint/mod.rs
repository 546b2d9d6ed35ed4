//! The endpoints against real servers.

mod server;
