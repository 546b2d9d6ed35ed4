//! A link between agent and relay, in this process: what comes to its port over UDP and TCP is carried
//! to the relay's with delay, loss, a rate and a drop-tail queue. It can lose everything without a word,
//! and give the agent another address.
//!
//! TCP's segments are the kernel's own business, so that one that is lost is played by its effect: what
//! comes behind it waits for a round trip more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::chance::Chance;

/// What the queue before the bottleneck holds, as time at the bottleneck's rate.
const QUEUE: Duration = Duration::from_millis(200);
/// Larger than any packet of a tunnel, bytes.
const PACKET_BYTES_MAX: usize = 65_536;
/// Packets or chunks on their way, in one direction of one flow.
const ON_THE_WAY_MAX: usize = 1024;
/// What a TCP segment carries, bytes.
const SEGMENT_BYTES: usize = 1448;
/// Between two looks whether a link that swallows passes again.
const LOOK: Duration = Duration::from_millis(20);

/// How good a link is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grade {
    pub name: &'static str,
    pub round_trip: Duration,
    /// Share of the packets that are lost.
    pub loss: f64,
    /// So many are lost in a row on average (Gilbert-Elliott); 1 is uniform loss.
    pub burst: f64,
    pub bits_per_second: f64,
}

const fn grade(name: &'static str, round_trip_ms: u64, loss: f64, burst: f64, mbits: f64) -> Grade {
    Grade {
        name,
        round_trip: Duration::from_millis(round_trip_ms),
        loss,
        burst,
        bits_per_second: mbits * 1e6,
    }
}

pub const GOOD_WIFI: Grade = grade("good wifi", 16, 0.001, 1.0, 100.0);
pub const FOUR_G: Grade = grade("4G", 60, 0.01, 1.0, 30.0);
pub const WEAK_FOUR_G: Grade = grade("weak 4G", 90, 0.02, 8.0, 5.0);
pub const SATELLITE: Grade = grade("satellite", 600, 0.01, 1.0, 20.0);
pub const ABSURD: Grade = grade("absurd", 800, 0.25, 1.0, 5.0);

/// Runs until it is dropped.
pub struct Link {
    shape: Arc<Shape>,
    _udp: AbortOnDropHandle<()>,
    _tcp: AbortOnDropHandle<()>,
}

struct Shape {
    relay: SocketAddr,
    grade: Mutex<Grade>,
    udp_passes: AtomicBool,
    tcp_passes: AtomicBool,
    /// Counts the addresses that were given to the agent.
    address: AtomicU32,
    up: Direction,
    down: Direction,
}

/// What all flows of one direction share.
struct Direction(Mutex<Road>);

struct Road {
    free_at: Instant,
    is_losing: bool,
    chance: Chance,
}

impl Link {
    /// Carries what comes to `front` to `relay`, both on loopback, UDP and TCP.
    pub async fn start(front: u16, relay: u16, grade: Grade) -> Link {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let shape = Arc::new(Shape {
            relay: at(relay),
            grade: Mutex::new(grade),
            udp_passes: AtomicBool::new(true),
            tcp_passes: AtomicBool::new(true),
            address: AtomicU32::new(0),
            up: Direction::new(1),
            down: Direction::new(2),
        });
        let udp = UdpSocket::bind(at(front)).await.unwrap();
        let tcp = TcpListener::bind(at(front)).await.unwrap();
        let udp = tokio::spawn(carry_udp(Arc::new(udp), shape.clone()));
        let tcp = tokio::spawn(carry_tcp(tcp, shape.clone()));
        Link {
            shape,
            _udp: AbortOnDropHandle::new(udp),
            _tcp: AbortOnDropHandle::new(tcp),
        }
    }

    pub fn set(&self, grade: Grade) {
        *self.shape.grade.lock().unwrap() = grade;
    }

    /// From now on the agent has another address, and nothing comes through to the old one.
    pub fn rebind(&self) {
        self.shape.address.fetch_add(1, Ordering::Relaxed);
    }

    pub fn pass_udp(&self, passes: bool) {
        self.shape.udp_passes.store(passes, Ordering::Relaxed);
    }

    /// Nothing passes and nobody is told: connections stay open and carry nothing.
    pub fn pass(&self, passes: bool) {
        self.pass_udp(passes);
        self.shape.tcp_passes.store(passes, Ordering::Relaxed);
    }
}

impl Direction {
    fn new(seed: u64) -> Direction {
        Direction(Mutex::new(Road {
            free_at: Instant::now(),
            is_losing: false,
            chance: Chance::seeded(seed),
        }))
    }

    /// When a packet arrives; nothing when it is lost or the queue is full.
    fn packet(&self, grade: Grade, bytes: usize) -> Option<Instant> {
        let mut road = self.0.lock().unwrap();
        let now = Instant::now();
        let start = road.free_at.max(now);
        if start - now > QUEUE || road.loses(grade) {
            return None;
        }
        Some(road.take(grade, start, bytes))
    }

    /// When a part of a TCP stream arrives. The sender is slowed down instead of cut.
    fn part(&self, grade: Grade, bytes: usize) -> Instant {
        let mut road = self.0.lock().unwrap();
        let start = road.free_at.max(Instant::now());
        let segments = bytes.div_ceil(SEGMENT_BYTES);
        let lost = (0..segments).filter(|_| road.loses(grade)).count();
        let again = if lost > 0 {
            grade.round_trip
        } else {
            Duration::ZERO
        };
        road.take(grade, start, bytes) + again
    }
}

impl Road {
    fn take(&mut self, grade: Grade, start: Instant, bytes: usize) -> Instant {
        let time = Duration::from_secs_f64(bytes as f64 * 8.0 / grade.bits_per_second);
        self.free_at = start + time;
        self.free_at + grade.round_trip / 2
    }

    fn loses(&mut self, grade: Grade) -> bool {
        let roll = self.chance.below(1_000_000) as f64 / 1e6;
        self.is_losing = match self.is_losing {
            true => roll >= 1.0 / grade.burst,
            false => roll < grade.loss / (grade.burst * (1.0 - grade.loss)),
        };
        self.is_losing
    }
}

/// What is on its way: when it arrives, and its bytes.
type OnTheWay = (Instant, Vec<u8>);

/// Each address of the agent has an address of its own towards the relay.
async fn carry_udp(front: Arc<UdpSocket>, shape: Arc<Shape>) {
    let mut flows: HashMap<SocketAddr, mpsc::Sender<OnTheWay>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let (mut buffer, mut address) = (vec![0; PACKET_BYTES_MAX], 0);
    loop {
        let Ok((count, from)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        let newest = shape.address.load(Ordering::Relaxed);
        if newest != address {
            address = newest;
            flows.clear();
            tasks.abort_all();
        }
        if !shape.udp_passes.load(Ordering::Relaxed) {
            continue;
        }
        let grade = *shape.grade.lock().unwrap();
        let Some(due) = shape.up.packet(grade, count) else {
            continue;
        };
        let flow = match flows.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let back = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
                back.connect(shape.relay).await.unwrap();
                let back = Arc::new(back);
                let (sender, queue) = mpsc::channel(ON_THE_WAY_MAX);
                tasks.spawn(deliver(queue, back.clone(), None));
                let (down, arriving) = mpsc::channel(ON_THE_WAY_MAX);
                tasks.spawn(deliver(arriving, front.clone(), Some(from)));
                tasks.spawn(carry_down(back, down, shape.clone()));
                new.insert(sender)
            }
        };
        // A full queue loses packets, as everywhere.
        let _ = flow.try_send((due, buffer[..count].to_vec()));
    }
}

async fn carry_down(back: Arc<UdpSocket>, queue: mpsc::Sender<OnTheWay>, shape: Arc<Shape>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        // Nobody listens while the relay restarts.
        let Ok(count) = back.recv(&mut buffer).await else {
            sleep(LOOK).await;
            continue;
        };
        let grade = *shape.grade.lock().unwrap();
        let passes = shape.udp_passes.load(Ordering::Relaxed);
        if let (true, Some(due)) = (passes, shape.down.packet(grade, count)) {
            let _ = queue.try_send((due, buffer[..count].to_vec()));
        }
    }
}

async fn deliver(
    mut queue: mpsc::Receiver<OnTheWay>,
    socket: Arc<UdpSocket>,
    to: Option<SocketAddr>,
) {
    while let Some((due, bytes)) = queue.recv().await {
        sleep_until(due).await;
        let _ = match to {
            Some(to) => socket.send_to(&bytes, to).await,
            None => socket.send(&bytes).await,
        };
    }
}

async fn carry_tcp(front: TcpListener, shape: Arc<Shape>) {
    let mut tasks = JoinSet::new();
    loop {
        let Ok((agent, _)) = front.accept().await else {
            continue;
        };
        let shape = shape.clone();
        tasks.spawn(async move {
            // A handshake goes there and back before anything else.
            let round_trip = shape.grade.lock().unwrap().round_trip;
            sleep(round_trip).await;
            shape.wait_tcp().await;
            let Ok(relay) = TcpStream::connect(shape.relay).await else {
                return;
            };
            let _ = (agent.set_nodelay(true), relay.set_nodelay(true));
            let ((from_agent, to_agent), (from_relay, to_relay)) =
                (agent.into_split(), relay.into_split());
            tokio::join!(
                one_way(from_agent, to_relay, &shape, &shape.up),
                one_way(from_relay, to_agent, &shape, &shape.down),
            );
        });
        while tasks.try_join_next().is_some() {}
    }
}

impl Shape {
    async fn wait_tcp(&self) {
        while !self.tcp_passes.load(Ordering::Relaxed) {
            sleep(LOOK).await;
        }
    }
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shape: &Shape,
    direction: &Direction,
) {
    let (sender, mut queue) = mpsc::channel::<OnTheWay>(ON_THE_WAY_MAX);
    let read = async move {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let grade = *shape.grade.lock().unwrap();
            let due = direction.part(grade, count);
            if sender.send((due, buffer[..count].to_vec())).await.is_err() {
                return;
            }
            // No more is taken in than the bottleneck's queue holds.
            sleep_until(due - grade.round_trip / 2).await;
        }
    };
    let write = async {
        while let Some((due, bytes)) = queue.recv().await {
            sleep_until(due).await;
            shape.wait_tcp().await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        shape.wait_tcp().await;
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

#[tokio::test]
async fn as_many_packets_are_lost_as_a_grade_says_and_in_bursts_where_it_does() {
    for grade in [FOUR_G, WEAK_FOUR_G, ABSURD] {
        let mut road = Road {
            free_at: Instant::now(),
            is_losing: false,
            chance: Chance::seeded(7),
        };
        let (mut lost, mut bursts, mut before) = (0, 0, false);
        for _ in 0..400_000 {
            let is_lost = road.loses(grade);
            lost += u32::from(is_lost);
            bursts += u32::from(is_lost && !before);
            before = is_lost;
        }
        let share = f64::from(lost) / 400_000.0;
        assert!(
            (share / grade.loss - 1.0).abs() < 0.1,
            "{}: {share}",
            grade.name
        );
        let length = f64::from(lost) / f64::from(bursts);
        assert!(
            (length / grade.burst - 1.0).abs() < 0.1,
            "{}: {length}",
            grade.name
        );
    }
}
