//! The real binaries against real PostgreSQL, as an operator would run them.

mod bad_input;
mod big;
mod deletes;
mod faults;
mod history;
mod looks;
mod rights;
mod secrets;
mod speed;
mod stage;
mod two_way;
mod undo;
