//! tower layers, interceptors, health and reflection work as over TCP alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream;
use quics_quic::{Peer, ServerConfig};
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::BOTH;
use crate::support::ca::Ca;
use crate::support::client::TestClient;
use crate::support::messages::Empty;
use crate::support::service::{Seen, TestService};
use crate::support::{channel, serve_routes, within};

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_and_watches() {
    for transport in BOTH {
        let ca = Ca::new();
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("quics", ServingStatus::Serving).await;
        let server = serve_routes(ServerConfig::new(ca.server()), 0, Routes::new(health), Seen::default());
        let mut client = HealthClient::new(channel(&ca, server.address, transport));
        let request = HealthCheckRequest { service: "quics".to_owned() };
        let answer = within(client.check(request.clone())).await.unwrap().into_inner();
        assert_eq!(answer.status, 1);
        let mut watch = within(client.watch(request)).await.unwrap().into_inner();
        assert_eq!(within(watch.message()).await.unwrap().unwrap().status, 1);
        reporter.set_service_status("quics", ServingStatus::NotServing).await;
        assert_eq!(within(watch.message()).await.unwrap().unwrap().status, 2);
        let unknown = HealthCheckRequest { service: "other".to_owned() };
        assert_eq!(within(client.check(unknown)).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_services() {
    for transport in BOTH {
        let ca = Ca::new();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .unwrap();
        let server = serve_routes(ServerConfig::new(ca.server()), 0, Routes::new(reflection), Seen::default());
        let mut client = ServerReflectionClient::new(channel(&ca, server.address, transport));
        let list = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = within(client.server_reflection_info(stream::iter([list]))).await.unwrap().into_inner();
        let answer = within(answers.message()).await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("{answer:?}");
        };
        assert!(list.service.iter().any(|service| service.name == "grpc.health.v1.Health"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interceptors_see_the_peer_and_may_refuse() {
    for transport in BOTH {
        let ca = Ca::new();
        let seen = Seen::default();
        let only_device_1 = |request: Request<()>| {
            let peer = request.extensions().get::<Peer>().ok_or_else(|| Status::internal("no peer"))?;
            match peer.uris.first().map(String::as_str) {
                Some("quics://device/1") if request.metadata().get("pass").is_some() => Ok(request),
                _ => Err(Status::permission_denied("no")),
            }
        };
        let routes = Routes::new(InterceptedService::new(TestService::new(seen.clone()), only_device_1));
        let server = serve_routes(ServerConfig::new(ca.server()), 0, routes, seen);
        let channel = channel(&ca, server.address, transport);
        let status = within(TestClient::new(channel.clone()).empty_call(Empty {})).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        let with_pass = InterceptedService::new(channel, |mut request: Request<()>| {
            request.metadata_mut().insert("pass", tonic::metadata::MetadataValue::from_static("yes"));
            Ok(request)
        });
        within(TestClient::new(with_pass).empty_call(Empty {})).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tower_layers_surround_calls_on_both_sides() {
    for transport in BOTH {
        let ca = Ca::new();
        let seen = Seen::default();
        let (at_server, at_client) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = |counter: &Arc<AtomicUsize>| {
            let counter = counter.clone();
            move || counter.fetch_add(1, Ordering::SeqCst)
        };
        let count_server = count(&at_server);
        let router = Routes::new(TestService::new(seen.clone())).into_axum_router();
        let router = router.layer(tower::util::MapRequestLayer::new(move |request: http::Request<_>| {
            count_server();
            request
        }));
        let server = serve_routes(ServerConfig::new(ca.server()), 0, Routes::from(router), seen);
        let count_client = count(&at_client);
        let channel = tower::ServiceBuilder::new()
            .map_request(move |request: http::Request<tonic::body::Body>| {
                count_client();
                request
            })
            .service(channel(&ca, server.address, transport));
        within(TestClient::new(channel).empty_call(Empty {})).await.unwrap();
        assert_eq!((at_server.load(Ordering::SeqCst), at_client.load(Ordering::SeqCst)), (1, 1));
    }
}
