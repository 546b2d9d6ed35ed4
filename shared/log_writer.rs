//! A log that never stops the program. Lines wait in a bounded queue for a thread of their own, because
//! whoever reads them may be slow or stuck (a full pipe, a journal that hangs). Then lines are left out,
//! and the log says how many.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

mod limits {
    use super::Duration;

    /// Lines that may wait: some seconds of a busy log, about a megabyte.
    pub(super) const LINES_MAX: usize = 4_096;
    /// What waits at the end is written within this, or not at all.
    pub(super) const END: Duration = Duration::from_secs(1);
    /// Between two attempts to have it written.
    pub(super) const AGAIN: Duration = Duration::from_millis(10);
}

/// Says in the log's own form how many lines were left out.
pub type LeftOut = fn(u64) -> String;

/// Takes lines and never blocks. Each `write` is one line, as `tracing_subscriber` makes it.
#[derive(Clone)]
pub struct LogWriter {
    queue: SyncSender<Part>,
    left_out: Arc<AtomicU64>,
}

enum Part {
    Line(Vec<u8>),
    /// Everything before it is written.
    Written(SyncSender<()>),
}

/// The end of the log: dropping it waits, not for long, until what was logged is written.
pub struct LogEnd(SyncSender<Part>);

/// Starts the thread that writes to `out`. It ends with the process.
pub fn start(out: impl Write + Send + 'static, say: LeftOut) -> io::Result<(LogWriter, LogEnd)> {
    let (queue, parts) = sync_channel(limits::LINES_MAX);
    let left_out = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&left_out);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_parts(out, &parts, &counted, say))?;
    let end = LogEnd(queue.clone());
    Ok((LogWriter { queue, left_out }, end))
}

fn write_parts(mut out: impl Write, parts: &Receiver<Part>, left_out: &AtomicU64, say: LeftOut) {
    while let Ok(part) = parts.recv() {
        // Nobody could be told of an error here.
        match part {
            Part::Line(line) => drop(out.write_all(&line)),
            Part::Written(done) => drop((out.flush(), done.try_send(()))),
        }
        let count = left_out.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = out.write_all(say(count).as_bytes());
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.queue.try_send(Part::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogEnd {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        let began = Instant::now();
        let mut part = Part::Written(done);
        while let Err(TrySendError::Full(again)) = self.0.try_send(part) {
            if began.elapsed() >= limits::END {
                return;
            }
            part = again;
            thread::sleep(limits::AGAIN);
        }
        let _ = written.recv_timeout(limits::END);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Somebody who reads nothing while the lock is held.
    #[derive(Clone, Default)]
    struct Reader(Arc<Mutex<Vec<u8>>>);

    impl Reader {
        fn text(&self) -> String {
            let read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8(read.clone()).unwrap()
        }
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn say(count: u64) -> String {
        format!("{count} left out\n")
    }

    #[test]
    fn a_reader_that_is_stuck_stops_nobody_and_is_told_what_it_missed() {
        let reader = Reader::default();
        let (mut log, end) = start(reader.clone(), say).unwrap();
        let stuck = reader.0.lock().unwrap();
        let more = 100;
        for n in 0..limits::LINES_MAX + more {
            log.write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        drop(stuck);
        drop(end);
        let text = reader.text();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("line"))
            .collect();
        assert_eq!(lines[0], "line 0");
        let told: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_suffix(" left out"))
            .collect();
        let told: usize = told
            .iter()
            .map(|count| count.parse::<usize>().unwrap())
            .sum();
        // The thread may have taken one before it got stuck.
        assert!(told == more || told == more - 1, "{told}");
        assert_eq!(lines.len() + told, limits::LINES_MAX + more);
    }

    #[test]
    fn what_was_logged_is_written_when_the_log_ends() {
        let reader = Reader::default();
        let (mut log, end) = start(reader.clone(), say).unwrap();
        for n in 0..1000 {
            log.write_all(format!("{n}\n").as_bytes()).unwrap();
        }
        drop(end);
        assert_eq!(reader.text().lines().count(), 1000);
    }
}
