//! A pairing connection: one question of an unknown peer, one answer, within a deadline.

use std::sync::Arc;
use std::time::SystemTime;

use tidegate_shared::tunnel::{CloseCode, Tunnel};
use tidegate_shared::wire::{self, PairAsk, WireError};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::{Doorkeeper, limits};

/// Serves the connection and closes it.
pub(super) async fn serve<D: Doorkeeper>(tunnel: Tunnel, door: Arc<D>, now: SystemTime) {
    let code = match timeout(limits::PAIRING, converse(&tunnel, door, now)).await {
        Ok(Ok(())) => CloseCode::DONE,
        Ok(Err(error)) => {
            tracing::debug!(remote = %tunnel.remote(), %error, "A pairing attempt broke off.");
            CloseCode::PROTOCOL
        }
        Err(_) => CloseCode::TIMEOUT,
    };
    tunnel.close(code);
}

async fn converse<D: Doorkeeper>(
    tunnel: &Tunnel,
    door: Arc<D>,
    now: SystemTime,
) -> Result<(), WireError> {
    let Ok(mut stream) = tunnel.accept().await else {
        // The host looked at our certificate and left; nothing to answer.
        return Ok(());
    };
    let ask: PairAsk = wire::read_message(&mut stream).await?;
    let answer = door.pair(ask, tunnel.remote().ip(), now).await;
    wire::write_message(&mut stream, &answer).await?;
    stream.shutdown().await?;
    stream.drained().await;
    Ok(())
}
