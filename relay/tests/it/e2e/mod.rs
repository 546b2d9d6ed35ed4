//! The real binaries against real PostgreSQL, as an operator would run them.

mod bad_input;
mod big;
mod deletes;
mod faults;
mod looks;
mod repair;
mod rights;
mod secrets;
mod soak;
mod speed;
mod stage;
mod two_way;
mod verify;
