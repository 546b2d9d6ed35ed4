//! The endpoints against real servers.

mod capture;
mod ladder;
mod server;

mod round;

mod apply;
mod bulk;
mod connect;
mod digest;
mod inspect;
mod recover;
mod refusals;
mod slot_guard;
mod snapshot;
mod speed;
mod swap;
mod values;
