//! Messages at the head of a database stream. After `Opened` the stream carries PostgreSQL's
//! frontend/backend protocol (or, for a cancellation, one CancelRequest) and no more messages.

use bincode::{Decode, Encode};

use super::{codes, limits, message};

/// The relay asks for a session with a target that the agent's configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OpenRequest {
    /// A target's name, never an address.
    pub target: String,
    /// Labels for people: they become `application_name = tidegate/<sync>/<run>`.
    pub sync: String,
    pub run: String,
    /// Lease epoch of the asking relay; the agent admits only the newest it has seen.
    pub epoch: u64,
    pub purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Purpose {
    Session,
    Replication,
    /// The stream will carry one CancelRequest for a session of this same tunnel.
    Cancel,
    /// Only to see whether the target can be reached and logged in to.
    Probe,
    /// A session for a person's own tool (psql, pg_dump), where the target allows it.
    Forward,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum OpenAnswer {
    Opened,
    Denied {
        code: OpenDenial,
        /// One line for the operator; never a secret, never an address that the relay must know.
        text: String,
    },
}

codes! {
    pub enum OpenDenial {
        UnknownTarget = 0,
        /// The agent's policy forbids it (paused, read-only, purpose).
        NotAllowed = 1,
        /// A newer epoch was seen: another relay owns this sync now.
        StaleEpoch = 2,
        /// A limit of the agent is reached; try again later.
        TooMany = 3,
        /// The database can't be reached.
        Unreachable = 4,
        /// The database refused the agent's login.
        LoginFailed = 5,
        /// The request itself makes no sense.
        BadRequest = 6,
        /// The agent's operator paused it; it says when that ends.
        Paused = 7,
    }
}

message!(OpenRequest, limits::OPEN_BYTES_MAX);
message!(OpenAnswer, limits::OPEN_BYTES_MAX);
