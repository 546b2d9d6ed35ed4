//! The agent: runs beside a private PostgreSQL, dials out, hands over logged-in database sessions.

pub mod identity;
pub mod origin;
pub mod tunnel;

pub mod cli;
pub mod config;
