//! A relay between a channel and a server, on one port for UDP and TCP, that can block UDP and change its target.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::task::AbortOnDropHandle;

use super::loopback;

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

struct Shared {
    target: Mutex<SocketAddr>,
    udp_blocked: AtomicBool,
    retries: AtomicUsize,
    /// Packets from servers that were dropped.
    dropped: AtomicUsize,
}

impl Relay {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            udp_blocked: AtomicBool::new(false),
            retries: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        });
        let udp = AbortOnDropHandle::new(tokio::spawn(relay_udp(Arc::new(udp), shared.clone())));
        let tcp = AbortOnDropHandle::new(tokio::spawn(relay_tcp(tcp, shared.clone())));
        Relay { address, shared, _tasks: [udp, tcp] }
    }

    /// Drops all UDP packets from now on, or lets them pass again.
    pub(crate) fn block_udp(&self, blocked: bool) {
        self.shared.udp_blocked.store(blocked, Ordering::SeqCst);
    }

    /// Sends everything to another server from now on.
    pub(crate) fn redirect(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// Packets from servers that were dropped while UDP was blocked.
    pub(crate) fn dropped(&self) -> usize {
        self.shared.dropped.load(Ordering::SeqCst)
    }

    /// Retry packets that servers have sent.
    pub(crate) fn retries(&self) -> usize {
        self.shared.retries.load(Ordering::SeqCst)
    }
}

async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..32 {
        let udp = UdpSocket::bind(loopback(0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free on UDP and TCP");
}

async fn relay_udp(front: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut backs: HashMap<(SocketAddr, SocketAddr), (Arc<UdpSocket>, AbortOnDropHandle<()>)> = HashMap::new();
    let mut packet = vec![0; 65_536];
    loop {
        // An error is about an earlier packet (ICMP) and not about this socket.
        let Ok((length, client)) = front.recv_from(&mut packet).await else { continue };
        if shared.udp_blocked.load(Ordering::SeqCst) {
            continue;
        }
        let target = *shared.target.lock().unwrap();
        let back = match backs.entry((client, target)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let back = Arc::new(UdpSocket::bind(loopback(0)).await.unwrap());
                back.connect(target).await.unwrap();
                let answers = tokio::spawn(relay_answers(back.clone(), front.clone(), client, shared.clone()));
                new.insert((back, AbortOnDropHandle::new(answers)))
            }
        };
        let _ = back.0.send(&packet[..length]).await;
    }
}

async fn relay_answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr, shared: Arc<Shared>) {
    let target = back.peer_addr().unwrap();
    let mut packet = vec![0; 65_536];
    loop {
        let Ok(length) = back.recv(&mut packet).await else { continue };
        let current = *shared.target.lock().unwrap() == target;
        if shared.udp_blocked.load(Ordering::SeqCst) || !current {
            shared.dropped.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        // A long header of type 3 (RFC 9000, section 17.2.5).
        if packet[0] & 0xf0 == 0xf0 {
            shared.retries.fetch_add(1, Ordering::SeqCst);
        }
        let _ = front.send_to(&packet[..length], client).await;
    }
}

async fn relay_tcp(front: TcpListener, shared: Arc<Shared>) {
    let mut running = tokio::task::JoinSet::new();
    loop {
        let Ok((mut near, _)) = front.accept().await else { continue };
        let target = *shared.target.lock().unwrap();
        running.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(target).await {
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
