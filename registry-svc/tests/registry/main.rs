//! registry-svc as its callers see it: the real service on QUIC, in this process.

mod enrolment;
mod identity;
mod joining;
mod operations;
mod process;
mod roots;
mod support;
mod watching;
