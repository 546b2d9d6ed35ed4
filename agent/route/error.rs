//! Why a relay can't be reached; each is one line that says what to do next.

use tidegate_shared::Class;
use tidegate_shared::pairing::RelayAddr;
use tidegate_shared::tunnel::TunnelError;

#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("{relay}: {source}{}", advice(source))]
    Unreachable {
        relay: RelayAddr,
        source: TunnelError,
    },
    #[error(
        "{relay} does not answer over {over}: check the address, that the relay runs, and that \
         firewalls let {over} to this port out and in"
    )]
    Silent {
        relay: RelayAddr,
        over: &'static str,
    },
    #[error("{relay}: proxy {proxy}: {text}")]
    Proxy {
        relay: RelayAddr,
        proxy: String,
        text: String,
    },
    #[error("the name of {relay} can't be resolved: {text}: check DNS on this host")]
    Unresolved { relay: RelayAddr, text: String },
}

/// The advice of a tunnel error, ready to be put behind its text.
fn advice(error: &TunnelError) -> String {
    match error.class() {
        Class::Operator(text) => format!(": {text}"),
        Class::Retry => ": try again in a moment".into(),
        Class::Bug => ": please report this".into(),
    }
}

impl RouteError {
    pub(super) fn silent(relay: &RelayAddr, over: &'static str) -> Self {
        RouteError::Silent {
            relay: relay.clone(),
            over,
        }
    }

    pub fn class(&self) -> Class {
        match self {
            RouteError::Unreachable { source, .. } => source.class(),
            RouteError::Silent { .. }
            | RouteError::Proxy { .. }
            | RouteError::Unresolved { .. } => Class::Retry,
        }
    }

    /// What the handshake said, if there was one.
    pub fn tunnel_error(&self) -> Option<&TunnelError> {
        match self {
            RouteError::Unreachable { source, .. } => Some(source),
            RouteError::Silent { .. }
            | RouteError::Proxy { .. }
            | RouteError::Unresolved { .. } => None,
        }
    }

    /// The one that tells more, when neither way passes: what a person must do before everything,
    /// and nothing but silence if there is nothing else. Either may be the one over UDP.
    pub(super) fn of_both(one: Self, other: Self, silent: Self) -> Self {
        let needs_a_person = |error: &Self| matches!(error.class(), Class::Operator(_));
        let heard_nothing = |error: &Self| {
            matches!(
                error.tunnel_error(),
                None | Some(TunnelError::Unreachable(_))
            )
        };
        match (heard_nothing(&one), heard_nothing(&other)) {
            (true, true) => match (one, other) {
                (proxy @ RouteError::Proxy { .. }, _) | (_, proxy @ RouteError::Proxy { .. }) => {
                    proxy
                }
                (name @ RouteError::Unresolved { .. }, _)
                | (_, name @ RouteError::Unresolved { .. }) => name,
                _ => silent,
            },
            (true, false) => other,
            (false, true) => one,
            (false, false) if needs_a_person(&other) => other,
            (false, false) => one,
        }
    }
}
