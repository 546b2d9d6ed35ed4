//! The agent's part in streams: it keeps a few connections ready at the relay.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::dial::Dialling;
use super::session::Session;
use super::spare::SpareConnection;
use super::{broken_wire, limits};
use crate::tunnel::limits::STREAMS_FROM_RELAY;
use crate::tunnel::{Backoff, TunnelError};
use crate::wire::{LinkJoined, LinkOpening, LinkTicket, read_message, write_message};

/// What the relay's first bytes on a connection may be at once, bytes: a request for a stream.
const FIRST_BYTES: usize = 8 * 1024;

/// Lends connections until it is dropped. Those in use belong to their streams.
pub(super) async fn lend(
    session: &Session,
    dialling: Arc<Dialling>,
    ticket: LinkTicket,
) -> Infallible {
    let mut backoff = Backoff::seeded(rand::random());
    let mut wait = Duration::ZERO;
    let mut lent = JoinSet::new();
    loop {
        while lent.len() < limits::SPARE_WANTED {
            let Ok(place) = Arc::clone(&session.places).try_acquire_owned() else {
                break;
            };
            lent.spawn(lend_one(dialling.clone(), ticket.clone(), place, wait));
        }
        match lent.join_next().await {
            Some(Ok(Ok(Some(used)))) => {
                backoff.reset();
                wait = Duration::ZERO;
                // Its place keeps the number below the bound.
                session.spare.add(used, STREAMS_FROM_RELAY as usize);
            }
            // The relay let it go.
            Some(Ok(Ok(None))) => wait = Duration::ZERO,
            Some(Ok(Err(error))) => {
                tracing::debug!(%error, "a connection for streams could not be lent");
                wait = backoff.next_wait();
            }
            Some(Err(_)) => wait = backoff.next_wait(),
            // As many streams as there may be.
            None => drop(session.places.acquire().await),
        }
    }
}

/// Dials one and waits until the relay uses it.
async fn lend_one(
    dialling: Arc<Dialling>,
    ticket: LinkTicket,
    place: OwnedSemaphorePermit,
    wait: Duration,
) -> Result<Option<SpareConnection>, TunnelError> {
    sleep(wait).await;
    let joining = async {
        let mut tls = dialling.handshake().await?;
        let opening = LinkOpening::Stream(ticket);
        let joined = async {
            write_message(&mut tls, &opening).await?;
            read_message::<LinkJoined, _>(&mut tls).await
        };
        joined.await.map_err(|error| broken_wire(&error))?;
        Ok::<_, TunnelError>(tls)
    };
    let mut tls = timeout(limits::HANDSHAKE, joining)
        .await
        .map_err(|_| TunnelError::TimedOut)??;
    let mut first = Vec::with_capacity(FIRST_BYTES);
    match tls.read_buf(&mut first).await {
        Ok(1..) => {
            let mut used = SpareConnection::new(tls, first);
            used.place = Some(place);
            Ok(Some(used))
        }
        _ => Ok(None),
    }
}
