//! Why a conflict is not answered, shown or undone, each in one sentence.

use std::path::PathBuf;

use quics_proto::sync::v1 as sync;
use quics_types::Role;
use tonic::{Code, Status};

use crate::account;
use crate::agent::{Core, Root};
use crate::text::{line, path};
use crate::transfer::Failure;

/// Says why something about conflicts was not done; nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The user may not.
    #[error("you may not answer the conflicts of the root \"{}\": {why}", line(root))]
    MayNotAnswer {
        /// The root's name.
        root: String,
        /// Who may.
        why: &'static str,
    },
    /// The user owns it not.
    #[error("only owners of the root \"{}\" change how it deals with conflicts", line(root))]
    NotOwner {
        /// The root's name.
        root: String,
    },
    /// The settings were changed in between.
    #[error(
        "the settings of the root \"{}\" were changed meanwhile: look at them again with `quics config`",
        line(root)
    )]
    SettingsMoved {
        /// The root's name.
        root: String,
    },
    /// The root is not here.
    #[error("this root is not synced here: `quics roots` lists them")]
    NoRoot,
    /// No such answer.
    #[error("there is no answer \"{}\" that can be taken back: `quics resolve --history` lists them", line(id))]
    NoResolution {
        /// What was asked for.
        id: String,
    },
    /// Nothing was answered.
    #[error("there is no answer of yours that can be taken back")]
    NothingToUndo,
    /// Several answers begin so.
    #[error("several answers begin with \"{}\": give more of its id, `quics resolve --history` shows it", line(id))]
    Ambiguous {
        /// What was asked for.
        id: String,
    },
    /// It was taken back already.
    #[error("this answer was taken back already")]
    Undone,
    /// The merged file cannot be used.
    #[error("cannot use {} as the merged file: {reason}", path(at))]
    Merged {
        /// The file.
        at: PathBuf,
        /// Why.
        reason: String,
    },
    /// The content cannot be had.
    #[error("the content cannot be read: {0}")]
    Content(Failure),
    /// The request makes no sense.
    #[error("{0}")]
    Request(&'static str),
    /// The server cannot be reached or refused.
    #[error(transparent)]
    Account(#[from] account::Error),
}

impl Error {
    /// Says so where this device was revoked: then the server need not be asked.
    pub(super) fn of_standing(core: &Core) -> Result<(), Self> {
        if is_revoked(core) { Err(account::Error::Revoked.into()) } else { Ok(()) }
    }

    /// What a refusal of sync-svc means for an answer in this root.
    pub(super) async fn of_answer(core: &Core, root: &Root, status: &Status) -> Self {
        if status.code() != Code::PermissionDenied || is_revoked(core) {
            return Self::of_call(core, status);
        }
        let entry = root.entry.lock().clone();
        let settings = core.desk.settings.lock().get(&root.id).cloned().unwrap_or_default();
        // The role may have been changed just now.
        let listed = core.list_roots().await.unwrap_or_default();
        let now = listed.into_iter().find(|it| it.root_id == root.id.as_bytes().as_slice());
        let role = now.and_then(|it| it.role().to_domain()).unwrap_or(entry.role);
        let why = match (role, settings.answerers()) {
            (Role::Reader, _) => "you may only read it",
            (_, sync::Answerers::Owners) => "that is left to its owners",
            (_, sync::Answerers::Involved) => "that is left to those who have a side in it, and to owners",
            _ => "the server says so",
        };
        Error::MayNotAnswer { root: entry.name, why }
    }

    /// What a refusal of sync-svc means.
    pub(super) fn of_call(core: &Core, status: &Status) -> Self {
        if let Err(revoked) = Self::of_standing(core) {
            return revoked;
        }
        let address = core.account.lock().sync.clone();
        account::Error::of_call(&address, status).into()
    }
}

fn is_revoked(core: &Core) -> bool {
    *core.connection.borrow() == quics_proto::agent::v1::Connection::Revoked
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::MayNotAnswer { .. } | Error::NotOwner { .. } => Status::permission_denied(text),
            Error::Account(inner) => Status::from(crate::agent::Error::from(inner)),
            Error::NoRoot | Error::NoResolution { .. } | Error::NothingToUndo => Status::not_found(text),
            Error::SettingsMoved { .. } => Status::aborted(text),
            Error::Ambiguous { .. } | Error::Merged { .. } | Error::Request(_) => Status::invalid_argument(text),
            Error::Undone => Status::failed_precondition(text),
            Error::Content(Failure::Offline(_)) => Status::unavailable(text),
            Error::Content(_) => Status::data_loss(text),
        }
    }
}
