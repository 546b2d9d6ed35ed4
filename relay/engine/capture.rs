//! One side's change stream as a task: captured batches out, acknowledgements in.

use tidegate_sync::model::Position;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::limits::CAPTURED_QUEUE_MAX;
use crate::endpoint::{Capture, Captured, EndpointError};

/// A running capture. Dropping it ends the task and closes the stream.
pub(super) struct CaptureTask {
    captured: mpsc::Receiver<Result<Captured, EndpointError>>,
    acknowledged: watch::Sender<Position>,
    task: JoinHandle<()>,
}

impl CaptureTask {
    pub(super) fn start(capture: Box<dyn Capture>, from: Position) -> CaptureTask {
        let (sender, captured) = mpsc::channel(CAPTURED_QUEUE_MAX);
        let (acknowledged, acknowledgements) = watch::channel(from);
        let task = tokio::spawn(pump(capture, sender, acknowledgements));
        CaptureTask {
            captured,
            acknowledged,
            task,
        }
    }

    /// The next batch. Cancel safe. `None` when the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Result<Captured, EndpointError>> {
        self.captured.recv().await
    }

    pub(super) fn acknowledge(&self, position: Position) {
        self.acknowledged.send_replace(position);
    }
}

impl Drop for CaptureTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Moves batches to the driver. Acknowledgements overtake a full queue.
async fn pump(
    mut capture: Box<dyn Capture>,
    sender: mpsc::Sender<Result<Captured, EndpointError>>,
    mut acknowledged: watch::Receiver<Position>,
) {
    loop {
        let permit = tokio::select! {
            biased;
            Ok(()) = acknowledged.changed() => {
                capture.acknowledge(&acknowledged.borrow_and_update());
                continue;
            }
            permit = sender.reserve() => permit,
        };
        let Ok(permit) = permit else { return };
        let captured = loop {
            tokio::select! {
                biased;
                Ok(()) = acknowledged.changed() => {
                    capture.acknowledge(&acknowledged.borrow_and_update());
                }
                captured = capture.next() => break captured,
            }
        };
        let failed = captured.is_err();
        permit.send(captured);
        if failed {
            return;
        }
    }
}
