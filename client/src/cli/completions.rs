//! `quics completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Failure;
use super::failure::DONE;

/// Print a script that lets your shell complete quics' commands
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quics completions bash > ~/.local/share/bash-completion/completions/quics
  quics completions fish > ~/.config/fish/completions/quics.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run<C: CommandFactory>(&self) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut C::command(), "quics", &mut script);
        use std::io::Write as _;
        std::io::stdout().lock().write_all(&script)?;
        Ok(DONE)
    }
}
