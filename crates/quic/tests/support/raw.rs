//! An HTTP/3 client that says exactly what it is told, however wrong.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};

use super::ca::Ca;
use super::loopback;

/// A connection that has sent its control stream and settings.
pub(crate) struct Raw {
    pub(crate) connection: Connection,
    _control: SendStream,
    _endpoint: Endpoint,
}

/// Connects without HTTP/3.
pub(crate) async fn connect_quic(ca: &Ca, server: SocketAddr) -> (Endpoint, Connection) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.certificate()).unwrap();
    let (chain, key) = ca.valid("quics://device/raw");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client(loopback(0)).unwrap();
    let connection = endpoint.connect_with(config, server, "localhost").unwrap().await.unwrap();
    (endpoint, connection)
}

impl Raw {
    pub(crate) async fn connect(ca: &Ca, server: SocketAddr) -> Self {
        let (endpoint, connection) = connect_quic(ca, server).await;
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&[0x00, 0x04, 0x00]).await.unwrap();
        Raw { connection, _control: control, _endpoint: endpoint }
    }

    /// Opens a call of the test service, headers sent.
    pub(crate) async fn call(&self, method: &str, more: &[(&str, &str)]) -> (SendStream, RecvStream) {
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        let path = format!("/grpc.testing.TestService/{method}");
        let mut fields = vec![
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path.as_str()),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ];
        fields.extend(more);
        let block = qpack(&fields);
        let mut frame = vec![0x01];
        frame.extend(varint(block.len()));
        frame.extend(block);
        send.write_all(&frame).await.unwrap();
        (send, recv)
    }
}

/// A DATA frame.
pub(crate) fn data(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x00];
    frame.extend(varint(payload.len()));
    frame.extend_from_slice(payload);
    frame
}

/// A gRPC message of type `StreamingInputCallRequest` with a payload of `size` bytes.
pub(crate) fn message(size: usize) -> Vec<u8> {
    let message = super::messages::StreamingInputCallRequest { payload: super::messages::Payload::zeros(size) };
    let encoded = prost::Message::encode_to_vec(&message);
    let mut out = vec![0];
    out.extend(u32::try_from(encoded.len()).unwrap().to_be_bytes());
    out.extend(encoded);
    out
}

/// A variable-length integer of four bytes.
fn varint(value: usize) -> [u8; 4] {
    (u32::try_from(value).unwrap() | 0x8000_0000).to_be_bytes()
}

/// Encodes fields as literals, without a table (RFC 9204, section 4.5.6).
fn qpack(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in fields {
        prefixed(&mut out, 0x20, 3, name.len());
        out.extend(name.as_bytes());
        prefixed(&mut out, 0x00, 7, value.len());
        out.extend(value.as_bytes());
    }
    out
}

fn prefixed(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let max = (1_usize << bits) - 1;
    if value < max {
        out.push(flags | u8::try_from(value).unwrap());
        return;
    }
    out.push(flags | u8::try_from(max).unwrap());
    let mut rest = value - max;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}
