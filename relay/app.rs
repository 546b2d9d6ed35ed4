//! Room under construction: app.
