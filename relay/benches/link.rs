//! A link between two network namespaces, where the kernel has no `netem`: rate, delay and random loss
//! over two TUN devices, with a drop-tail queue before the bottleneck. Whatever crosses it, the direct
//! connection too, is treated alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::place::{Place, output_of};

pub const NEAR_IP: &str = "10.99.0.1";
pub const FAR_IP: &str = "10.99.0.2";
const LINK_NET: &str = "10.99.0.0/30";

/// One way.
const DELAY: Duration = Duration::from_millis(20);
const BITS_PER_SECOND: f64 = 100e6;
/// What the queue before the bottleneck holds, as time at the bottleneck's rate.
const QUEUE: Duration = Duration::from_millis(40);
const MTU: u16 = 1500;
/// Packets on their way: more than rate times delay and queue.
const PACKETS_MAX: usize = 8192;

/// How it is named in tables, but for the loss.
pub const SHAPE: &str = "100 Mbit/s, 40 ms round trip";

/// Two namespaces and what connects them; both go away with it.
pub struct Link {
    near: String,
    far: String,
    /// Of a million packets.
    lost: Arc<AtomicU32>,
}

impl Link {
    /// Needs root and `/dev/net/tun`.
    pub fn make() -> anyhow::Result<Link> {
        let id = std::process::id();
        let link = Link {
            near: format!("tgnear{id}"),
            far: format!("tgfar{id}"),
            lost: Arc::default(),
        };
        let near = device(&link.near, NEAR_IP)?;
        let far = device(&link.far, FAR_IP)?;
        one_way(near.clone(), far.clone(), link.lost.clone(), 1);
        one_way(far, near, link.lost.clone(), 2);
        Ok(link)
    }

    pub fn near(&self) -> Place {
        Place::Namespace(self.near.clone())
    }

    pub fn far(&self) -> Place {
        Place::Namespace(self.far.clone())
    }

    /// From now on, in both directions.
    pub fn lose(&self, percent: f64) {
        let per_million = (percent * 10_000.0).round() as u32;
        self.lost.store(per_million, Ordering::Relaxed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            // The last to leave; what stays is named for this process.
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    output_of(Place::Here.command("ip").args(arguments))
}

/// A TUN device in a new namespace, its other side in our hands.
fn device(name: &str, address: &str) -> anyhow::Result<Arc<SyncDevice>> {
    ip(&["netns", "add", name]).context("make a network namespace (as root)")?;
    let device = DeviceBuilder::new()
        .name(name)
        .mtu(MTU)
        .offload(false)
        .enable(false)
        .build_sync()
        .context("make a TUN device (as root, with /dev/net/tun)")?;
    ip(&["link", "set", name, "netns", name])?;
    ip(&["-n", name, "link", "set", "lo", "up"])?;
    ip(&[
        "-n",
        name,
        "address",
        "add",
        &format!("{address}/30"),
        "dev",
        name,
    ])?;
    ip(&["-n", name, "link", "set", name, "up"])?;
    // As stock distributions have it, whatever this host prefers. A namespace may not choose for all of
    // itself what the host has not allowed to everybody; a route may.
    let cubic = ["dev", name, "scope", "link", "congctl", "cubic"];
    let route = ["-n", name, "route", "replace", LINK_NET];
    ip(&[&route[..], &cubic].concat()).context("choose CUBIC for TCP")?;
    Ok(Arc::new(device))
}

struct Packet {
    due: Instant,
    bytes: Vec<u8>,
}

/// The threads end with the devices' namespaces, at the latest with the process.
fn one_way(from: Arc<SyncDevice>, to: Arc<SyncDevice>, lost: Arc<AtomicU32>, seed: u64) {
    let (sender, receiver) = sync_channel(PACKETS_MAX);
    thread::spawn(move || take(&from, &sender, &lost, seed));
    thread::spawn(move || deliver(&to, receiver));
}

fn take(from: &SyncDevice, sender: &SyncSender<Packet>, lost: &AtomicU32, seed: u64) {
    let (mut buffer, mut dice) = (vec![0; 2 * usize::from(MTU)], Dice(seed));
    let mut free_at = Instant::now();
    while let Ok(length) = from.recv(&mut buffer) {
        let now = Instant::now();
        let start = free_at.max(now);
        if start - now > QUEUE || dice.roll() < lost.load(Ordering::Relaxed) {
            continue;
        }
        free_at = start + Duration::from_secs_f64(length as f64 * 8.0 / BITS_PER_SECOND);
        let packet = Packet {
            due: free_at + DELAY,
            bytes: buffer[..length].to_vec(),
        };
        if sender.send(packet).is_err() {
            return;
        }
    }
}

fn deliver(to: &SyncDevice, packets: Receiver<Packet>) {
    for packet in packets {
        thread::sleep(packet.due.saturating_duration_since(Instant::now()));
        if to.send(&packet.bytes).is_err() {
            return;
        }
    }
}

/// Below a million, alike in every run. Source: Marsaglia, Xorshift RNGs (2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % 1_000_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn as_many_are_lost_as_was_asked_for() {
        let mut dice = Dice(1);
        let lost = (0..100_000).filter(|_| dice.roll() < 10_000).count();
        assert!((900..1_100).contains(&lost), "{lost} of 100000 at 1 %");
    }
}
