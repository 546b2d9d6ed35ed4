//! Simulated bottlenecks: packets, a drop-tail queue, noise, a policer; acknowledgements come back in order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

const MTU: u64 = 1_400;
/// 100 Mbit/s.
const RATE: f64 = 12.5e6;
const RTT: Duration = Duration::from_millis(40);

/// What lies between sender and receiver.
#[derive(Clone)]
struct Path {
    bytes_per_second: f64,
    rtt: Duration,
    queue: Duration,
    noise: Noise,
    /// Bytes that may come at once beyond the rate; nothing queues.
    policer: Option<f64>,
}

#[derive(Clone)]
enum Noise {
    None,
    Uniform(f64),
    /// Gilbert–Elliott: the share that is lost, and how many at a time.
    Bursts(f64, f64),
}

impl Path {
    fn clean() -> Path {
        Path {
            bytes_per_second: RATE,
            rtt: RTT,
            queue: Duration::from_millis(40),
            noise: Noise::None,
            policer: None,
        }
    }
}

struct Flow {
    control: Cubic,
    /// In flight: when sent, and whether it was dropped.
    sent: VecDeque<(u64, Instant, bool)>,
    next: u64,
    may_send_at: Instant,
    /// A `Send` is under way.
    paced: bool,
    last_ack: Instant,
    shortest: Duration,
    smoothed: Duration,
    delivered: u64,
    dropped_by_queue: u64,
}

impl Flow {
    fn new(classic: bool, starts_ms: u64, zero: Instant) -> Flow {
        let mut control = Cubic::new(MTU as u16);
        control.classic = classic;
        let starts = Duration::from_millis(starts_ms);
        Flow {
            control,
            sent: VecDeque::new(),
            next: 0,
            may_send_at: zero + starts,
            paced: false,
            last_ack: zero + starts,
            shortest: RTT,
            smoothed: RTT,
            delivered: 0,
            dropped_by_queue: 0,
        }
    }

    fn in_flight(&self) -> u64 {
        self.sent.len() as u64 * MTU
    }

    /// As quinn paces: a quarter faster than the window says.
    fn gap(&self) -> Duration {
        self.smoothed
            .mul_f64(MTU as f64 / (1.25 * self.control.window() as f64))
    }

    fn on_ack(&mut self, number: u64, now: Instant) {
        self.last_ack = now;
        let mut lost = (0, None);
        while let Some(&(first, sent, dropped)) = self.sent.front() {
            if first > number || (dropped && first + 3 > number) {
                break;
            }
            self.sent.pop_front();
            if dropped {
                lost = (lost.0 + MTU, Some(sent));
                continue;
            }
            let sample = now - sent;
            self.shortest = self.shortest.min(sample);
            self.smoothed = (self.smoothed * 7 + sample) / 8;
            self.delivered += MTU;
            let ack = Ack {
                now,
                sent,
                bytes: MTU,
                app_limited: false,
            };
            self.control.acknowledged(ack, self.shortest, self.smoothed);
        }
        if let (bytes @ 1.., Some(sent)) = lost {
            self.control.on_congestion_event(now, sent, false, bytes);
        }
    }

    /// Everything in flight is lost: nothing was heard for three round trips.
    fn on_silence(&mut self, now: Instant) {
        let lost = self.in_flight();
        if let Some(&(_, sent, _)) = self.sent.back() {
            self.sent.clear();
            self.control.on_congestion_event(now, sent, false, lost);
        }
        self.last_ack = now;
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ack {
        flow: usize,
        number: u64,
    },
    /// The pacer lets more out.
    Send {
        flow: usize,
    },
    /// Is anything still heard?
    Listen {
        flow: usize,
    },
}

/// What the flows got in the second half of the time.
struct Outcome {
    shares: Vec<f64>,
    /// Of all packets that were sent, in percent.
    dropped: f64,
}

impl Outcome {
    /// Of the bottleneck's rate.
    fn used(&self) -> f64 {
        self.shares.iter().sum()
    }
}

struct Dice(u64);

impl Dice {
    /// From 0 to 1. Source: Marsaglia, Xorshift RNGs (2003).
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The bottleneck as it is now.
struct Bottleneck<'a> {
    path: &'a Path,
    dice: Dice,
    /// When all that queues has left.
    free_at: Instant,
    /// Bytes that a policer lets pass, and when that was counted.
    tokens: f64,
    counted_at: Instant,
    /// In a burst of loss.
    is_bad: bool,
}

impl<'a> Bottleneck<'a> {
    fn new(path: &'a Path, zero: Instant, seed: u64) -> Self {
        Self {
            path,
            dice: Dice(seed | 1 << 32),
            free_at: zero,
            tokens: path.policer.unwrap_or(0.0),
            counted_at: zero,
            is_bad: false,
        }
    }

    /// Whether noise takes the next packet.
    fn loses(&mut self) -> bool {
        match self.path.noise {
            Noise::None => false,
            Noise::Uniform(share) => self.dice.roll() < share,
            Noise::Bursts(share, length) => {
                let leave = 1.0 / length;
                let enter = share * leave / (1.0 - share);
                let bad = if self.is_bad { 1.0 - leave } else { enter };
                self.is_bad = self.dice.roll() < bad;
                self.is_bad
            }
        }
    }

    /// When a packet that comes now has left; `None`: it is dropped.
    fn passes(&mut self, at: Instant) -> Option<Instant> {
        let rate = self.path.bytes_per_second;
        let Some(bucket) = self.path.policer else {
            let begins = self.free_at.max(at);
            if begins - at > self.path.queue {
                return None;
            }
            self.free_at = begins + Duration::from_secs_f64(MTU as f64 / rate);
            return Some(self.free_at);
        };
        let passed = at.saturating_duration_since(self.counted_at);
        self.tokens = (self.tokens + passed.as_secs_f64() * rate).min(bucket);
        self.counted_at = self.counted_at.max(at);
        let is_let = self.tokens >= MTU as f64;
        self.tokens -= if is_let { MTU as f64 } else { 0.0 };
        is_let.then_some(at)
    }
}

struct World<'a> {
    flows: Vec<Flow>,
    bottleneck: Bottleneck<'a>,
    events: BinaryHeap<Reverse<(Instant, Event)>>,
}

impl World<'_> {
    fn until(&mut self, end: Instant) {
        while let Some(Reverse((now, event))) = self.events.pop() {
            let flow = self.happens(now, event);
            self.send(flow, now);
            if now > end {
                return;
            }
        }
    }

    /// Returns whom it concerns.
    fn happens(&mut self, now: Instant, event: Event) -> usize {
        match event {
            Event::Ack { flow, number } => {
                self.flows[flow].on_ack(number, now);
                flow
            }
            Event::Send { flow } => {
                self.flows[flow].paced = false;
                flow
            }
            Event::Listen { flow } => {
                let of = &mut self.flows[flow];
                let silence = (of.smoothed * 3).max(Duration::from_millis(30));
                if now >= of.last_ack + silence {
                    of.on_silence(now);
                }
                let listen = Event::Listen { flow };
                self.events.push(Reverse((now + silence, listen)));
                flow
            }
        }
    }

    /// As much as the window and the pacer let out.
    fn send(&mut self, flow: usize, now: Instant) {
        let of = &mut self.flows[flow];
        while of.in_flight() + MTU <= of.control.window() {
            let at = of.may_send_at.max(now);
            // Bursts of two milliseconds, as quinn's.
            if at > now + Duration::from_millis(2) {
                if !of.paced {
                    of.paced = true;
                    self.events.push(Reverse((at, Event::Send { flow })));
                }
                return;
            }
            of.may_send_at = at + of.gap();
            let is_lost = self.bottleneck.loses();
            let leaves = self.bottleneck.passes(at);
            let number = of.next;
            of.next += 1;
            of.dropped_by_queue += u64::from(leaves.is_none());
            of.sent.push_back((number, at, is_lost || leaves.is_none()));
            if let (Some(leaves), false) = (leaves, is_lost) {
                let ack = Event::Ack { flow, number };
                let heard_at = leaves + self.bottleneck.path.rtt;
                self.events.push(Reverse((heard_at, ack)));
            }
        }
    }

    fn delivered(&self) -> Vec<u64> {
        self.flows.iter().map(|flow| flow.delivered).collect()
    }
}

/// `flows` are: whether it is classic CUBIC, and its start in milliseconds.
fn run(path: &Path, flows: &[(bool, u64)], seconds: u64, seed: u64) -> Outcome {
    let zero = Instant::now();
    let half = Duration::from_secs(seconds) / 2;
    let mut world = World {
        flows: Vec::new(),
        bottleneck: Bottleneck::new(path, zero, seed),
        events: BinaryHeap::new(),
    };
    for (flow, (classic, starts)) in flows.iter().enumerate() {
        world.flows.push(Flow::new(*classic, *starts, zero));
        let begins = zero + Duration::from_millis(*starts);
        world.events.push(Reverse((begins, Event::Listen { flow })));
    }
    world.until(zero + half);
    let before = world.delivered();
    world.until(zero + half * 2);
    let could = path.bytes_per_second * half.as_secs_f64();
    let shares = world.delivered().into_iter().zip(before);
    let sent: u64 = world.flows.iter().map(|flow| flow.next).sum();
    let dropped: u64 = world.flows.iter().map(|flow| flow.dropped_by_queue).sum();
    Outcome {
        shares: shares
            .map(|(after, before)| (after - before) as f64 / could)
            .collect(),
        dropped: dropped as f64 * 100.0 / sent as f64,
    }
}

const OURS: bool = false;
const CLASSIC: bool = true;

fn alone(path: &Path, classic: bool) -> Outcome {
    run(path, &[(classic, 0)], 20, 7)
}

#[test]
fn a_clean_path_is_filled_and_its_queue_seldom_overflows() {
    for (rate, rtt) in [(RATE, 40), (RATE, 5), (1.25e6, 40), (RATE * 3.0, 20)] {
        let path = Path {
            bytes_per_second: rate,
            rtt: Duration::from_millis(rtt),
            ..Path::clean()
        };
        let outcome = alone(&path, OURS);
        assert!(outcome.used() > 0.98, "{rtt} ms: {}", outcome.used());
        assert!(outcome.dropped < 1.0, "{rtt} ms: {} %", outcome.dropped);
    }
}

#[test]
fn noise_does_not_slow_it_down() {
    for (share, factor) in [(0.001, 2.0), (0.01, 10.0), (0.02, 12.0)] {
        let path = Path {
            noise: Noise::Uniform(share),
            ..Path::clean()
        };
        let (ours, classic) = (alone(&path, OURS).used(), alone(&path, CLASSIC).used());
        assert!(ours > 0.9, "{share}: {ours}");
        assert!(ours > factor * classic, "{share}: {ours} against {classic}");
    }
}

#[test]
fn bursts_of_loss_do_not_slow_it_down() {
    for seed in 1..8 {
        let path = Path {
            noise: Noise::Bursts(0.01, 8.0),
            ..Path::clean()
        };
        let ours = run(&path, &[(OURS, 0)], 20, seed).used();
        let classic = run(&path, &[(CLASSIC, 0)], 20, seed).used();
        assert!(
            ours > 0.7 && ours > 5.0 * classic,
            "seed {seed}: {ours} against {classic}"
        );
    }
}

/// A queue, and how long two flows take to find their shares: CUBIC's epochs grow with the round trip.
const SHARED: [(u64, u64); 2] = [(20, 100), (200, 160)];

/// The first one's share of a link of 32 Mbit/s; each starts at its millisecond.
fn first_share(queue_ms: u64, seconds: u64, flows: [(bool, u64); 2]) -> f64 {
    let path = Path {
        bytes_per_second: 4e6,
        queue: Duration::from_millis(queue_ms),
        ..Path::clean()
    };
    let outcome = run(&path, &flows, seconds, 5);
    assert!(outcome.used() > 0.95, "{}", outcome.used());
    outcome.shares[0] / outcome.used()
}

#[test]
fn two_of_ours_share_a_link() {
    for (queue_ms, seconds) in SHARED {
        for second in [900, 5_000] {
            let share = first_share(queue_ms, seconds, [(OURS, 0), (OURS, second)]);
            assert!(
                (0.4..=0.6).contains(&share),
                "queue {queue_ms} ms, {second} ms later: {share}"
            );
        }
    }
}

#[test]
fn it_is_fair_beside_what_tcp_does() {
    for (queue_ms, seconds) in SHARED {
        for (ours, classic) in [(0, 900), (900, 0)] {
            let share = first_share(queue_ms, seconds, [(OURS, ours), (CLASSIC, classic)]);
            assert!(
                (0.35..=0.65).contains(&share),
                "queue {queue_ms} ms, ours at {ours} ms: {share}"
            );
        }
    }
}

#[test]
fn a_policer_does_not_make_it_collapse() {
    for bucket_ms in [10.0, 50.0] {
        let path = Path {
            policer: Some(RATE * bucket_ms / 1e3),
            ..Path::clean()
        };
        let outcome = alone(&path, OURS);
        assert!(outcome.used() > 0.7, "{bucket_ms} ms: {}", outcome.used());
        assert!(
            outcome.dropped < 6.0,
            "{bucket_ms} ms: {} %",
            outcome.dropped
        );
    }
}

#[test]
fn a_path_that_loses_a_quarter_still_carries_something() {
    let path = Path {
        noise: Noise::Uniform(0.25),
        ..Path::clean()
    };
    assert!(alone(&path, OURS).used() > 0.001);
}

#[test]
fn an_unused_window_does_not_grow() {
    let mut control = Cubic::new(MTU as u16);
    let now = Instant::now();
    let before = control.window();
    for n in 0..1_000 {
        let ack = Ack {
            now: now + RTT + Duration::from_millis(n),
            sent: now + Duration::from_millis(n),
            bytes: MTU,
            app_limited: true,
        };
        control.acknowledged(ack, RTT, RTT);
    }
    assert_eq!(control.window(), before);
}

#[test]
fn the_network_may_say_that_it_is_congested() {
    let mut control = Cubic::new(MTU as u16);
    let (now, before) = (Instant::now(), control.window());
    control.on_congestion_event(now, now, false, 0);
    assert_eq!(control.window(), (before as f64 * BETA) as u64);
    // Once for each round trip.
    control.on_congestion_event(now + RTT, now, false, 0);
    assert_eq!(control.window(), (before as f64 * BETA) as u64);
}

#[test]
fn a_path_that_carries_nothing_is_tried_with_the_least() {
    let mut control = Cubic::new(MTU as u16);
    let now = Instant::now();
    control.on_congestion_event(now, now, true, 10 * MTU);
    assert_eq!(control.window(), SEGMENTS_MIN * MTU);
}

#[test]
fn a_start_is_ten_segments_of_whatever_size_passes() {
    let mut control = Cubic::new(1_200);
    control.on_mtu_update(6_400);
    assert_eq!(control.window(), 64_000);
    let now = Instant::now();
    control.on_congestion_event(now, now, false, 0);
    let reduced = control.window();
    control.on_mtu_update(6_000);
    assert_eq!(control.window(), reduced);
}
