//! What went wrong at a side, and what should happen next.

use std::time::Duration;

use thiserror::Error;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It passes by itself: try again after this long.
    Retry(Duration),
    /// A person must act; the message says what to do.
    Operator,
    /// The answer makes no sense: a defect of ours or of the side.
    Bug,
}

/// An error of a side. `message` is for people and holds no secret and no row value.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct EndpointError {
    pub class: Class,
    /// Stable code, part of the API: `connection-refused`, `login-refused`, `slot-lost` …
    pub code: &'static str,
    pub message: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl EndpointError {
    pub fn retry(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Class::Retry(RETRY_DEFAULT), code, message)
    }

    pub fn operator(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Class::Operator, code, message)
    }

    pub fn bug(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Class::Bug, code, message)
    }

    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    fn new(class: Class, code: &'static str, message: impl Into<String>) -> Self {
        EndpointError {
            class,
            code,
            message: message.into(),
            source: None,
        }
    }
}

/// First wait before a failed side is tried again; the engine backs off from there.
const RETRY_DEFAULT: Duration = Duration::from_millis(500);
