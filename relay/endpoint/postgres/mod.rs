//! PostgreSQL as a side of a sync.

mod temporal;
pub mod types;

mod frame;
pub mod replication;

pub mod pgoutput;
pub mod slots;

mod staging;

mod mapping;

mod transactions;

mod feedback;
mod queue;

pub mod capture;

pub use mapping::CaptureTable;
