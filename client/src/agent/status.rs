//! The agent's status as the local API tells it.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use quics_proto::agent::v1 as api;
use quics_proto::common::v1::Role;

use super::Core;
use super::root::Root;
use super::view::View;

/// Problems that are listed for one root.
const PROBLEMS: usize = 100;
const UNWATCHED: &str = "not every directory can be watched, so all is looked through every minute: raise \
                         fs.inotify.max_user_watches and max_user_instances, and start the agent anew";

impl Core {
    /// Everything that the status shows, now.
    pub(crate) fn status(&self) -> api::Status {
        let account = self.account.lock().clone();
        let connection = self.transport();
        let roots: Vec<api::RootStatus> = self.roots.lock().values().map(|root| self.root_status(root)).collect();
        api::Status {
            program: crate::PROGRAM.to_owned(),
            device_id: Bytes::copy_from_slice(account.device.as_bytes()),
            device_name: account.device_name,
            user_name: account.user_name,
            server: account.server,
            connection: connection as i32,
            paused: !roots.is_empty() && roots.iter().all(|root| root.state() == api::RootState::Paused),
            roots,
            process_id: std::process::id(),
            trouble: self.trouble(),
        }
    }

    /// The status of one root.
    pub(crate) fn root_status(&self, root: &Root) -> api::RootStatus {
        let view = root.view.borrow().clone();
        let entry = root.entry.lock().clone();
        let connection = self.transport();
        let online = matches!(connection, api::Connection::Quic | api::Connection::Tcp);
        let moved = root.meter.read();
        let mut hold = view.failed.clone().or_else(|| view.hold.clone()).unwrap_or_default();
        if connection == api::Connection::Revoked && hold.is_empty() {
            hold = "this device was revoked".to_owned();
        }
        let mut problems: Vec<api::Problem> = view
            .problems
            .iter()
            .take(PROBLEMS - 1)
            .map(|(path, reason)| api::Problem { path: Bytes::copy_from_slice(path), reason: reason.clone() })
            .collect();
        let limited = root.limited.load(Ordering::Relaxed);
        if limited {
            problems.insert(0, api::Problem { path: Bytes::from_static(b"."), reason: UNWATCHED.to_owned() });
        }
        api::RootStatus {
            root_id: Bytes::copy_from_slice(root.id.as_bytes()),
            name: entry.name,
            path: Bytes::copy_from_slice(entry.path.as_os_str().as_bytes()),
            state: state(&view, online, entry.paused) as i32,
            role: Role::from(entry.role) as i32,
            entries: view.entries,
            outgoing: view.outgoing.0,
            outgoing_bytes: view.outgoing.1,
            incoming: view.incoming.0,
            incoming_bytes: view.incoming.1,
            open_conflicts: view.conflicts,
            hold,
            braked_devices: self.desk.braked.borrow().get(&root.id).cloned().unwrap_or_default(),
            problems,
            problem_count: view.problem_count + u64::from(limited),
            progress: Some(api::Progress {
                scanned_entries: view.scanned,
                // A file is hashed while it is sent.
                hashed_bytes: moved.sent,
                hash_total_bytes: moved.to_send,
                sent_bytes: moved.sent,
                send_total_bytes: moved.to_send,
                received_bytes: moved.received,
                receive_total_bytes: moved.to_receive,
            }),
            cursor: view.cursor.map(Into::into),
        }
    }
}

/// The one word for what a root does. What stops it comes first, then what it works on.
fn state(view: &View, online: bool, paused: bool) -> api::RootState {
    if view.failed.is_some() {
        api::RootState::Failed
    } else if view.hold.is_some() {
        api::RootState::Held
    } else if paused || view.paused {
        api::RootState::Paused
    } else if view.scanning || !view.running {
        api::RootState::Scanning
    } else if !online {
        api::RootState::Offline
    } else if view.in_sync() {
        api::RootState::InSync
    } else {
        api::RootState::Syncing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_in_sync_only_with_its_server() {
        let quiet = View { running: true, level: true, quiet: true, ..View::default() };
        assert_eq!(state(&quiet, true, false), api::RootState::InSync);
        assert_eq!(state(&quiet, false, false), api::RootState::Offline);
        assert_eq!(state(&quiet, true, true), api::RootState::Paused);
        assert_eq!(state(&View { hold: Some("x".into()), ..quiet.clone() }, true, true), api::RootState::Held);
        assert_eq!(state(&View::failure("x".into()), false, false), api::RootState::Failed);
        assert_eq!(state(&View { level: false, ..quiet }, true, false), api::RootState::Syncing);
        assert_eq!(state(&View::default(), true, false), api::RootState::Scanning);
    }
}
