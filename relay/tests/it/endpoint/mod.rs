//! The endpoints against real servers.

mod server;

mod round;

mod apply;
mod inspect;
mod recover;
mod refusals;
mod snapshot;
mod speed;
mod values;
