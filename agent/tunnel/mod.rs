//! Towards the relay: dial it for ever, say hello, serve the streams that it opens, leave politely.
//!
//! `supervise` owns the loop and every task; `dial` makes one connection; `serve` handles one
//! stream. What a stream may reach is decided in `origin`, never here.

pub mod causes;
pub mod dial;
pub mod serve;
pub mod status;
pub mod supervise;
