//! Pairing against a real store, alone and through real connections on loopback.

/// The same over both transports.
macro_rules! over_both {
    ($($claim:ident),* $(,)?) => {
        mod quic {
            $(#[tokio::test]
            async fn $claim() {
                Box::pin(super::$claim(tidegate_shared::tunnel::Transport::Quic)).await;
            })*
        }

        mod tcp {
            $(#[tokio::test]
            async fn $claim() {
                Box::pin(super::$claim(tidegate_shared::tunnel::Transport::Tcp)).await;
            })*
        }
    };
}

mod authorities;
mod live;
mod redeem;
mod strangers;
mod world;
