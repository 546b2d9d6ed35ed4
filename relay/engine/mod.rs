//! Runs syncs: one owner task per sync drives its pure session with real sides and the store.
//!
//! The engine decides nothing about data (that is `tidegate-sync`) and moves no bytes (that is
//! `endpoint`). `app` builds it, `api` calls it through [`handle::SyncControl`].

mod blast;
mod capture;
mod control;
mod crash;
pub mod definition;
mod drift;
mod driver;
mod edited;
mod edits;
mod forms;
mod guardian;
pub mod handle;
mod layout;
pub mod limits;
mod linked;
pub mod mapping;
mod named;
pub mod news;
mod pages;
mod paused;
mod preview;
pub mod report;
mod run;
mod scan;
pub mod suggest;
mod supervisor;
pub mod syncfile;
mod undo;
pub mod verify;
mod wishes;

pub use control::{EndpointSource, Engine};
