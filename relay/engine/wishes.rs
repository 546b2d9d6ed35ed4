//! Edits on their way to the driver of a running sync, and the answers on their way back.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_sync::session::{Edit, Edited};
use tokio::sync::{Notify, oneshot};

/// Longest wait for a driver to take an edit: a round that is under way, or the next run's start.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a person asked the driver to write.
pub(super) struct EditRequest {
    pub edits: Vec<Edit>,
    pub answer: oneshot::Sender<Vec<Edited>>,
}

/// Requests that no driver has taken yet.
#[derive(Default)]
pub(super) struct Edits {
    queue: Mutex<Queue>,
    come: Notify,
}

#[derive(Default)]
struct Queue {
    last: u64,
    requests: VecDeque<(u64, EditRequest)>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotEdited {
    /// Nothing was written, and nothing will be.
    NotTaken,
    /// The run ended meanwhile: it was written or not.
    Interrupted,
}

impl Edits {
    /// Has these written as one round. What is taken is written even if the caller goes away.
    pub(super) async fn ask(&self, edits: Vec<Edit>) -> Result<Vec<Edited>, NotEdited> {
        let (answer, mut answered) = oneshot::channel();
        let number = {
            let mut queue = self.lock();
            queue.last += 1;
            let number = queue.last;
            let request = EditRequest { edits, answer };
            queue.requests.push_back((number, request));
            number
        };
        self.come.notify_one();
        if let Ok(done) = tokio::time::timeout(WAIT_MAX, &mut answered).await {
            return done.map_err(|_| NotEdited::Interrupted);
        }
        let is_left = {
            let mut queue = self.lock();
            let waiting = queue.requests.len();
            queue.requests.retain(|(other, _)| *other != number);
            queue.requests.len() < waiting
        };
        if is_left {
            return Err(NotEdited::NotTaken);
        }
        // It was taken, and its answer is late.
        answered.await.map_err(|_| NotEdited::Interrupted)
    }

    /// Resolves when there may be something to take.
    pub(super) async fn come(&self) {
        self.come.notified().await;
    }

    /// The next request that somebody waits for.
    pub(super) fn take(&self) -> Option<EditRequest> {
        let mut queue = self.lock();
        loop {
            let (_, request) = queue.requests.pop_front()?;
            if !request.answer.is_closed() {
                return Some(request);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
