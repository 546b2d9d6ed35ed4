//! Tells people what waits for them: by webhook, in Slack (or what speaks like it), by e-mail.
//!
//! * [`watch`] looks how everything goes, [`matters`] makes of it what began and what is over: each thing
//!   is told once, and again when it is over. Both are pure.
//! * [`event`] is the list of what can be told, [`message`] several of it at once, and [`forms`] how a
//!   message looks in each kind of channel. Names in it may come from databases; row values, errors and
//!   secrets are never in it.
//! * [`target`] is where a channel leads. [`courier`] keeps the outbox: a message is in the store before
//!   it is sent and is tried until it arrives, so at least once. [`webhook`] and [`smtp`] carry it,
//!   to public addresses only unless an administrator of the relay allows others.
//!
//! `app` runs it and hands the views in; `api` keeps channels and asks for tests.

pub mod courier;
pub mod event;
mod forms;
mod matters;
pub mod message;
mod notifier;
mod signature;
mod smtp;
pub mod target;
pub mod watch;
mod webhook;

pub use courier::{Courier, Settings, Undelivered};
pub use notifier::{Lookout, run};
pub use signature::new_secret;

/// Bounds of this room.
mod limits {
    use std::time::Duration;

    /// How often is looked how everything goes: it costs a view of each sync, as a scrape of the metrics.
    pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
    /// Something is over when it was well for so long: what comes and goes is told once.
    pub(super) const CALM: Duration = Duration::from_secs(60);
    /// How often the outbox is looked through.
    pub(super) const OUTBOX_EVERY: Duration = Duration::from_secs(1);
    /// Between two messages to a channel: what happens meanwhile goes together.
    pub(super) const GAP: Duration = Duration::from_secs(60);
    /// The same when a channel got [`BUSY_MESSAGES`] within an hour.
    pub(super) const GAP_BUSY: Duration = Duration::from_secs(900);
    pub(super) const BUSY_MESSAGES: u64 = 10;
    /// Things in one message; of more only the number is told.
    pub(super) const ITEMS_MAX: usize = 20;
    /// News that are taken into one message at most.
    pub(super) const NEWS_MAX: u32 = 1000;
    /// Names of tables that one thing tells.
    pub(super) const TABLES_MAX: usize = 5;
    /// Longest name that is told, characters.
    pub(super) const NAME_CHARS_MAX: usize = 100;
    /// One attempt, from the first packet to the answer.
    pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(30);
    pub(super) const CONNECT_MAX: Duration = Duration::from_secs(10);
    /// Attempts before a message is given up, within about a day.
    pub(super) const ATTEMPTS_MAX: u32 = 12;
    pub(super) const RETRY_MIN: Duration = Duration::from_secs(5);
    pub(super) const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);
    /// Attempts after which others are told that a channel does not work.
    pub(super) const FAILING_ATTEMPTS: u32 = 3;
    /// Messages under way at the same time, of all channels.
    pub(super) const UNDER_WAY_MAX: usize = 8;
}
