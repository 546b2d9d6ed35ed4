//! Room under construction: pairing.
