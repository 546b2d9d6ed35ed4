//! Test doubles of apps that can't be installed here (see `README.md` beside this file). Each keeps
//! its documented contract: shapes, limits, paging, batches, errors, and what is unpleasant about
//! it, by name, as a trap. Not for production: state is in memory and lost at the end.

pub mod airtable;
mod host;
pub mod hubspot;
pub mod notion;
pub mod webflow;

pub use airtable::Airtable;
pub use host::fault::{Fault, Harm};
pub use host::options::Options;
pub use host::trap::{EVERYWHERE, Trap};
pub use host::{App, Row, Running};
pub use hubspot::HubSpot;
pub use notion::Notion;
pub use webflow::Webflow;
