//! What every QUIC-S process shares: configuration, identity, telemetry, status mapping, operations port, shutdown.
//!
//! ```text
//!  service::Host ── data        the directory, its lock, atomic files
//!       │      └─── enrol ───── identity, ticket      who this process is, and how it became that
//!       │      └─── members ─── caller, access        who may do what, as registry-svc says
//!       └── ops port ── health, reflection, admin
//!  telemetry, shutdown, status, clock, random           around all of them
//!  passwords, attempts                                   what may be guessed, and how often
//! ```
//!
//! `data`, `identity`, `ticket`, `enrol`, `telemetry`, `shutdown`, `clock` and `random` serve the client too; the others
//! are for services.
//!
//! # Invariants
//! - Small files are written by [`data::write_atomic`] and in no other way.
//! - Nothing secret has a `Debug` or `Display` form: keys, tickets, passwords and tokens cannot be logged by accident.
//! - The time is asked of a [`clock::Clock`], so that tests can move it.
//!
//! # What it deliberately does not do
//! It knows nothing of entries or contents, and holds no logic of any one service.

pub mod access;
pub mod allocator;
pub mod attempts;
pub mod caller;
pub mod clock;
pub mod data;
pub mod descriptors;
pub mod enrol;
pub mod identity;
pub mod lock;
pub mod members;
pub mod names;
pub mod passwords;
pub mod random;
pub mod secret;
pub mod service;
pub mod shutdown;
pub mod status;
pub mod telemetry;
pub mod ticket;

mod pem;
