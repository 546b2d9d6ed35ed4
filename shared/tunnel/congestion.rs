//! The congestion controller: CUBIC (RFC 9438) that leaves slow start when the queue begins to fill
//! (HyStart++, RFC 9406) and tells random loss from congestion.
//!
//! A packet that is lost while nobody queues was lost to noise: slowing down would not help anybody. A
//! loss counts as congestion where the round-trip time says that the queue is filling, where more is
//! lost than noise explains (a policer drops without queueing), or where the network says so by ECN.
//! Beside others that fill the queue every loss counts, and this is plain CUBIC.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

/// Share of the window that is kept at congestion (RFC 9438 section 4.6).
const BETA: f64 = 0.7;
/// Growth, in segments per second cubed (RFC 9438 section 5).
const C: f64 = 0.4;
/// Segments to start with (RFC 9002 section 7.2), and the least.
const SEGMENTS_AT_START: u64 = 10;
const SEGMENTS_MIN: u64 = 2;

/// A queue is filling when round trips take longer than they did by an eighth, within these bounds (RFC 9406
/// section 4.2).
const QUEUE_MIN: Duration = Duration::from_millis(4);
const QUEUE_MAX: Duration = Duration::from_millis(16);

/// More than this share of the last packets is no noise: one in twenty.
const NOISE: u64 = 20;
/// Over how many segments it is counted, at least and at most: noise comes in bursts, and few segments would
/// take a burst for more.
const COUNTED_MIN: u64 = 256;
const COUNTED_MAX: u64 = 2048;

/// Makes a controller for each path.
#[derive(Debug)]
pub(super) struct CongestionControl;

impl ControllerFactory for CongestionControl {
    fn build(self: Arc<Self>, _now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Cubic::new(mtu))
    }
}

/// Windows are bytes.
#[derive(Debug, Clone)]
pub(super) struct Cubic {
    mtu: u64,
    window: f64,
    phase: Phase,
    /// What was sent before belongs to a congestion that was answered already.
    recovery: Option<Instant>,
    /// The window before the last congestion, less where it was falling (RFC 9438 section 4.7).
    w_max: f64,
    losses: Losses,
    /// Of the last acknowledgement.
    queueing: bool,
    /// Every loss counts, as in TCP: what the tests compare with.
    classic: bool,
}

#[derive(Debug, Clone)]
enum Phase {
    SlowStart(HyStart),
    Avoidance(Epoch),
}

impl Cubic {
    fn new(mtu: u16) -> Self {
        let mtu = u64::from(mtu);
        Self {
            mtu,
            window: (SEGMENTS_AT_START * mtu) as f64,
            phase: Phase::SlowStart(HyStart::default()),
            recovery: None,
            w_max: 0.0,
            losses: Losses::default(),
            queueing: false,
            classic: false,
        }
    }

    fn least(&self) -> f64 {
        (SEGMENTS_MIN * self.mtu) as f64
    }

    /// `shortest` and `smoothed` are round-trip times of the path.
    fn acknowledged(&mut self, ack: Ack, shortest: Duration, smoothed: Duration) {
        self.losses.on_acknowledged(ack.bytes, self.mtu);
        self.queueing = smoothed > shortest + queue_delay(shortest);
        if self.recovery.is_some_and(|began| ack.sent <= began) {
            return;
        }
        match &mut self.phase {
            Phase::SlowStart(start) => {
                let share = start.on_acknowledged(&ack);
                if !ack.app_limited {
                    self.window += ack.bytes as f64 * share;
                }
                if start.is_over() {
                    self.w_max = self.window;
                    self.phase =
                        Phase::Avoidance(Epoch::new(self.window, self.w_max, ack.now, self.mtu));
                }
            }
            Phase::Avoidance(epoch) => {
                self.window = epoch.grown(self.window, &ack, smoothed, self.mtu);
            }
        }
    }

    fn congested(&mut self, now: Instant) {
        self.recovery = Some(now);
        self.w_max = if self.window < self.w_max {
            self.window * (1.0 + BETA) / 2.0
        } else {
            self.window
        };
        self.window = (self.window * BETA).max(self.least());
        self.phase = Phase::Avoidance(Epoch::new(self.window, self.w_max, now, self.mtu));
        self.losses = Losses::default();
    }
}

impl Controller for Cubic {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        let ack = Ack {
            now,
            sent,
            bytes,
            app_limited,
        };
        self.acknowledged(ack, rtt.min(), rtt.get());
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.losses.on_lost(lost_bytes, self.mtu);
        let by_ecn = lost_bytes == 0;
        let counts = self.classic || by_ecn || self.queueing || self.losses.is_no_noise(self.mtu);
        if counts && self.recovery.is_none_or(|began| sent > began) {
            self.congested(now);
        }
        if is_persistent_congestion {
            self.window = self.least();
            self.recovery = None;
            self.phase = Phase::SlowStart(HyStart::default());
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu);
        // Else a start of ten small segments would be less than two large ones.
        let least = match self.phase {
            Phase::SlowStart(_) => self.initial_window() as f64,
            Phase::Avoidance(_) => self.least(),
        };
        self.window = self.window.max(least);
    }

    fn window(&self) -> u64 {
        self.window as u64
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        SEGMENTS_AT_START * self.mtu
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// How much longer than before says that a queue is filling.
fn queue_delay(before: Duration) -> Duration {
    (before / 8).clamp(QUEUE_MIN, QUEUE_MAX)
}

/// One acknowledged packet.
#[derive(Debug, Clone, Copy)]
struct Ack {
    now: Instant,
    sent: Instant,
    bytes: u64,
    /// There was nothing more to send: the window was not what bounds.
    app_limited: bool,
}

/// Bytes of the last packets, older ones at half their weight.
#[derive(Debug, Clone, Default)]
struct Losses {
    lost: u64,
    seen: u64,
}

impl Losses {
    fn on_acknowledged(&mut self, bytes: u64, mtu: u64) {
        self.seen += bytes;
        if self.seen > COUNTED_MAX * mtu {
            self.seen /= 2;
            self.lost /= 2;
        }
    }

    fn on_lost(&mut self, bytes: u64, mtu: u64) {
        self.lost += bytes;
        self.on_acknowledged(bytes, mtu);
    }

    fn is_no_noise(&self, mtu: u64) -> bool {
        self.lost * NOISE > self.seen.max(COUNTED_MIN * mtu)
    }
}

/// Growth since the last congestion (RFC 9438 sections 4.2 to 4.5).
#[derive(Debug, Clone)]
struct Epoch {
    began: Instant,
    last: Instant,
    w_max: f64,
    /// Seconds until the window is `w_max` again.
    k: f64,
    /// What Reno would have by now.
    w_est: f64,
}

impl Epoch {
    fn new(window: f64, w_max: f64, now: Instant, mtu: u64) -> Self {
        Self {
            began: now,
            last: now,
            w_max,
            k: ((w_max - window).max(0.0) / mtu as f64 / C).cbrt(),
            w_est: window,
        }
    }

    fn grown(&mut self, window: f64, ack: &Ack, rtt: Duration, mtu: u64) -> f64 {
        let passed = ack.now.saturating_duration_since(self.last);
        self.last = ack.now;
        if ack.app_limited {
            // Time in which the window was not used proves nothing about the path.
            self.began += passed;
            return window;
        }
        let mtu = mtu as f64;
        let share = ack.bytes as f64 / window;
        let reno = if self.w_est < self.w_max {
            3.0 * (1.0 - BETA) / (1.0 + BETA)
        } else {
            1.0
        };
        self.w_est += reno * share * mtu;
        let age = ack.now.saturating_duration_since(self.began) + rtt;
        let cubic = C * (age.as_secs_f64() - self.k).powi(3) * mtu + self.w_max;
        let target = cubic.clamp(window, 1.5 * window);
        (window + (target - window) * share).max(self.w_est)
    }
}

/// When slow start is over (RFC 9406). Packets are paced, so no bound on growth per acknowledgement (its
/// section 4.3) is needed.
#[derive(Debug, Clone, Default)]
struct HyStart {
    /// Acknowledgements of what was sent later begin the next round.
    round_began: Option<Instant>,
    shortest_before: Option<Duration>,
    shortest: Option<Duration>,
    samples: u32,
    slowing: Option<Slowing>,
}

/// Conservative slow start: the round trips became longer, which may have been chance.
#[derive(Debug, Clone)]
struct Slowing {
    baseline: Duration,
    rounds: u32,
}

impl HyStart {
    const SAMPLES: u32 = 8;
    const SLOWER: f64 = 4.0;
    const ROUNDS: u32 = 5;

    /// The share of the acknowledged bytes by which the window may grow.
    fn on_acknowledged(&mut self, ack: &Ack) -> f64 {
        if self.round_began.is_none_or(|began| ack.sent >= began) {
            self.begin_round(ack.now);
        }
        let sample = ack.now.saturating_duration_since(ack.sent);
        let shortest = self.shortest.map_or(sample, |least| least.min(sample));
        self.shortest = Some(shortest);
        self.samples += 1;
        if self.samples >= Self::SAMPLES {
            self.look(shortest);
        }
        match self.slowing {
            Some(_) => 1.0 / Self::SLOWER,
            None => 1.0,
        }
    }

    fn is_over(&self) -> bool {
        let rounds = self.slowing.as_ref().map(|slowing| slowing.rounds);
        rounds.is_some_and(|rounds| rounds >= Self::ROUNDS)
    }

    fn begin_round(&mut self, now: Instant) {
        self.round_began = Some(now);
        self.shortest_before = self.shortest.take();
        self.samples = 0;
        if let Some(slowing) = &mut self.slowing {
            slowing.rounds += 1;
        }
    }

    fn look(&mut self, shortest: Duration) {
        match (&self.slowing, self.shortest_before) {
            (Some(slowing), _) if shortest < slowing.baseline => self.slowing = None,
            (None, Some(before)) if shortest >= before + queue_delay(before) => {
                self.slowing = Some(Slowing {
                    baseline: shortest,
                    rounds: 0,
                });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "congestion_tests.rs"]
mod tests;
