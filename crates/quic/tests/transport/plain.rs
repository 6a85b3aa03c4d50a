//! HTTP/3 without gRPC and without client certificates, for an HTTP/3 client that is not ours (h3 over h3-quinn).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use bytes::Buf as _;
use h3::client::{RequestStream, SendRequest};
use http::{Method, Request, Response, StatusCode};
use quics_quic::{ClientAuth, ServerConfig};
use quinn::crypto::rustls::QuicClientConfig;
use tonic::service::Routes;

use crate::support::ca::Ca;
use crate::support::service::Seen;
use crate::support::{Running, loopback, serve_routes, within};

const PAGE: usize = 3 << 20;

/// A web server.
fn serve_pages(ca: &Ca, adjust: impl FnOnce(&mut ServerConfig)) -> Running {
    let page = || async { vec![7u8; PAGE] };
    let echo = |body: Bytes| async move { body };
    let router = Router::new().route("/page", get(page)).route("/echo", post(echo));
    let mut config = ServerConfig::new(ca.server());
    config.client_auth = ClientAuth::NotAsked;
    adjust(&mut config);
    serve_routes(config, 0, Routes::from(router), Seen::default())
}

type Sender = SendRequest<h3_quinn::OpenStreams, Bytes>;

/// Connects without a certificate. Should it be asked for one, the test fails.
async fn connect(ca: &Ca, server: SocketAddr) -> (quinn::Endpoint, Sender) {
    #[derive(Debug)]
    struct NeverAsked;
    impl rustls::client::ResolvesClientCert for NeverAsked {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
            panic!("the server asks for a certificate");
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.certificate()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(NeverAsked));
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::client(loopback(0)).unwrap();
    let connection = endpoint.connect_with(config, server, "localhost").unwrap().await.unwrap();
    let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    (endpoint, sender)
}

async fn begin(sender: &mut Sender, method: Method, path: &str) -> RequestStream<h3_quinn::BidiStream<Bytes>, Bytes> {
    let request = Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).unwrap();
    sender.send_request(request).await.unwrap()
}

async fn end(mut stream: RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>) -> (Response<()>, Vec<u8>) {
    stream.finish().await.unwrap();
    let response = stream.recv_response().await.unwrap();
    let mut body = Vec::new();
    while let Some(data) = stream.recv_data().await.unwrap() {
        body.extend_from_slice(data.chunk());
    }
    (response, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_client_without_a_certificate_gets_pages_and_posts() {
    let ca = Ca::new();
    let server = serve_pages(&ca, |_| {});
    let (_endpoint, mut sender) = within(connect(&ca, server.address)).await;
    let stream = begin(&mut sender, Method::GET, "/page").await;
    let (response, body) = within(end(stream)).await;
    assert_eq!((response.status(), body.len()), (StatusCode::OK, PAGE));
    assert_eq!(response.headers()["content-length"], PAGE.to_string());
    let mut stream = begin(&mut sender, Method::POST, "/echo").await;
    stream.send_data(Bytes::from_static(b"said once")).await.unwrap();
    let (response, body) = within(end(stream)).await;
    assert_eq!((response.status(), &body[..]), (StatusCode::OK, &b"said once"[..]));
    let stream = begin(&mut sender, Method::GET, "/nothing").await;
    assert_eq!(within(end(stream)).await.0.status(), StatusCode::NOT_FOUND);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_cut_off_whatever_its_first_bytes_say() {
    let ca = Ca::new();
    let server = serve_pages(&ca, |config| {
        config.limits.min_rate = 1 << 20;
        config.limits.min_rate_grace = std::time::Duration::from_millis(200);
    });
    let (_endpoint, mut sender) = within(connect(&ca, server.address)).await;
    let mut stream = begin(&mut sender, Method::POST, "/echo").await;
    // As a gRPC message it would be complete.
    stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 1, 9])).await.unwrap();
    let response = within(stream.recv_response()).await;
    assert!(response.map_or(true, |response| !response.status().is_success()));
    server.stop().await;
}
