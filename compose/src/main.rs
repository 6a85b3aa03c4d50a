//! `quics-stack`: the services as local processes.

fn main() {}
