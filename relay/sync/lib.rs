//! The pure heart of Tidegate: values, merge, plan and the sync session.
//!
//! Nothing here reads a clock, draws a random number, or does I/O: the same inputs give the same
//! outputs, so that the simulator can replay any failure from its seed. The relay's engine drives
//! a [`session::Session`] with real endpoints and a real store; `tests/sim` drives the same
//! session with simulated ones.
//!
//! Reading order: [`value`], [`model`], [`baseline`], [`policy`], [`reference`], [`merge`],
//! [`scope`], [`plan`], [`decide`], [`doubt`], [`inbox`], [`session`].

pub mod value;

mod display;
mod json;

pub mod codec;

pub mod model;

pub mod baseline;
pub mod policy;
pub mod reference;

pub mod merge;

pub mod scope;

pub mod plan;

pub mod decide;
pub mod doubt;

pub mod inbox;

pub mod session;
