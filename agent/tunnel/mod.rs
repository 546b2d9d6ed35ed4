//! Room under construction: tunnel.
