//! How a root deals with conflicts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quics_proto::agent::v1::Connection;
use quics_proto::sync::v1 as sync;
use quics_proto::sync::v1::sync_service_client::SyncServiceClient;
use quics_types::RootId;
use tonic::Code;

use super::Error;
use crate::account::call;
use crate::agent::contents::Line;
use crate::agent::{Core, Root};

/// How long the server may take where what was known before would do.
const PATIENCE: Duration = Duration::from_secs(3);

impl Core {
    /// A client of sync-svc over whatever channel is in use at each call.
    pub(super) fn sync_client(&self) -> SyncServiceClient<Line> {
        let limit = quics_types::limits::MESSAGE_BYTES;
        SyncServiceClient::new(self.sync.clone()).max_decoding_message_size(limit)
    }

    /// Whether the session with the server is open.
    pub(super) fn is_online(&self) -> bool {
        matches!(*self.connection.borrow(), Connection::Quic | Connection::Tcp)
    }

    /// A root's settings, from the server.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn conflict_settings(&self, root: RootId) -> Result<sync::RootSettings, Error> {
        let request = sync::GetSettingsRequest { root_id: Bytes::copy_from_slice(root.as_bytes()) };
        let answer = self.sync_client().get_settings(call(request)).await;
        let settings =
            answer.map_err(|status| Error::of_call(self, &status))?.into_inner().settings.unwrap_or_default();
        self.desk.settings.lock().insert(root, settings);
        Ok(settings)
    }

    /// A root's settings, or what was known of them before.
    pub(super) async fn known_settings(&self, root: RootId) -> Option<sync::RootSettings> {
        let known = self.desk.settings.lock().get(&root).cloned();
        if !self.is_online() {
            return known;
        }
        match tokio::time::timeout(PATIENCE, self.conflict_settings(root)).await {
            Ok(Ok(settings)) => Some(settings),
            Ok(Err(error)) => {
                tracing::debug!(%error, %root, "settings.unknown");
                known
            }
            Err(_) => known,
        }
    }

    /// Changes a root's settings; gives them as they are then.
    ///
    /// # Errors
    /// [`Error::NotOwner`], [`Error::SettingsMoved`], what else the server says.
    pub(crate) async fn set_conflict_settings(
        &self,
        root: &Arc<Root>,
        settings: sync::RootSettings,
    ) -> Result<sync::RootSettings, Error> {
        let root_id = Bytes::copy_from_slice(root.id.as_bytes());
        let request = sync::SetSettingsRequest { root_id, settings: Some(settings) };
        let named = || root.entry.lock().name.clone();
        let settings = match self.sync_client().set_settings(call(request)).await {
            Ok(answer) => answer.into_inner().settings.unwrap_or_default(),
            Err(status) => {
                return Err(match status.code() {
                    Code::PermissionDenied => Error::NotOwner { root: named() },
                    Code::Aborted => Error::SettingsMoved { root: named() },
                    _ => Error::of_call(self, &status),
                });
            }
        };
        self.desk.settings.lock().insert(root.id, settings);
        Ok(settings)
    }
}
