//! The bare transport: one stream of quinn over loopback, without gRPC, HTTP/3, files or disks.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use quinn::{ClientConfig, Endpoint, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The MTU of an Ethernet without jumbo frames, less the headers of IP and UDP.
pub(crate) const ETHERNET: u16 = 1452;

/// What loopback lets through.
pub(crate) const LOOPBACK: u16 = 65_507;

/// How long it may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends so many bytes over one stream; returns how long that took, from the first byte to the receiver's end.
pub(crate) fn raw_stream(bytes: u64, mtu: u16) -> Result<Duration> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let sent = tokio::time::timeout(PATIENCE, send(bytes, mtu)).await;
        sent.context("the stream came to a standstill")?
    })
}

async fn send(bytes: u64, mtu: u16) -> Result<Duration> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;

    let mut transport = TransportConfig::default();
    let window = VarInt::from_u32(16 << 20);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(mtu);
    transport
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(32 << 20)
        .initial_mtu(mtu.min(ETHERNET))
        .mtu_discovery_config(Some(discovery))
        // A batch of ten of the largest datagrams is more than one send takes; quinn would lose it without a word.
        .enable_segmentation_offload(10 * u32::from(mtu) <= u32::from(LOOPBACK));
    let transport = Arc::new(transport);

    let mut server = ServerConfig::with_single_cert(vec![certificate.clone()], key)?;
    server.transport_config(transport.clone());
    let mut config = quinn::EndpointConfig::default();
    config.max_udp_payload_size(mtu.max(1472))?;
    let endpoint = |server: Option<ServerConfig>| -> Result<Endpoint> {
        let socket = std::net::UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let runtime = quinn::default_runtime().context("a runtime")?;
        Ok(Endpoint::new(config.clone(), server, socket, runtime)?)
    };
    let receiver = endpoint(Some(server))?;
    let address = receiver.local_addr()?;

    let mut trusted = RootCertStore::empty();
    trusted.add(certificate)?;
    let mut client = ClientConfig::with_root_certificates(Arc::new(trusted))?;
    client.transport_config(transport);
    let mut sender = endpoint(None)?;
    sender.set_default_client_config(client);

    let receiving = tokio::spawn(async move {
        let connection = receiver.accept().await.context("a connection")?.await?;
        let mut stream = connection.accept_uni().await?;
        let mut got = 0;
        while let Some(chunk) = stream.read_chunk(1 << 20, true).await? {
            got += chunk.bytes.len() as u64;
        }
        anyhow::Ok((got, Instant::now()))
    });
    let connection = sender.connect(address, "localhost")?.await?;
    let mut stream = connection.open_uni().await?;
    let block = vec![7; 1 << 20];
    let since = Instant::now();
    for _ in 0..bytes >> 20 {
        stream.write_all(&block).await?;
    }
    stream.finish()?;
    let (got, at) = receiving.await??;
    anyhow::ensure!(got == bytes >> 20 << 20, "{got} of {bytes} bytes arrived");
    Ok(at - since)
}
