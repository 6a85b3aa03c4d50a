//! What each command does; none of them parses arguments.

mod admin;
mod demo;
mod reclaim;
mod status;
mod stop;
mod up;
mod verify;

pub(crate) use admin::{add_user, list_users, set_member, set_password, ticket};
pub(crate) use demo::demo;
pub(crate) use reclaim::reclaim;
pub(crate) use status::status;
pub(crate) use stop::stop;
pub(crate) use up::{UpOptions, up};
pub(crate) use verify::verify;
