//! `quics`, see `quics --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quics_client::cli::main(std::env::args_os())
}
