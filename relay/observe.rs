//! Room under construction: observe.
