//! Room under construction: identity.
