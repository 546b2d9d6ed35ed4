//! Room under construction: pairing token.
