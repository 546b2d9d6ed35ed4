//! Room under construction: api.
