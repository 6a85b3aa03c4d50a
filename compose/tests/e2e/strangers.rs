//! Who has no certificate of this server, or another server's, gets nothing: over QUIC and over TCP, from no service,
//! by no call.

use std::fs;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use quics_kit::{
    identity::{Identity, Key},
    names,
};
use quics_quic::{Channel, ChannelConfig, Fallback, Tls};
use quics_stack::harness::{Device, Stack, tree};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use tonic::{Code, Request, client::Grpc};
use tonic_prost::ProstCodec;

use crate::support::{PATIENCE, Pair, refused, stack};

/// The paths of all calls of a service's contract.
fn calls(service: &str) -> Vec<String> {
    let all = FileDescriptorSet::decode(quics_proto::DESCRIPTORS).unwrap();
    let named = |file: &prost_types::FileDescriptorProto| -> Vec<String> {
        let found = file.service.iter().find(|found| found.name() == service);
        let path =
            |method: &prost_types::MethodDescriptorProto| format!("/{}.{service}/{}", file.package(), method.name());
        found.map(|found| found.method.iter().map(path).collect()).unwrap_or_default()
    };
    all.file.iter().flat_map(named).collect()
}

/// Makes a call with an empty message; what it ends with.
async fn call(channel: Channel, path: &str) -> Code {
    let mut grpc = Grpc::new(channel);
    if let Err(error) = grpc.ready().await {
        panic!("{path}: {error}");
    }
    let mut request = Request::new(());
    request.set_timeout(PATIENCE);
    // A stream's first answer is enough.
    let answer = grpc.server_streaming(request, path.parse().unwrap(), ProstCodec::<(), ()>::default()).await;
    let first = match answer {
        Ok(stream) => stream.into_inner().message().await.map(drop),
        Err(status) => Err(status),
    };
    first.map_or_else(|status| status.code(), |()| Code::Ok)
}

/// A certificate for the name of a device of the server, by a CA that it does not know.
fn forged(device: &str, trust: &[CertificateDer<'static>]) -> Tls {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca_key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = Key::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(format!("quics:device:{device}").try_into().unwrap())];
    let leaf = params.signed_by(key.pair(), &issuer).unwrap();
    Identity::new(key, vec![leaf.der().clone()], trust.to_vec()).unwrap().tls().unwrap()
}

#[test]
fn no_call_answers_a_peer_with_a_strangers_certificate_or_with_none() {
    let pair = Pair::with(|folder| fs::write(folder.join("secret"), "s").unwrap());
    let trust = Identity::load(&pair.left.home().join("identity")).unwrap().unwrap().trust().to_vec();
    let device = pair.left.status().unwrap()["device_id"].as_str().unwrap().to_owned();
    let strangers = [("none", Tls::new(trust.clone(), None).unwrap()), ("a stranger's", forged(&device, &trust))];
    let record = pair.stack.record().unwrap();
    let before = pair.stack.statistics().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let services = [
            ("RegistryService", names::Service::Registry),
            ("SyncService", names::Service::Sync),
            ("RelayService", names::Service::Sync),
            ("HistoryService", names::Service::History),
        ];
        for (contract, service) in services {
            let address = &record.services.iter().find(|found| found.name == service.as_str()).unwrap().address;
            let calls = calls(contract);
            assert!(calls.len() >= 3, "{calls:?}");
            for fallback in [Fallback::QuicOnly, Fallback::TcpOnly] {
                for (certificate, tls) in &strangers {
                    let mut config = ChannelConfig::new(address, service.server_name(), tls.clone());
                    config.fallback = fallback;
                    // The pause after a refused connect is the client's own; a stranger would not keep it.
                    for path in calls.iter().filter(|path| !path.ends_with("/Enrol")) {
                        let code = call(Channel::new(config.clone()), path).await;
                        let wanted = match (service, *certificate) {
                            // The registry speaks with those who have none, so that they can enrol.
                            (names::Service::Registry, "none") => code == Code::Unauthenticated,
                            _ => matches!(code, Code::Unavailable | Code::Unauthenticated),
                        };
                        assert!(wanted, "{path} over {fallback:?} with {certificate}: {code:?}");
                    }
                }
            }
        }
    });
    let after = pair.stack.statistics().unwrap();
    assert_eq!((after.roots, after.chunks), (before.roots, before.chunks), "nothing changed");
    pair.in_sync();
}

#[test]
fn commands_with_another_servers_certificate_and_with_none_are_refused() {
    let mut pair = Pair::with(|folder| fs::write(folder.join("secret"), "s").unwrap());
    // A device of another server, told to speak to this one: its certificate has a stranger's signature.
    let other = stack();
    let stranger = Device::new(&other, "stranger").unwrap();
    let ticket = other.ticket().unwrap();
    stranger.quics(["join", ticket.as_str(), "--name", "stranger"]).unwrap();
    let address = |stack: &Stack| stack.record().unwrap().services[0].address.clone();
    let (own, target) = (address(&other), address(&pair.stack));
    let settings = stranger.home().join("settings.toml");
    let text = fs::read_to_string(&settings).unwrap();
    assert!(text.contains(&own), "{text}");
    fs::write(&settings, text.replace(&own, &target)).unwrap();
    refused(&stranger.run(["devices"]).unwrap(), &["server", &target]);

    // Without any certificate: a home whose identity is gone.
    pair.right.stop_agent().unwrap();
    fs::remove_dir_all(pair.right.home().join("identity")).unwrap();
    refused(&pair.right.run(["devices"]).unwrap(), &["no key", "join again"]);
    assert_eq!(tree::read(&pair.here).unwrap().len(), 1);
}
