//! Room under construction: endpoint.
