//! Adding, cloning and detaching roots, and leaving the server.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quics_proto::registry::v1 as registry;
use quics_proto::registry::v1::registry_service_client::RegistryServiceClient;
use quics_quic::Channel;
use quics_types::{LeaseId, Role, RootId, UnitNames};
use rustix::fs::Mode;
use rustix::io::Errno;
use tonic::{Code, Status};

use super::root::Root;
use super::{Core, Error, start};
use crate::account::{self, call};
use crate::engine::Event;
use crate::home::RootEntry;

impl Core {
    pub(crate) fn registry(&self) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.registry.clone())
    }

    fn refused(&self, status: &Status) -> Error {
        account::Error::of_call(&self.account.lock().server, status).into()
    }

    /// The roots that this user may see.
    ///
    /// # Errors
    /// What the registry says.
    pub(crate) async fn list_roots(&self) -> Result<Vec<registry::Root>, Error> {
        let answer = self.registry().list_roots(call(registry::ListRootsRequest {})).await;
        Ok(answer.map_err(|status| self.refused(&status))?.into_inner().roots)
    }

    /// Makes a root out of a directory.
    ///
    /// # Errors
    /// [`Error`] says what is in the way; nothing has changed then.
    pub(crate) async fn add(
        self: &Arc<Self>,
        path: &Path,
        name: &str,
        units: UnitNames,
        (password, grants): (&str, Option<Role>),
    ) -> Result<Arc<Root>, Error> {
        let _attaching = self.attaching.lock().await;
        let path = self.usable(path).await?;
        let name = if name.is_empty() { default_name(&path) } else { name.to_owned() };
        if !is_root_name(&name) {
            return Err(Error::Name);
        }
        let id = RootId::from_bytes(quics_kit::random::bytes());
        start::mark(&path, id).await?;
        let request = registry::CreateRootRequest {
            root_id: Bytes::copy_from_slice(id.as_bytes()),
            name: name.clone(),
            password: password.to_owned(),
            password_role: grants.map_or(0, |role| quics_proto::common::v1::Role::from(role).into()),
            unit_names: units.to_bytes(),
        };
        let made = match self.registry().create_root(call(request)).await {
            Ok(made) => made.into_inner().root,
            Err(status) => {
                start::unmark(&path, id).await;
                return Err(match status.code() {
                    Code::AlreadyExists => Error::NameTaken { name },
                    _ => self.refused(&status),
                });
            }
        };
        let units = self.units(&path, id, made.as_ref()).await?;
        self.attach(id, name, path, role(made, Role::Owner), units).await
    }

    /// The names of a root's units, by the server's answer; without them nothing of the root can be synced.
    async fn units(&self, path: &Path, id: RootId, root: Option<&registry::Root>) -> Result<UnitNames, Error> {
        match root.map(|root| UnitNames::from_bytes(root.unit_names.iter().cloned())) {
            Some(Ok(units)) => Ok(units),
            Some(Err(_)) | None => {
                start::unmark(path, id).await;
                Err(account::Error::Malformed { server: self.account.lock().server.clone() }.into())
            }
        }
    }

    /// Attaches a root of the server at a directory, which is made where only its parent is there.
    ///
    /// # Errors
    /// [`Error`] says what is in the way; nothing has changed then.
    pub(crate) async fn clone_root(
        self: &Arc<Self>,
        wanted: &str,
        path: &Path,
        password: &str,
    ) -> Result<Arc<Root>, Error> {
        let _attaching = self.attaching.lock().await;
        let found = match find(&self.list_roots().await?, wanted) {
            // Who knows a password may become a member by it; until then the root is not listed.
            Err(Error::UnknownRoot { name }) if !password.is_empty() => match wanted.parse::<RootId>() {
                Ok(id) => registry::Root { root_id: Bytes::copy_from_slice(id.as_bytes()), name, ..Default::default() },
                Err(_) => return Err(Error::UnknownRoot { name }),
            },
            found => found?,
        };
        let id = RootId::from_slice(&found.root_id)
            .map_err(|_| account::Error::Malformed { server: self.account.lock().server.clone() })?;
        if let Some(root) = self.roots.lock().get(&id) {
            return Err(Error::Attached { name: found.name, at: root.path() });
        }
        let made = make_directory(path)?;
        let attached = self.clone_into(id, &found.name, path, password).await;
        if attached.is_err() && made {
            // Only an empty one goes; whatever is in it by now stays.
            if let Err(error) = rustix::fs::rmdir(path) {
                tracing::debug!(%error, "directory.stays");
            }
        }
        attached
    }

    async fn clone_into(
        self: &Arc<Self>,
        id: RootId,
        name: &str,
        path: &Path,
        password: &str,
    ) -> Result<Arc<Root>, Error> {
        let path = self.usable(path).await?;
        start::mark(&path, id).await?;
        let root_id = Bytes::copy_from_slice(id.as_bytes());
        let request = registry::AttachRootRequest { root_id, password: password.to_owned() };
        let attached = match self.registry().attach_root(call(request)).await {
            Ok(attached) => attached.into_inner().root,
            Err(status) => {
                start::unmark(&path, id).await;
                return Err(match status.code() {
                    Code::Unauthenticated if !status.message().contains("revoked") => {
                        Error::RootPassword { name: name.to_owned() }
                    }
                    Code::PermissionDenied => Error::UnknownRoot { name: name.to_owned() },
                    _ => self.refused(&status),
                });
            }
        };
        let name = attached.as_ref().map_or_else(|| name.to_owned(), |root| root.name.clone());
        let units = self.units(&path, id, attached.as_ref()).await?;
        self.attach(id, name, path, role(attached, Role::Writer), units).await
    }

    async fn attach(
        self: &Arc<Self>,
        id: RootId,
        name: String,
        path: PathBuf,
        role: Role,
        units: UnitNames,
    ) -> Result<Arc<Root>, Error> {
        let lease = LeaseId::from_bytes(quics_kit::random::bytes());
        let entry = RootEntry { id, name, path, lease, role, units, paused: false };
        self.change_settings(|settings| settings.roots.push(entry.clone())).await?;
        self.start(entry.clone()).await;
        self.roots.lock().get(&id).cloned().ok_or(Error::NoRoot { at: entry.path })
    }

    /// Stops syncing a root here; the files stay.
    ///
    /// # Errors
    /// [`Error::NoRoot`]; what the registry says, and then the root goes on.
    pub(crate) async fn detach(self: &Arc<Self>, path: &Path) -> Result<Arc<Root>, Error> {
        let _attaching = self.attaching.lock().await;
        let root = self.root_at(path)?;
        self.tell_detached(root.id).await?;
        self.stop_root(&root).await;
        self.change_settings(|settings| settings.roots.retain(|entry| entry.id != root.id)).await?;
        start::unmark(&root.path(), root.id).await;
        start::forget(self, root.id).await?;
        self.note_change();
        Ok(root)
    }

    async fn tell_detached(&self, id: RootId) -> Result<(), Error> {
        let request = registry::DetachRootRequest { root_id: Bytes::copy_from_slice(id.as_bytes()) };
        match self.registry().detach_root(call(request)).await {
            Ok(_) => Ok(()),
            // No member any more, or the root is gone: detached already.
            Err(status) if matches!(status.code(), Code::PermissionDenied | Code::NotFound) => Ok(()),
            Err(status) => Err(self.refused(&status)),
        }
    }

    async fn stop_root(&self, root: &Root) {
        self.board.remove(root.id);
        self.roots.lock().remove(&root.id);
        root.end().await;
    }

    /// Detaches all roots, revokes this device, and ends the agent, which then forgets the server. The files stay.
    ///
    /// # Errors
    /// What the registry says; nothing has changed then.
    pub(crate) async fn leave_server(self: &Arc<Self>) -> Result<(), Error> {
        let _attaching = self.attaching.lock().await;
        let account = self.account.lock().clone();
        account::revoke_self(&account, self.registry.clone()).await?;
        let roots: Vec<Arc<Root>> = self.roots.lock().values().cloned().collect();
        for root in roots {
            self.stop_root(&root).await;
            start::unmark(&root.path(), root.id).await;
        }
        self.leave();
        Ok(())
    }

    /// Looks whether a directory can become a root, and gives its canonical path.
    async fn usable(&self, path: &Path) -> Result<PathBuf, Error> {
        let asked = path.to_owned();
        let home = self.locked.home().path().to_owned();
        let taken: Vec<PathBuf> = self.roots.lock().values().map(|root| root.path()).collect();
        let looked = tokio::task::spawn_blocking(move || look_at(&asked, &home, &taken)).await;
        looked
            .map_err(|error| Error::System { action: "look at the directory", source: std::io::Error::other(error) })?
    }
}

/// Looks at a directory on the disk.
fn look_at(path: &Path, home: &Path, taken: &[PathBuf]) -> Result<PathBuf, Error> {
    let at = path.to_owned();
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::Missing { at }),
        Err(error) => return Err(Error::Directory { at, reason: format!("{error}; give another") }),
    };
    if !path.is_dir() {
        return Err(Error::NotDirectory { at });
    }
    overlap(&path, home, taken)?;
    Ok(path)
}

/// Looks whether a directory meets what is synced already, or the home.
fn overlap(path: &Path, home: &Path, taken: &[PathBuf]) -> Result<(), Error> {
    for other in taken {
        if path.starts_with(other) {
            return Err(Error::Inside { inner: path.to_owned(), outer: other.clone() });
        }
        if other.starts_with(path) {
            return Err(Error::Around { outer: path.to_owned(), inner: other.clone() });
        }
    }
    let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
    if home.starts_with(path) || path.starts_with(&home) {
        return Err(Error::HoldsHome { at: path.to_owned() });
    }
    Ok(())
}

/// Makes the directory if only its parent is there. `true`: it was made.
fn make_directory(path: &Path) -> Result<bool, Error> {
    match rustix::fs::mkdir(path, Mode::RWXU | Mode::RWXG | Mode::RWXO) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::NOENT) => Err(Error::Missing { at: path.parent().unwrap_or(path).to_owned() }),
        Err(error) => {
            Err(Error::Directory { at: path.to_owned(), reason: format!("it cannot be made ({error}); give another") })
        }
    }
}

fn default_name(path: &Path) -> String {
    path.file_name().map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()).unwrap_or_default()
}

fn is_root_name(name: &str) -> bool {
    (1..=64).contains(&name.chars().count()) && !name.chars().any(|c| c == '/' || c.is_control())
}

/// Finds a root by its id or its name; a name has to be unique.
fn find(roots: &[registry::Root], wanted: &str) -> Result<registry::Root, Error> {
    if let Ok(id) = wanted.parse::<RootId>()
        && let Some(root) = roots.iter().find(|root| root.root_id == id.as_bytes().as_slice())
    {
        return Ok(root.clone());
    }
    let mut named = roots.iter().filter(|root| root.name == wanted);
    match (named.next(), named.next()) {
        (Some(root), None) => Ok(root.clone()),
        (Some(_), Some(_)) => Err(Error::Ambiguous { name: wanted.to_owned() }),
        (None, _) => Err(Error::UnknownRoot { name: wanted.to_owned() }),
    }
}

/// What the user may do with a root, by the server's answer.
fn role(root: Option<registry::Root>, usual: Role) -> Role {
    root.and_then(|root| root.role().to_domain()).unwrap_or(usual)
}

/// Asks what this user may do with each root, and tells those of which the server says another thing than before.
/// What cannot be asked now is asked with the next session.
pub(crate) async fn learn_roles(core: Arc<Core>) {
    let listed = match core.stop.run_until_cancelled(core.list_roots()).await {
        Some(Ok(listed)) => listed,
        Some(Err(error)) => {
            tracing::debug!(%error, "roles.unknown");
            return;
        }
        None => return,
    };
    let _attaching = core.attaching.lock().await;
    for listed in listed {
        let (Ok(id), Some(role)) = (RootId::from_slice(&listed.root_id), listed.role().to_domain()) else { continue };
        let Some(root) = core.roots.lock().get(&id).cloned() else { continue };
        if std::mem::replace(&mut root.entry.lock().role, role) == role || core.stop.is_cancelled() {
            continue;
        }
        tracing::info!(root = %id, %role, "role.changed");
        let changed = core.change_settings(|settings| {
            settings.roots.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.role = role);
        });
        if let Err(error) = changed.await {
            tracing::error!(%error, "settings.write_failed");
        }
        root.wish(Event::Role(role));
        core.note_change();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(id: u8, name: &str) -> registry::Root {
        registry::Root { root_id: vec![id; 16].into(), name: name.to_owned(), ..Default::default() }
    }

    #[test]
    fn a_root_is_found_by_name_or_id_and_never_by_a_part_of_its_name() {
        let roots = [root(1, "doc"), root(2, "docs"), root(3, "twin"), root(4, "twin")];
        assert_eq!(find(&roots, "doc").unwrap().root_id, vec![1; 16]);
        assert_eq!(find(&roots, "docs").unwrap().root_id, vec![2; 16]);
        assert_eq!(find(&roots, &"04".repeat(16)).unwrap().root_id, vec![4; 16]);
        assert!(matches!(find(&roots, "twin"), Err(Error::Ambiguous { .. })));
        assert!(matches!(find(&roots, "do"), Err(Error::UnknownRoot { .. })));
        assert!(matches!(find(&roots, ""), Err(Error::UnknownRoot { .. })));
    }

    #[test]
    fn roots_do_not_lie_in_each_other() {
        let (home, taken) = (Path::new("/h/.quics"), [PathBuf::from("/h/doc")]);
        assert!(overlap(Path::new("/h/docs"), home, &taken).is_ok());
        assert!(matches!(overlap(Path::new("/h/doc"), home, &taken), Err(Error::Inside { .. })));
        assert!(matches!(overlap(Path::new("/h/doc/a"), home, &taken), Err(Error::Inside { .. })));
        assert!(matches!(overlap(Path::new("/h"), home, &taken), Err(Error::Around { .. })));
        assert!(matches!(overlap(Path::new("/h"), home, &[]), Err(Error::HoldsHome { .. })));
        assert!(matches!(overlap(Path::new("/h/.quics/x"), home, &[]), Err(Error::HoldsHome { .. })));
    }

    #[test]
    fn a_missing_directory_and_a_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let home = Path::new("/nowhere");
        assert!(matches!(look_at(&dir.path().join("no"), home, &[]), Err(Error::Missing { .. })));
        assert!(matches!(look_at(&file, home, &[]), Err(Error::NotDirectory { .. })));
        assert!(look_at(dir.path(), home, &[]).is_ok());
        assert!(matches!(make_directory(&dir.path().join("a/b")), Err(Error::Missing { .. })));
        assert!(make_directory(&dir.path().join("a")).unwrap());
        assert!(!make_directory(&dir.path().join("a")).unwrap());
    }

    #[test]
    fn names_of_roots_are_one_line_without_a_slash() {
        assert!(is_root_name("my files"));
        for bad in ["", "a/b", "a\nb", &"x".repeat(65)] {
            assert!(!is_root_name(bad), "{bad:?}");
        }
        assert_eq!(default_name(Path::new("/home/ann/doc")), "doc");
    }
}
