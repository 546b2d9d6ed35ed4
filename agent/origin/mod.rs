//! Room under construction: origin.
