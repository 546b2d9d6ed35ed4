//! The `tidegate-agent` binary.

fn main() {}
