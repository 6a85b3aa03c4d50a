//! UDP sockets that send batches of large datagrams.
//!
//! quinn hands over up to ten datagrams as one batch. The kernel takes a batch only as long as it is no longer than one
//! datagram may be, and quinn-udp keeps to itself that it refused a longer one: transfers over paths with large
//! datagrams (loopback) would crawl. So a longer batch goes out in parts.

use std::fmt::{self, Debug, Formatter};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// The longest UDP payload over IPv4, which is also the longest batch.
pub(crate) const LARGEST: u16 = 65_507;

/// A socket that splits what would be too much for one send.
pub(crate) struct BatchSocket(Arc<dyn AsyncUdpSocket>);

impl BatchSocket {
    /// Wraps a socket.
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        BatchSocket(inner)
    }
}

impl Debug for BatchSocket {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("BatchSocket").field(&self.0).finish()
    }
}

impl AsyncUdpSocket for BatchSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.0.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // Where a later part finds no room quinn sends the whole batch again: its receiver drops what it has already.
        parts(transmit).try_for_each(|part| self.0.try_send(&part))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments()
    }

    /// quinn makes its buffers so many times as long as the largest datagram. What the kernel joins is never longer than
    /// [`LARGEST`], and that is what one datagram may have.
    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

/// The parts of a batch, each of whole datagrams and no longer than one send may be.
fn parts<'a>(transmit: &'a Transmit<'a>) -> impl Iterator<Item = Transmit<'a>> {
    let largest = usize::from(LARGEST);
    let whole = transmit.contents.len();
    let step = match transmit.segment_size {
        Some(segment) if whole > largest => (largest / segment.max(1)).max(1) * segment.max(1),
        _ => whole.max(1),
    };
    transmit.contents.chunks(step).map(move |contents| Transmit {
        destination: transmit.destination,
        ecn: transmit.ecn,
        contents,
        segment_size: transmit.segment_size.filter(|segment| contents.len() > *segment),
        src_ip: transmit.src_ip,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn batch(contents: &[u8], segment_size: Option<usize>) -> Transmit<'_> {
        let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Transmit { destination, ecn: None, contents, segment_size, src_ip: None }
    }

    #[test]
    fn a_batch_that_is_too_long_goes_out_in_parts_of_whole_datagrams() {
        let contents = vec![7; 10 * 30_000 - 1];
        let batch = batch(&contents, Some(30_000));
        let parts: Vec<_> = parts(&batch).map(|part| (part.contents.len(), part.segment_size)).collect();
        let mut wanted = vec![(60_000, Some(30_000)); 4];
        wanted.push((59_999, Some(30_000)));
        assert_eq!(parts, wanted);
    }

    #[test]
    fn datagrams_of_which_no_two_fit_go_out_one_by_one() {
        let contents = vec![7; 2 * usize::from(LARGEST) + 5];
        let batch = batch(&contents, Some(usize::from(LARGEST)));
        let parts: Vec<_> = parts(&batch).map(|part| (part.contents.len(), part.segment_size)).collect();
        assert_eq!(parts, [(usize::from(LARGEST), None), (usize::from(LARGEST), None), (5, None)]);
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let contents = vec![7; 14_520];
        for segment in [None, Some(1_452)] {
            let batch = batch(&contents, segment);
            let parts: Vec<_> = parts(&batch).map(|part| (part.contents.len(), part.segment_size)).collect();
            assert_eq!(parts, [(14_520, segment)]);
        }
    }
}
