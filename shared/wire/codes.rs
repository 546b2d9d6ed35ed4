//! Enums of codes, which newer peers may know more of: what this build does not know keeps its
//! number, so that a refusal with a new reason is still a refusal.

/// Declares such an enum. Numbers are part of the protocol: never reuse one. On the wire a code is
/// what `derive(Encode)` makes of a variant without fields.
macro_rules! codes {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $($(#[$what:meta])* $variant:ident = $number:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$what])* $variant,)+
            /// One that only a newer peer knows, by its number.
            Unknown(u32),
        }

        impl bincode::Encode for $name {
            fn encode<E: bincode::enc::Encoder>(
                &self,
                encoder: &mut E,
            ) -> Result<(), bincode::error::EncodeError> {
                let number: u32 = match self {
                    $($name::$variant => $number,)+
                    $name::Unknown(number) => *number,
                };
                number.encode(encoder)
            }
        }

        impl<C> bincode::Decode<C> for $name {
            fn decode<D: bincode::de::Decoder<Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, bincode::error::DecodeError> {
                Ok(match <u32 as bincode::Decode<C>>::decode(decoder)? {
                    $($number => $name::$variant,)+
                    number => $name::Unknown(number),
                })
            }
        }

        bincode::impl_borrow_decode!($name);
    };
}
pub(super) use codes;
