//! Room under construction: engine.
