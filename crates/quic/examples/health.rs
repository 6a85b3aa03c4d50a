//! Serves `grpc.health.v1` for foreign clients, as `tests/aioquic_health.py` calls it.
//!
//! `health DIR` makes a certificate authority, writes it and a client's certificate and key (DER) to `DIR`, prints the
//! port on loopback, and serves until its input ends.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::path::PathBuf;

use quics_quic::{Server, ServerConfig};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;

use support::ca::Ca;
use support::loopback;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: health DIR")?);
    let ca = Ca::new();
    let (chain, key) = ca.valid("quics://device/foreign");
    std::fs::write(directory.join("ca.der"), ca.certificate())?;
    std::fs::write(directory.join("client.der"), &chain[0])?;
    std::fs::write(directory.join("client.key"), key.secret_der())?;

    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("quics", ServingStatus::Serving).await;
    let server = Server::bind(ServerConfig::new(ca.server()), loopback(0))?;
    writeln!(std::io::stdout(), "{}", server.local_addr().port())?;
    std::io::stdout().flush()?;

    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    std::thread::spawn(move || {
        let mut ignored = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut ignored);
        stop.cancel();
    });
    server.serve(Routes::new(health), shutdown).await?;
    Ok(())
}
