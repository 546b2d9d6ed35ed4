//! The real binaries against real PostgreSQL, as an operator would run them.

mod faults;
mod stage;
mod two_way;
