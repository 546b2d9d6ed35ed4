//! Messages of the pairing connection (ALPN `tidegate-pair/1`): one question, one answer.

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};

use super::{Grown, codes, limits, message};
use crate::pairing::TokenSecret;

/// The one message that an unauthenticated peer may send.
#[derive(Debug, Clone, Encode, Decode)]
pub enum PairAsk {
    /// Redeems a pairing token.
    Redeem(PairRequest),
    /// Asks for a new certificate for a key whose certificate ran out while the agent was away.
    Reissue(ReissueRequest),
}

/// Redeems a token for a certificate. Sent only after the relay's authority matched the pin.
#[derive(Debug, Clone, Encode, Decode)]
pub struct PairRequest {
    pub token_id: [u8; 16],
    pub secret: TokenSecret,
    /// PKCS#10 request (RFC 2986), DER. Only its key is used; the names inside are ignored.
    pub csr_der: Vec<u8>,
    /// Host name, for people to read; nothing is decided by it.
    pub host: String,
    pub agent_version: String,
}

/// Proof of the bound key is the signature of the CSR itself: replaying it yields a certificate
/// that is of no use without the key.
#[derive(Debug, Clone, Encode, Decode)]
pub struct ReissueRequest {
    pub csr_der: Vec<u8>,
    pub host: String,
    pub agent_version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PairAnswer {
    Paired(Paired),
    Refused { code: PairRefusal },
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Paired {
    /// The name that the operator gave; the certificate holds the id.
    pub agent_name: String,
    pub workspace: String,
    /// The agent's certificate first, then its authority; DER each.
    pub chain_der: Vec<Vec<u8>>,
    /// Authorities that relay certificates are signed by; the agent checks them against its pins.
    pub relay_ca_der: Vec<Vec<u8>>,
    /// Which list of authorities this is ([`super::Trust`]). Zero for the first one.
    pub trust_generation: Grown<u64>,
}

codes! {
    /// Deliberately coarse: unknown, used, expired and wrong look the same from outside.
    pub enum PairRefusal {
        /// The token, or the key, is not (or no longer) good for a certificate.
        NotAccepted = 0,
        /// Too many attempts; try again later.
        Busy = 1,
        /// The request itself can't be used, for example a key type that is not ECDSA P-256.
        BadRequest = 2,
        /// The relay could not answer; nothing was used up.
        Unavailable = 3,
        /// To the owner of a known key alone: its agent or certificate is revoked.
        Revoked = 4,
        /// To the owner of a known key alone: it was away for too long or too often.
        Lapsed = 5,
    }
}

impl std::fmt::Display for PairRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PairRefusal::NotAccepted => {
                "the relay does not accept this token: it is unknown, expired, used or revoked; \
                 ask for a new one with `tidegate-relay agent invite`"
            }
            PairRefusal::Busy => "the relay gets too many pairing attempts; try again in a minute",
            PairRefusal::BadRequest => "the relay can't use this request; update tidegate-agent",
            PairRefusal::Unavailable => {
                "the relay could not answer; try the same token again in a moment"
            }
            PairRefusal::Revoked => "the relay revoked this agent; pair it again with a new token",
            PairRefusal::Lapsed => {
                "this agent was away for too long after the end of its certificate, or too often; \
                 pair it again with a new token"
            }
            PairRefusal::Unknown(_) => {
                "the relay refused, for a reason that this version does not know: see its log, or \
                 update tidegate-agent"
            }
        })
    }
}

message!(PairAsk, limits::PAIR_ASK_BYTES_MAX);
message!(PairAnswer, limits::PAIR_ANSWER_BYTES_MAX);

impl Encode for TokenSecret {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.expose().encode(encoder)
    }
}

impl<C> Decode<C> for TokenSecret {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(TokenSecret::new(Decode::decode(decoder)?))
    }
}

impl<'de, C> BorrowDecode<'de, C> for TokenSecret {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Ok(TokenSecret::new(BorrowDecode::borrow_decode(decoder)?))
    }
}
