//! As much of an HTTP/3 client (RFC 9114) as one download needs: a request in QPACK's static table (RFC 9204, appendix A), and
//! the bytes that come back, counted.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Indices of QPACK's static table.
const METHOD_GET: u8 = 17;
const SCHEME_HTTPS: u8 = 23;
const AUTHORITY: u8 = 0;
const PATH: u8 = 1;

/// A number in QPACK's prefixed form, its first byte's upper bits given.
fn number(out: &mut Vec<u8>, upper: u8, bits: u8, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        return out.push(upper | value as u8);
    }
    out.push(upper | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// A request's HEADERS frame.
fn request(path: &str) -> Vec<u8> {
    let mut fields = vec![0, 0];
    for index in [METHOD_GET, SCHEME_HTTPS] {
        number(&mut fields, 0b1100_0000, 6, index.into());
    }
    for (name, value) in [(AUTHORITY, "localhost"), (PATH, path)] {
        number(&mut fields, 0b0101_0000, 4, name.into());
        number(&mut fields, 0, 7, value.len());
        fields.extend_from_slice(value.as_bytes());
    }
    // A length of two bytes, in QUIC's variable form.
    let length = (fields.len() as u16 | 0x4000).to_be_bytes();
    [&[1], &length[..], &fields].concat()
}

/// Fetches an address and says how long it took.
pub(crate) fn fetch(address: &str, chain: &Path, bytes: u64) -> Result<Duration> {
    let rest = address.strip_prefix("https://").context("an address over TLS")?;
    let (host, path) = rest.split_at(rest.find('/').context("an address with a path")?);
    let server: SocketAddr = host.parse()?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(chain)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut transport = quinn::TransportConfig::default();
        transport
            .stream_receive_window((8_u32 << 20).into())
            .max_idle_timeout(Some(Duration::from_secs(60).try_into()?));
        config.transport_config(Arc::new(transport));
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
        endpoint.set_default_client_config(config);
        let begun = Instant::now();
        let connection = endpoint.connect(server, "localhost")?.await?;
        let mut control = connection.open_uni().await?;
        // The control stream, and settings that say nothing.
        control.write_all(&[0, 4, 0]).await?;
        let (mut asking, mut answer) = connection.open_bi().await?;
        asking.write_all(&request(path)).await?;
        asking.finish()?;
        let mut read = 0;
        while let Some(chunk) = answer.read_chunk(usize::MAX, true).await? {
            read += chunk.bytes.len() as u64;
        }
        let took = begun.elapsed();
        ensure!(read > bytes, "of {bytes} bytes {read} came");
        connection.close(0x100_u32.into(), b"");
        endpoint.wait_idle().await;
        Ok(took)
    })
}
