//! Mutants that no test notices, each with the reason why that is right or where it is noticed.

/// Name, judgement.
pub const JUDGED: &[(&str, &str)] = &[];
