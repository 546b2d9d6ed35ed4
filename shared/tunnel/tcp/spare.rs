//! Connections that are ready for a stream, oldest first.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::{Connection, limits};

#[derive(Default)]
pub(super) struct Spare {
    ready: Mutex<VecDeque<SpareConnection>>,
    added: Notify,
}

pub(super) struct SpareConnection {
    pub(super) tls: Connection,
    /// What the peer sent already: it has begun to use the connection.
    pub(super) first: Vec<u8>,
    pub(super) place: Option<OwnedSemaphorePermit>,
    since: Instant,
}

impl SpareConnection {
    pub(super) fn new(tls: Connection, first: Vec<u8>) -> Self {
        Self {
            tls,
            first,
            place: None,
            since: Instant::now(),
        }
    }

    /// Whether a stream can go through: nobody let it go, and nobody spoke out of turn.
    fn is_good(&mut self) -> bool {
        if !self.first.is_empty() {
            return true;
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        let polled = Pin::new(&mut self.tls).poll_read(&mut context, &mut buffer);
        matches!(polled, Poll::Pending)
    }
}

impl Spare {
    /// Adds one, unless there are `most` already: then it is cut off.
    pub(super) fn add(&self, connection: SpareConnection, most: usize) -> bool {
        let mut ready = self.lock();
        if ready.len() >= most {
            return false;
        }
        ready.push_back(connection);
        drop(ready);
        self.added.notify_one();
        true
    }

    /// Waits for one. Cancel safe.
    pub(super) async fn take(&self) -> SpareConnection {
        loop {
            while let Some(mut connection) = self.pop() {
                if connection.is_good() {
                    return connection;
                }
            }
            self.added.notified().await;
        }
    }

    /// Lets go for ever what is ready for too long.
    pub(super) async fn expire(&self) -> Infallible {
        loop {
            tokio::time::sleep(limits::SPARE_LOOK).await;
            self.lock()
                .retain(|connection| connection.since.elapsed() < limits::SPARE_IDLE);
        }
    }

    /// Lets all go.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().len() >= limits::SPARE_MAX
    }

    fn pop(&self) -> Option<SpareConnection> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<SpareConnection>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
