//! Reading a PostgreSQL's changes: every trap that its change stream has.

mod big;
mod bytes;
mod changes;
mod peer;
mod position;
mod shape;
mod slot;
mod unchanged;
