//! Room under construction: wire.
