//! The `tidegate-relay` binary.

fn main() {}
