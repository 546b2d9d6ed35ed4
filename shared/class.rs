//! What should happen after an error. Every room's error answers `class()` with this; the text
//! of an error is never looked at to decide.

/// The next step after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Trying the same again, later, may work.
    Retry,
    /// A person must act; the text says what to do, in one sentence.
    Operator(&'static str),
    /// Our own mistake: report it, don't loop on it.
    Bug,
}
