//! The service's calls: who calls, what is asked, and errors as statuses.

pub(crate) mod admin;
