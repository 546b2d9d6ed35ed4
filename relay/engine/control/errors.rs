//! What the rooms below say, as answers for the caller.

use crate::endpoint::{Class, EndpointError};
use crate::engine::handle::{ControlError, ControlErrorKind};
use crate::engine::run::RunError;
use crate::store::StoreError;

pub(super) fn invalid(code: &'static str, message: String) -> ControlError {
    ControlError::new(ControlErrorKind::Invalid, code, message)
}

pub(super) fn conflict(code: &'static str, message: String) -> ControlError {
    ControlError::new(ControlErrorKind::Conflict, code, message)
}

pub(super) fn internal(error: StoreError) -> ControlError {
    ControlError::new(ControlErrorKind::Internal, "store", error.to_string())
}

pub(super) fn named(error: StoreError, noun: &str, name: &str) -> ControlError {
    match &error {
        StoreError::NotFound { .. } => {
            let text = format!("there is no {noun} `{name}`: see `{noun} list`");
            ControlError::new(ControlErrorKind::NotFound, "not-found", text)
        }
        StoreError::Taken { .. } | StoreError::InUseBy { .. } => {
            ControlError::new(ControlErrorKind::Conflict, "conflict", error.to_string())
        }
        _ => internal(error),
    }
}

pub(super) fn unreachable(error: EndpointError) -> ControlError {
    let kind = match error.class {
        Class::Retry(_) | Class::Operator => ControlErrorKind::Unavailable,
        Class::Bug => ControlErrorKind::Internal,
    };
    ControlError::new(kind, error.code, error.message)
}

pub(in crate::engine) fn failed(error: RunError) -> ControlError {
    match error {
        RunError::Side { side, source } => {
            let text = format!("{}: {}", side.name(), source.message);
            ControlError {
                message: text,
                ..unreachable(source)
            }
        }
        RunError::Mapping(problems) => invalid("sync-refused", problems.join("\n")),
        RunError::Refused(message) | RunError::Unapproved(message) | RunError::Gap(message) => {
            invalid("sync-refused", message)
        }
        RunError::Store(error) => internal(error),
    }
}
