//! The ops port: plain HTTP/2 with health, reflection and the service's administration.

use std::sync::Arc;

use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Status};

use super::Error;
use crate::caller::Caller;
use crate::clock::Clock;
use crate::status::status;

/// Calls that one connection to the ops port may have open.
const STREAMS: u32 = 64;

/// Adds reflection, in both versions that tools ask for.
pub(super) fn routes(admin: Routes) -> Result<Routes, Error> {
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(quics_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(admin.add_service(described().build_v1()?).add_service(described().build_v1alpha()?))
}

pub(super) async fn serve(
    listener: std::net::TcpListener,
    routes: Routes,
    stop: CancellationToken,
) -> Result<(), Error> {
    let address = listener.local_addr().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|source| Error::Bind { address, source })?;
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS)
        .add_routes(routes)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await?;
    Ok(())
}

/// Lets a call through if its caller has a valid certificate.
pub(super) fn known(clock: Arc<dyn Clock>) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |request| match Caller::of(&request, clock.now()) {
        Ok(_) => Ok(request),
        Err(denied) => Err(status(&denied)),
    }
}
