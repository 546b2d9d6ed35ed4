//! Crash points: where a test lets the relay die, to show that nothing is lost there.
//!
//! Only in builds with debug assertions, and only when `TIDEGATE_CRASH` names a point as
//! `point:count`: the process aborts when it passes that point for the `count`-th time.

#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the relay may be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// A page of existing data was settled.
    Copied,
    /// A batch is being written to a side: shortly after it was sent.
    Applying,
    /// A batch was committed by its side and is not settled.
    Applied,
    /// A settlement is durable and not acknowledged.
    Settled,
}

impl Point {
    #[cfg(debug_assertions)]
    fn name(self) -> &'static str {
        match self {
            Point::Copied => "copied",
            Point::Applying => "applying",
            Point::Applied => "applied",
            Point::Settled => "settled",
        }
    }
}

/// Passes a crash point.
#[cfg(debug_assertions)]
pub(super) fn pass(point: Point) {
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("TIDEGATE_CRASH").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    let Some((name, count)) = wanted else { return };
    if name != point.name() || PASSED.fetch_add(1, Ordering::Relaxed) + 1 != *count {
        return;
    }
    if point == Point::Applying {
        // In the middle of what follows, not before it.
        std::thread::spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            std::process::abort();
        });
    } else {
        std::process::abort();
    }
}

/// Passes a crash point: nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(super) fn pass(_point: Point) {}
