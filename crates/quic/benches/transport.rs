//! What the transport costs: gRPC over QUIC beside a raw QUIC stream and beside tonic over TCP with TLS.
//!
//! `cargo bench -p quics-quic`. Client and server share the process but not their runtimes; the contestants take turns,
//! and the table shows the medians of their runs with minimum and maximum. `BENCH_MIB` sets the size of a transfer
//! (default 256), `BENCH_RUNS` the number of runs (default 5), `BENCH_MTU` the largest datagram (default 16000).

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a benchmark prints, and ends on any error")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use quics_quic::{Channel, ServerConfig, Transport, Tuning};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use tokio::runtime::Runtime;
use tonic::service::Routes;

use support::ca::Ca;
use support::client::TestClient;
use support::messages::*;
use support::service::{Seen, TestService};
use support::{channel_config, loopback, serve_routes};

/// Bytes of a message, as a chunk of a bulk transfer has them.
const MESSAGE: usize = 1 << 20;

struct Settings {
    messages: usize,
    runs: usize,
    tuning: Tuning,
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let mut tuning = Tuning::default();
    tuning.max_datagram = u16::try_from(number("BENCH_MTU", usize::from(tuning.max_datagram))).unwrap();
    tuning.stream_window = u32::try_from(number("BENCH_WINDOW", tuning.stream_window as usize)).unwrap();
    let settings = Settings { messages: number("BENCH_MIB", 256), runs: number("BENCH_RUNS", 5), tuning };
    println!(
        "{} MiB in messages of 1 MiB, datagrams up to {} bytes, medians of {} runs [minimum-maximum]\n",
        settings.messages, settings.tuning.max_datagram, settings.runs
    );

    let (server, client) = (runtime(), runtime());
    let ca = Ca::new();
    let address = server.block_on(async {
        let mut config = ServerConfig::new(ca.server());
        config.tuning = settings.tuning.clone();
        let seen = Seen::default();
        let running = serve_routes(config, 0, Routes::new(TestService::new(seen.clone())), seen);
        let address = running.address;
        // Serves until the process ends.
        std::mem::forget(running.shutdown);
        address
    });
    let raw = Raw::start(&ca, &settings.tuning, &server, &client);
    let channel = |transport| {
        let mut config = channel_config(&ca, address, transport);
        config.tuning = settings.tuning.clone();
        TestClient::new(Channel::new(config))
    };
    let (quic, tcp) = (channel(Transport::Quic), channel(Transport::Tcp));

    let mut table = Table::default();
    for run in 0..=settings.runs {
        // The first run warms up.
        let keep = run > 0;
        let count = settings.messages;
        table.add(keep, "raw quinn stream", "up", rate(count, &client, raw.up(count)));
        table.add(keep, "raw quinn stream", "down", rate(count, &client, raw.down(count)));
        table.add(keep, "gRPC over QUIC (this crate)", "up", rate(count, &client, up(quic.clone(), count)));
        table.add(keep, "gRPC over QUIC (this crate)", "down", rate(count, &client, down(quic.clone(), count)));
        table.add(keep, "gRPC over TCP + TLS", "up", rate(count, &client, up(tcp.clone(), count)));
        table.add(keep, "gRPC over TCP + TLS", "down", rate(count, &client, down(tcp.clone(), count)));
    }
    table.print("MB/s");

    let mut calls = Table::default();
    for run in 0..=settings.runs {
        calls.add(run > 0, "gRPC over QUIC (this crate)", "µs, one", client.block_on(unary(quic.clone(), 500)));
        calls.add(run > 0, "gRPC over TCP + TLS", "µs, one", client.block_on(unary(tcp.clone(), 500)));
        calls.add(run > 0, "gRPC over QUIC (this crate)", "1/s, 64", client.block_on(many(quic.clone(), 5_000)));
        calls.add(run > 0, "gRPC over TCP + TLS", "1/s, 64", client.block_on(many(tcp.clone(), 5_000)));
    }
    calls.print("empty calls");
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Megabytes a second of a transfer of `count` messages.
fn rate(count: usize, runtime: &Runtime, transfer: impl Future<Output = ()>) -> f64 {
    let begun = Instant::now();
    runtime.block_on(transfer);
    (count * MESSAGE) as f64 / begun.elapsed().as_secs_f64() / 1e6
}

async fn up(mut client: TestClient<Channel>, count: usize) {
    let payload = Payload::zeros(MESSAGE);
    let requests = stream::repeat_with(move || StreamingInputCallRequest { payload: payload.clone() }).take(count);
    let answer = client.streaming_input(requests).await.unwrap().into_inner();
    assert_eq!(usize::try_from(answer.aggregated_payload_size).unwrap(), count * MESSAGE);
}

async fn down(mut client: TestClient<Channel>, count: usize) {
    let size = i32::try_from(MESSAGE).unwrap();
    let response_parameters = vec![ResponseParameters { size, interval_us: 0 }; count];
    let request = StreamingOutputCallRequest { response_parameters, ..Default::default() };
    let mut responses = client.streaming_output(request).await.unwrap().into_inner();
    let mut total = 0;
    while let Some(message) = responses.message().await.unwrap() {
        total += size_of(&message.payload);
    }
    assert_eq!(total, count * MESSAGE);
}

/// Microseconds of a call, median of `count` in turn.
async fn unary(mut client: TestClient<Channel>, count: usize) -> f64 {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        client.empty_call(Empty {}).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[count / 2].as_secs_f64() * 1e6
}

/// Calls a second with 64 in flight.
async fn many(client: TestClient<Channel>, count: usize) -> f64 {
    let begun = Instant::now();
    stream::iter(0..count)
        .for_each_concurrent(64, |_| {
            let mut client = client.clone();
            async move { drop(client.empty_call(Empty {}).await.unwrap()) }
        })
        .await;
    count as f64 / begun.elapsed().as_secs_f64()
}

/// A bare QUIC connection with the same settings, each endpoint on a thread of its own.
struct Raw {
    connection: quinn::Connection,
    _server: quinn::Endpoint,
}

impl Raw {
    fn start(ca: &Ca, tuning: &Tuning, server: &Runtime, client: &Runtime) -> Self {
        let (transport, endpoint_config) = raw_settings(tuning);
        let mut suites = rustls::crypto::ring::default_provider();
        suites.cipher_suites.retain(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        let suites = Arc::new(suites);
        let versions: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

        let (chain, key) = ca.valid("quics://service/raw");
        let tls = rustls::ServerConfig::builder_with_provider(suites.clone()).with_protocol_versions(versions).unwrap();
        let mut tls = tls.with_no_client_auth().with_single_cert(chain, key).unwrap();
        tls.alpn_protocols = vec![b"raw".to_vec()];
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        config.transport_config(transport.clone());
        let socket = std::net::UdpSocket::bind(loopback(0)).unwrap();
        let on_server = on_thread("raw-server");
        let listening = {
            let _entered = on_server.enter();
            quinn::Endpoint::new(endpoint_config.clone(), Some(config), socket, Arc::new(quinn::TokioRuntime)).unwrap()
        };
        let address = listening.local_addr().unwrap();
        server.spawn(answer(listening.clone()));

        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.certificate()).unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(suites).with_protocol_versions(versions).unwrap();
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"raw".to_vec()];
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.transport_config(transport);
        let connection = client.block_on(connect(config, endpoint_config, address));
        Raw { connection, _server: listening }
    }

    /// Sends and waits for the answer that all has arrived.
    async fn up(&self, count: usize) {
        let (mut send, mut recv) = self.connection.open_bi().await.unwrap();
        let chunk = Bytes::from(vec![0; MESSAGE]);
        send.write_all(&0_u64.to_be_bytes()).await.unwrap();
        for _ in 0..count {
            send.write_chunk(chunk.clone()).await.unwrap();
        }
        send.finish().unwrap();
        recv.read_to_end(8).await.unwrap();
    }

    /// Asks for messages and reads them.
    async fn down(&self, count: usize) {
        let (mut send, mut recv) = self.connection.open_bi().await.unwrap();
        send.write_all(&(count as u64).to_be_bytes()).await.unwrap();
        send.finish().unwrap();
        let mut total = 0;
        while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.unwrap() {
            total += chunk.bytes.len();
        }
        assert_eq!(total, count * MESSAGE);
    }
}

fn raw_settings(tuning: &Tuning) -> (Arc<quinn::TransportConfig>, quinn::EndpointConfig) {
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(tuning.max_datagram);
    let mut transport = quinn::TransportConfig::default();
    transport
        .stream_receive_window(tuning.stream_window.into())
        .receive_window(tuning.connection_window.into())
        .send_window(tuning.send_window)
        .mtu_discovery_config(Some(mtu));
    let mut endpoint = quinn::EndpointConfig::default();
    endpoint.max_udp_payload_size(tuning.max_datagram.max(1_472)).unwrap();
    (Arc::new(transport), endpoint)
}

fn on_thread(name: &str) -> tokio::runtime::Handle {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name(name.to_owned()).spawn(run).unwrap();
    handle
}

async fn connect(config: quinn::ClientConfig, endpoint: quinn::EndpointConfig, to: SocketAddr) -> quinn::Connection {
    let socket = std::net::UdpSocket::bind(loopback(0)).unwrap();
    let driver = on_thread("raw-client");
    let endpoint = {
        let _entered = driver.enter();
        quinn::Endpoint::new(endpoint, None, socket, Arc::new(quinn::TokioRuntime)).unwrap()
    };
    let connecting =
        driver.spawn(async move { endpoint.connect_with(config, to, "localhost").unwrap().await.unwrap() });
    tokio::time::timeout(Duration::from_secs(10), connecting).await.unwrap().unwrap()
}

async fn answer(endpoint: quinn::Endpoint) {
    let connection = endpoint.accept().await.unwrap().await.unwrap();
    let chunk = Bytes::from(vec![0; MESSAGE]);
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        let chunk = chunk.clone();
        tokio::spawn(async move {
            let mut wanted = [0; 8];
            recv.read_exact(&mut wanted).await.unwrap();
            while recv.read_chunk(usize::MAX, true).await.unwrap().is_some() {}
            for _ in 0..u64::from_be_bytes(wanted) {
                send.write_chunk(chunk.clone()).await.unwrap();
            }
            send.finish().unwrap();
        });
    }
}

/// Results by contestant and column, in the order in which they came.
#[derive(Default)]
struct Table {
    cells: Vec<(&'static str, &'static str, Vec<f64>)>,
}

impl Table {
    fn add(&mut self, keep: bool, row: &'static str, column: &'static str, value: f64) {
        if !keep {
            return;
        }
        match self.cells.iter_mut().find(|cell| (cell.0, cell.1) == (row, column)) {
            Some(cell) => cell.2.push(value),
            None => self.cells.push((row, column, vec![value])),
        }
    }

    fn print(mut self, title: &str) {
        println!("{title}");
        for (row, column, values) in &mut self.cells {
            values.sort_by(f64::total_cmp);
            let (median, least, most) = (values[values.len() / 2], values[0], values[values.len() - 1]);
            println!("  {row:<30} {column:<8} {median:>8.0} [{least:.0}-{most:.0}]");
        }
        println!();
    }
}
