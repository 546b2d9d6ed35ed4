//! The agent against a real PostgreSQL, a relay played by the test, and as a program.
//!
//! Every server is a throwaway one with SCRAM that the test starts itself.

mod middlebox;
mod names;
mod relay;
mod server;

mod cli;
mod doctor;
mod holds;
mod hostile;
mod login;
mod powers;
mod proxies;
mod tunnel;
mod ways;
