//! Users: the people.

use quics_kit::secret::Secret;
use quics_types::UserId;

use crate::db::{Rows, User, tag};
use crate::error::{Error, Result};
use crate::names;
use crate::service::Registry;

impl Registry {
    /// Makes a user.
    ///
    /// # Errors
    /// [`Error::NameTaken`] whatever the case of its letters; [`Error::Malformed`].
    pub(crate) async fn add_user(&self, name: &str) -> Result<(UserId, User)> {
        names::check(name)?;
        let user = User { name: name.to_owned(), password: String::new(), created_at: self.now_millis() };
        let id = UserId::from_bytes(quics_kit::random::bytes());
        self.change(move |rows, change| {
            if rows.user_by_name(&user.name)?.is_some() {
                return Err(Error::NameTaken);
            }
            change.put(User::key(id), &user);
            change.put_bytes(User::name_key(&user.name), id.as_bytes());
            Ok((id, user))
        })
        .await
    }

    /// All users, in the order of their ids.
    pub(crate) fn users(&self) -> Result<Vec<(UserId, User)>> {
        let mut users = Vec::new();
        self.rows().each(&[tag::USER], |id, row| {
            let id = UserId::from_slice(id).map_err(|error| Error::Damaged(error.to_string()))?;
            users.push((id, crate::db::decode(&[tag::USER], row)?));
            Ok(())
        })?;
        Ok(users)
    }

    /// Finds a user by name; an empty name is the only user.
    ///
    /// # Errors
    /// [`Error::NoUser`], [`Error::WhichUser`].
    pub(crate) fn user_named(&self, name: &str) -> Result<UserId> {
        if !name.is_empty() {
            return self.rows().user_by_name(name)?.ok_or(Error::NoUser);
        }
        match self.users()?.as_slice() {
            [(only, _)] => Ok(*only),
            [] => Err(Error::NoUser),
            _ => Err(Error::WhichUser),
        }
    }

    /// Sets the password by which a user's devices join without a ticket; an empty one turns that off.
    ///
    /// # Errors
    /// [`Error::NoUser`], [`Error::Malformed`].
    pub(crate) async fn set_password(&self, name: &str, password: Secret) -> Result<()> {
        let id = self.user_named(name)?;
        let password = self.inner.passwords.hash(password).await?;
        self.change(move |rows, change| {
            let mut user = rows.user(id)?.ok_or(Error::NoUser)?;
            user.password = password;
            change.put(User::key(id), &user);
            Ok(())
        })
        .await
    }
}

impl Rows<'_> {
    /// The name of a user that must be there.
    pub(crate) fn user_name(&self, user: UserId) -> Result<String> {
        let found = self.user(user)?.ok_or_else(|| Error::Damaged(format!("user {user} is missing")))?;
        Ok(found.name)
    }
}
