//! The real binaries against real PostgreSQL, as an operator would run them.

mod asked;
mod bad_input;
mod big;
mod captures;
mod deletes;
mod editors;
mod edits;
mod faults;
mod history;
mod holds;
mod looks;
mod lost_slots;
mod mapping;
mod monitoring;
mod postgres_faults;
mod repair;
mod resume;
mod rights;
mod secrets;
mod slot_guard;
mod soak;
mod speed;
pub mod stage;
mod two_way;
mod undo;
mod verify;
mod workspaces;
