//! Room under construction: config.
