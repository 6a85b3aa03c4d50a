//! `quics-stack`: the services as local processes.

use std::process::ExitCode;

fn main() -> ExitCode {
    quics_stack::cli::main(std::env::args_os())
}
