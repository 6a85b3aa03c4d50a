//! Sockets and quinn endpoints.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Tuning;
use crate::socket::LARGEST;

/// How often a free port is looked for on UDP and TCP at once.
const PORT_ATTEMPTS: usize = 64;
/// Connections that the kernel holds until they are accepted.
const TCP_BACKLOG: i32 = 1_024;

/// Binds a UDP socket with large buffers; the kernel grants of them what its limits allow.
pub(crate) fn bind_udp(address: SocketAddr, tuning: &Tuning) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(tuning.socket_buffer)?;
    socket.set_send_buffer_size(tuning.socket_buffer)?;
    socket.bind(&SockAddr::from(address))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds a TCP socket that listens.
pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(TCP_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds UDP and TCP on the same port; port 0 finds one that is free on both.
pub(crate) fn bind_pair(address: SocketAddr, tuning: &Tuning) -> io::Result<(UdpSocket, TcpListener)> {
    if address.port() != 0 {
        return Ok((bind_udp(address, tuning)?, bind_tcp(address)?));
    }
    let mut refused = Vec::new();
    loop {
        let udp = bind_udp(address, tuning)?;
        match bind_tcp(udp.local_addr()?) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if refused.len() >= PORT_ATTEMPTS => return Err(error),
            // Kept until the end, so that the next attempt gets another port.
            Err(_) => refused.push(udp),
        }
    }
}

/// Binds a client's socket of the family that `target` needs.
pub(crate) fn bind_client(target: SocketAddr, tuning: &Tuning) -> io::Result<UdpSocket> {
    let any = match target {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    bind_udp(any, tuning)
}

/// Builds an endpoint's settings.
///
/// With a `reset_key` that outlives the process, a restarted server can tell the clients of its former life at once
/// that their connections are gone (RFC 9000, section 10.3); without one they notice by the idle timeout.
pub(crate) fn endpoint_config(reset_key: Option<[u8; 32]>) -> EndpointConfig {
    let mut config = match reset_key {
        None => EndpointConfig::default(),
        Some(key) => {
            let mut config = EndpointConfig::new(Arc::new(ResetKey(key)));
            // quinn's own generator knows the ids of this process only, and drops packets for others unanswered.
            config.cid_generator(|| Box::new(RandomIds));
            config
        }
    };
    // What is received may be as long as any datagram; see `BatchSocket`. Fails only below 1 200 bytes.
    let _ = config.max_udp_payload_size(LARGEST);
    config
}

/// Names connections by random bytes.
struct RandomIds;

/// Bytes of a connection id.
const ID_LENGTH: usize = 8;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_LENGTH]>())
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// Signs stateless reset tokens with keyed BLAKE3.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        let mac = blake3::keyed_hash(&self.0, data);
        let length = signature.len().min(mac.as_bytes().len());
        signature[..length].copy_from_slice(&mac.as_bytes()[..length]);
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // `blake3::Hash` compares in constant time.
        let given = <[u8; blake3::OUT_LEN]>::try_from(signature).map_err(|_| CryptoError)?;
        if blake3::keyed_hash(&self.0, data) == blake3::Hash::from(given) { Ok(()) } else { Err(CryptoError) }
    }
}
