//! HTTP/1.1 for browsers and proxies: over TLS where it is agreed on, and without TLS on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use quics_quic::{ClientAuth, Error, Limits, PlainServer, ServerConfig, Tls};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::support::ca::Ca;
use crate::support::service::Seen;
use crate::support::{Running, loopback, serve_routes, within};

fn routes() -> Routes {
    let echo = |body: Bytes| async move { body };
    Routes::from(Router::new().route("/page", get(|| async { "a page" })).route("/echo", post(echo)))
}

fn limits(adjust: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    adjust(&mut limits);
    limits
}

/// A plain server: its address, and what ends it.
fn plain(limits: Limits) -> (SocketAddr, CancellationToken) {
    let server = PlainServer::bind(limits, loopback(0)).unwrap();
    let (address, shutdown) = (server.local_addr(), CancellationToken::new());
    tokio::spawn(server.serve(routes(), shutdown.clone()));
    (address, shutdown)
}

fn serve_web(ca: &Ca, limits: Limits) -> Running {
    let (chain, key) = ca.valid("quics://service/test");
    let mut config = ServerConfig::new(Tls::public(chain, key).unwrap());
    (config.client_auth, config.limits) = (ClientAuth::NotAsked, limits);
    serve_routes(config, 0, routes(), Seen::default())
}

/// Sends something and reads until the other side closes.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, what: &[u8]) -> String {
    // A server that has heard enough closes while it is being written to.
    let _cut = stream.write_all(what).await;
    let mut answer = Vec::new();
    let _cut = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const GET: &[u8] = b"GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_http2_gets_http1_over_tls() {
    let ca = Ca::new();
    let server = serve_web(&ca, Limits::default());
    for (alpn, spoken) in [(&[&b"http/1.1"[..]][..], &b"http/1.1"[..]), (&[b"h2", b"http/1.1"], b"h2")] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
        let tcp = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = within(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(spoken));
        if spoken == b"http/1.1" {
            let answer = say(stream, GET).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("a page"), "{answer}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_on_the_same_machine_gets_http1_without_tls_and_nobody_else_does() {
    let (address, shutdown) = plain(Limits::default());
    let answer = say(TcpStream::connect(address).await.unwrap(), GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("a page"), "{answer}");
    let everywhere = PlainServer::bind(Limits::default(), ([0, 0, 0, 0], 0).into());
    assert!(matches!(everywhere, Err(Error::Bind { .. })));
    shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_huge_headers_and_ambiguous_lengths_are_cut_off() {
    let (address, _running) = plain(limits(|limits| limits.header_timeout = Duration::from_millis(300)));
    // Never ends its headers.
    let answer = say(TcpStream::connect(address).await.unwrap(), b"GET /page HTTP/1.1\r\nHost: a\r\nX: ").await;
    assert!(!answer.contains("200"), "{answer}");
    let huge = [b"GET /page HTTP/1.1\r\nHost: a\r\nX: ", &vec![b'x'; 64 << 10][..], b"\r\n\r\n"].concat();
    let answer = say(TcpStream::connect(address).await.unwrap(), &huge).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    for smuggled in [
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "GET /page HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /page HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
    ] {
        let answer = say(TcpStream::connect(address).await.unwrap(), smuggled.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{smuggled:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_address_only_so_many_connections_are_served() {
    let (address, _running) = plain(limits(|limits| limits.per_address = 2));
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 15];
        within(stream.read_exact(&mut first)).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        held.push(stream);
    }
    assert_eq!(say(TcpStream::connect(address).await.unwrap(), GET).await, "");
    drop(held);
    let again = async {
        while !say(TcpStream::connect(address).await.unwrap(), GET).await.contains("200 OK") {
            tokio::task::yield_now().await;
        }
    };
    within(again).await;
}
