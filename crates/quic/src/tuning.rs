//! Windows, timers and packet sizes, the same for both ends.

use std::sync::Arc;
use std::time::Duration;

use crate::congestion;
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

/// Sets the flow-control windows, timers and datagram size of a connection.
///
/// The defaults are for links from a home line to a data centre; what they cost in memory is said at each field.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// Bytes that one stream's sender may be ahead of its reader: 2 MiB.
    ///
    /// QUIC's reassembly closes a connection when a stream has more than 1 024 gaps. A gap needs a lost and a received
    /// packet, and a packet carries at least 1 150 bytes of a bulk stream, so up to 2 × 1 024 × 1 150 bytes (2.2 MiB)
    /// even the worst pattern of loss stays below it. A transfer that needs more on a long path uses several streams.
    pub stream_window: u32,
    /// Bytes that all streams of a connection may be ahead of their readers together: 16 MiB.
    pub connection_window: u32,
    /// Bytes that a connection buffers for sending, unacknowledged ones included: 16 MiB.
    pub send_window: u64,
    /// A connection without any packet for so long is dead: 30 s.
    pub idle_timeout: Duration,
    /// How often an idle connection sends a packet, which keeps NAT bindings and the connection alive: 8 s.
    ///
    /// Only clients use it over QUIC; a server does not wake sleeping devices.
    pub keep_alive: Duration,
    /// The largest UDP payload that path MTU discovery tries: 16 000 bytes, falls back by itself to what the path carries.
    ///
    /// Jumbo frames are below it. Above it only loopback is, where longer datagrams were measured to gain nothing more
    /// and each connection would keep a buffer as long as one.
    pub max_datagram: u16,
    /// The round trip that is assumed before one was measured: 100 ms. Half of the QUIC standard's handshake retries
    /// come too late for a person who waits.
    pub initial_rtt: Duration,
    /// Bytes of the kernel's socket buffers that are asked for, each way: 4 MiB.
    pub socket_buffer: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            stream_window: 2 << 20,
            connection_window: 16 << 20,
            send_window: 16 << 20,
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(8),
            max_datagram: 16_000,
            initial_rtt: Duration::from_millis(100),
            socket_buffer: 4 << 20,
        }
    }
}

/// Unidirectional streams that a peer may have open: control, two of QPACK, and room for reserved types.
const UNI_STREAMS: u32 = 8;

impl Tuning {
    /// Builds quinn's settings; `streams` is how many requests the peer may have open.
    pub(crate) fn transport(&self, streams: u32, keep_alive: bool) -> Arc<TransportConfig> {
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(self.max_datagram.max(1_200));
        let mut config = TransportConfig::default();
        config
            .stream_receive_window(VarInt::from_u32(self.stream_window))
            .receive_window(VarInt::from_u32(self.connection_window))
            .send_window(self.send_window)
            .max_concurrent_bidi_streams(VarInt::from_u32(streams))
            .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
            .max_idle_timeout(IdleTimeout::try_from(self.idle_timeout).ok())
            .keep_alive_interval(keep_alive.then_some(self.keep_alive))
            .datagram_receive_buffer_size(None)
            .mtu_discovery_config(Some(mtu))
            .congestion_controller_factory(Arc::new(congestion::Factory::default()))
            .initial_rtt(self.initial_rtt);
        Arc::new(config)
    }
}
