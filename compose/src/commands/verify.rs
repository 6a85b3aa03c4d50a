//! `quics-stack verify`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use quics_kit::names::Service;
use quics_proto::sync::v1::{VerifyStoresRequest, admin_service_client::AdminServiceClient};
use tonic::Request;

use super::admin::{operations, told};
use crate::data::Data;

/// Has sync-svc read back everything that it keeps: exit code 0 if all of it is there, 1 if something is not.
///
/// # Errors
/// When nothing runs there, or the metadata are damaged.
pub(crate) async fn verify(data: &Data) -> Result<ExitCode> {
    let (channel, bearer) = operations(data, Service::Sync).await?;
    let mut request = Request::new(VerifyStoresRequest {});
    request.metadata_mut().insert("authorization", bearer);
    let mut answers = AdminServiceClient::new(channel).verify_stores(request).await.map_err(told)?.into_inner();
    let mut last = None;
    while let Some(answer) = answers.message().await.map_err(told)? {
        last = answer.finished.then_some(answer);
    }
    let Some(done) = last else { bail!("the server stopped before it had read everything") };
    println!("read {} chunks, {} MiB: {} damaged", done.chunks_read, done.bytes_read >> 20, done.damaged);
    if done.wanted == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} lost chunks are asked back from the devices that have them; look again in a while", done.wanted);
    Ok(ExitCode::FAILURE)
}
