//! The messages between agent and relay, and their framing. The only place that names bincode.
//!
//! A frame is `u32 length | u8 codec | u16 schema | payload`, big-endian, where `length` counts
//! what follows it. Each message type has a cap that is checked before anything is buffered, the
//! decoder's own limit equals that cap. Messages are flat, and table rows never travel as messages.
//!
//! Neighbouring versions understand each other. A message grows at its end, by [`Grown`] fields: an
//! older peer's ends before them, and what a newer peer has behind them is skipped. A code that is not
//! known is kept as a number. A new kind of message is sent only to who has said that it knows as
//! many (`knows` in [`Hello`] and [`HelloAck`]), so kinds are only added at the end.

mod codes;
mod control;
mod frame;
mod grown;
mod link;
mod open;
mod pair;

use codes::codes;
pub use control::{
    AgentMessage, Goodbye, Held, Hello, HelloAck, Holding, Offer, RelayMessage, RenewRefusal,
    SessionRefusal, TargetInfo, Trust,
};
pub use frame::{FrameReader, WireError, decode, encode, read_message, write_message};
pub use grown::Grown;
pub use link::{LinkJoined, LinkMessage, LinkOpening, LinkSecret, LinkTicket};
pub use open::{OpenAnswer, OpenDenial, OpenRequest, Purpose};
pub use pair::{PairAnswer, PairAsk, PairRefusal, PairRequest, Paired, ReissueRequest};

/// The oldest protocol version that this build speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// The newest protocol version that this build speaks.
pub const PROTOCOL_MAX: u16 = 1;

/// The newest version that both sides speak, if there is one.
pub fn negotiate(peer_min: u16, peer_max: u16) -> Option<u16> {
    let newest = PROTOCOL_MAX.min(peer_max);
    (newest >= PROTOCOL_MIN && newest >= peer_min).then_some(newest)
}

/// Caps of the message types, in payload bytes.
pub mod limits {
    /// Sent before authentication: a CSR (below 1 KiB with P-256) and a few short texts.
    pub const PAIR_ASK_BYTES_MAX: usize = 8 * 1024;
    /// A chain of two certificates and an authority.
    pub const PAIR_ANSWER_BYTES_MAX: usize = 32 * 1024;
    /// A hello lists the targets: 64 KiB hold more than five hundred.
    pub const CONTROL_BYTES_MAX: usize = 64 * 1024;
    /// Three short names and a number.
    pub const OPEN_BYTES_MAX: usize = 4 * 1024;
    /// A number and a secret of 32 bytes.
    pub const LINK_OPENING_BYTES_MAX: usize = 64;
    /// Bytes of the control stream that travel in one piece over TCP.
    pub const LINK_DATA_BYTES_MAX: usize = 16 * 1024;
    /// Such a piece, and its own length.
    pub const LINK_BYTES_MAX: usize = LINK_DATA_BYTES_MAX + 16;
}

/// A type that may be framed. Implemented only in this room.
pub trait Message: bincode::Encode + bincode::Decode<()> {
    /// What errors call it.
    const NAME: &'static str;
    /// Cap of the payload, in bytes.
    const BYTES_MAX: usize;

    /// Decodes a whole payload under the cap. What a newer peer has behind the message is skipped.
    #[doc(hidden)]
    fn decode_payload(payload: &[u8]) -> Result<Self, bincode::error::DecodeError>;
}

macro_rules! message {
    ($type:ty, $cap:expr) => {
        impl crate::wire::Message for $type {
            const NAME: &'static str = stringify!($type);
            const BYTES_MAX: usize = $cap;

            fn decode_payload(payload: &[u8]) -> Result<Self, bincode::error::DecodeError> {
                // The claimed sizes inside are charged against the same cap.
                let config = bincode::config::standard().with_limit::<{ $cap }>();
                bincode::decode_from_slice(payload, config).map(|(message, _)| message)
            }
        }
    };
}
use message;
