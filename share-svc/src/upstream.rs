//! The ways to the other services: what was comes from history-svc, bytes come from sync-svc.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quics_kit::names;
use quics_kit::service::Sister;
use quics_kit::telemetry::Link as Channel;
use quics_proto::Malformed;
use quics_proto::history::v1 as history;
use quics_proto::history::v1::history_service_client::HistoryServiceClient;
use quics_proto::history::v1::list_tree_response::Message;
use quics_reconcile::Row;
use quics_types::{EntryId, RootId, limits};
use tonic::{Request, Streaming};

use crate::Error;
use crate::grpc::lost;

/// How long an answer may take; each message of a stream has as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Finds a service; in production it asks registry-svc.
pub(crate) trait Finder: Send + Sync + 'static {
    /// A channel to where it is now; `None`: nobody knows.
    fn find(&self) -> Pin<Box<dyn Future<Output = Option<Channel>> + Send + '_>>;
}

impl Finder for Sister {
    fn find(&self) -> Pin<Box<dyn Future<Output = Option<Channel>> + Send + '_>> {
        Box::pin(Sister::find(self))
    }
}

/// The other services.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) history: Arc<dyn Finder>,
    pub(crate) sync: Arc<dyn Finder>,
}

/// What something was.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where in the root.
    pub(crate) path: Bytes,
    pub(crate) row: Row,
    /// Which side of a conflict; 0 for what was accepted.
    pub(crate) side: u32,
    /// Why its content is not kept any more.
    pub(crate) removed: Option<String>,
}

/// Which entry, or what has a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Entry(EntryId),
    Path(Bytes),
}

impl From<Subject> for history::Subject {
    fn from(subject: Subject) -> Self {
        use history::subject::Subject as Message;
        let subject = match subject {
            Subject::Entry(id) if id == EntryId::TOP => Message::Path(Bytes::new()),
            Subject::Entry(id) => Message::EntryId(Bytes::copy_from_slice(id.as_bytes())),
            Subject::Path(path) => Message::Path(path),
        };
        history::Subject { subject: Some(subject) }
    }
}

/// A moment from a number of a commit.
pub(crate) fn commit(seq: u64) -> history::Moment {
    history::Moment { moment: Some(history::moment::Moment::Seq(seq)) }
}

/// A moment from a logical time of an entry.
pub(crate) fn numbered(time: u64, side: u32) -> history::Moment {
    history::Moment { moment: Some(history::moment::Moment::Version(history::VersionNumber { time, side })) }
}

fn id(root: RootId) -> Bytes {
    Bytes::copy_from_slice(root.as_bytes())
}

impl Upstream {
    /// A channel to sync-svc.
    ///
    /// # Errors
    /// [`Error::Away`]: nobody knows where it is.
    pub(crate) async fn contents(&self) -> Result<Channel, Error> {
        self.sync.find().await.ok_or(Error::Away(names::Service::Sync))
    }

    async fn client(&self) -> Result<HistoryServiceClient<Channel>, Error> {
        let channel = self.history.find().await.ok_or(Error::Away(names::Service::History))?;
        Ok(HistoryServiceClient::new(channel)
            .max_decoding_message_size(limits::MESSAGE_BYTES)
            .max_encoding_message_size(limits::MESSAGE_BYTES))
    }

    /// What something was at a moment, without one what it is; `None` if it was not there.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Sister`].
    pub(crate) async fn version(
        &self,
        root: RootId,
        subject: Subject,
        moment: Option<history::Moment>,
    ) -> Result<Option<Found>, Error> {
        let subject = Some(subject.into());
        let mut request = Request::new(history::GetVersionRequest { root_id: id(root), subject, moment });
        request.set_timeout(PATIENCE);
        match self.client().await?.get_version(request).await.map_err(lost(names::Service::History)) {
            Ok(answer) => answer.into_inner().version.map(found).transpose(),
            Err(Error::Sister { code: tonic::Code::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
        .map(|found| found.filter(|found| !found.row.dead))
    }

    /// The last commit of a root that history-svc knows.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Sister`].
    pub(crate) async fn newest(&self, root: RootId) -> Result<u64, Error> {
        let request = history::ListVersionsRequest { root_id: id(root), page_size: 1, ..Default::default() };
        let mut request = Request::new(request);
        request.set_timeout(PATIENCE);
        let answer = self.client().await?.list_versions(request).await.map_err(lost(names::Service::History))?;
        Ok(answer.into_inner().applied.map_or(0, |cursor| cursor.seq))
    }

    /// What was in a directory at a commit, without one what is; each directory before what is in it.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Sister`].
    pub(crate) async fn tree(
        &self,
        root: RootId,
        directory: EntryId,
        moment: Option<history::Moment>,
        recursive: bool,
    ) -> Result<Entries, Error> {
        let subject = Some(Subject::Entry(directory).into());
        let request = history::ListTreeRequest { root_id: id(root), subject, moment, recursive };
        let answers = self.client().await?.list_tree(request).await.map_err(lost(names::Service::History))?;
        Ok(Entries { answers: answers.into_inner(), count: 0 })
    }
}

/// What was in a directory, as it comes.
pub(crate) struct Entries {
    answers: Streaming<history::ListTreeResponse>,
    count: u64,
}

impl Entries {
    /// The next of them; `None` when all have come.
    ///
    /// # Errors
    /// [`Error::Cut`] if not all have come; [`Error::Away`], [`Error::Sister`].
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Found>>, Error> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await.map_err(|_| Error::Cut)?;
        match answer.map_err(lost(names::Service::History))?.and_then(|answer| answer.message) {
            Some(Message::Entries(entries)) => {
                self.count += entries.entries.len() as u64;
                entries.entries.into_iter().map(found).collect::<Result<_, _>>().map(Some)
            }
            Some(Message::Finish(finish)) if finish.count == self.count => Ok(None),
            Some(Message::Finish(_)) | None => Err(Error::Cut),
        }
    }
}

fn found(version: history::Version) -> Result<Found, Error> {
    let row = version.row.ok_or(Malformed::from(quics_types::Error::Name("a version without its row")))?;
    Ok(Found {
        path: version.path,
        row: Row::try_from(row)?,
        side: version.side,
        removed: version.removed.map(|removed| removed.why),
    })
}
