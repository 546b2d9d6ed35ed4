//! What lies between agent and relay and forwards UDP: it gives the agent another address, as a
//! translator that forgot it does, or lets nothing pass any more, as a firewall does.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Larger than any packet of a tunnel, bytes.
const PACKET_BYTES_MAX: usize = 65_536;

#[derive(Debug, Clone, Copy)]
enum Order {
    /// With the address of this number.
    Pass(u32),
    Swallow,
}

pub(crate) struct Middlebox {
    orders: watch::Sender<Order>,
    _task: AbortOnDropHandle<()>,
}

impl Middlebox {
    /// Passes what comes to `front` on to the relay, and back.
    pub(crate) fn start(front: UdpSocket, relay: SocketAddr) -> Middlebox {
        let front = tokio::net::UdpSocket::from_std(front).unwrap();
        let (orders, ordered) = watch::channel(Order::Pass(0));
        let task = tokio::spawn(forward(front, relay, ordered));
        Middlebox {
            orders,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The agent has another address from now on, and nothing comes through to the old one.
    pub(crate) fn rebind(&self) {
        self.orders.send_modify(|order| {
            if let Order::Pass(number) = order {
                *number += 1;
            }
        });
    }

    pub(crate) fn swallow(&self) {
        self.orders.send_replace(Order::Swallow);
    }
}

async fn forward(
    front: tokio::net::UdpSocket,
    relay: SocketAddr,
    mut orders: watch::Receiver<Order>,
) {
    let address = async || {
        let back = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let back = back.unwrap();
        back.connect(relay).await.unwrap();
        back
    };
    let (mut back, mut agent) = (address().await, None);
    let (mut up, mut down) = (vec![0; PACKET_BYTES_MAX], vec![0; PACKET_BYTES_MAX]);
    let mut passes = true;
    loop {
        tokio::select! {
            biased;
            Ok(()) = orders.changed() => {
                let order = *orders.borrow_and_update();
                match order {
                    Order::Pass(_) => back = address().await,
                    Order::Swallow => passes = false,
                }
            }
            Ok((count, from)) = front.recv_from(&mut up) => {
                agent = Some(from);
                // A full or a closed socket loses packets, as everywhere.
                if passes {
                    let _ = back.send(&up[..count]).await;
                }
            }
            Ok(count) = back.recv(&mut down) => if let (true, Some(agent)) = (passes, agent) {
                let _ = front.send_to(&down[..count], agent).await;
            },
        }
    }
}
