//! Fields that messages have grown at their end, so that an older peer's shorter message is read.

use bincode::de::read::Reader;
use bincode::de::{BorrowDecode, BorrowDecoder, Decode, Decoder};
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};

/// One of the last fields of a message that is the whole payload: its default where the payload ends
/// before it. Half of it is an error as ever. An older peer skips it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grown<T>(pub T);

impl<T: Encode> Encode for Grown<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<T: Default + Decode<C>, C> Decode<C> for Grown<T> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        // Payloads are decoded from memory, where no next byte means that there is none.
        if decoder.reader().peek_read(1).is_none() {
            return Ok(Grown::default());
        }
        T::decode(decoder).map(Grown)
    }
}

impl<'de, T: Default + BorrowDecode<'de, C>, C> BorrowDecode<'de, C> for Grown<T> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        if decoder.reader().peek_read(1).is_none() {
            return Ok(Grown::default());
        }
        T::borrow_decode(decoder).map(Grown)
    }
}
