//! Passwords: asked at the terminal without echo, or read from stdin; never taken from the command line, where other
//! users of the computer could see them.

use std::io::BufRead as _;

use super::Failure;

/// The longest that is read.
const LIMIT: u64 = 1024;

/// Asks for a password.
pub(super) fn ask(prompt: &str) -> Result<String, Failure> {
    let terminal = console::Term::stderr();
    let failed = |error: std::io::Error| Failure::new(format!("cannot read the password: {error}"));
    let password = if stdin_is_terminal() {
        terminal.write_str(prompt).map_err(failed)?;
        terminal.read_secure_line().map_err(failed)?
    } else {
        let mut line = String::new();
        use std::io::Read as _;
        std::io::stdin().lock().take(LIMIT).read_line(&mut line).map_err(failed)?;
        line.trim_end_matches(['\n', '\r']).to_owned()
    };
    if password.is_empty() {
        return Err(Failure::new("no password was given: type it at the prompt, or send it to stdin"));
    }
    Ok(password)
}

/// Asks for a new password, at a terminal twice.
pub(super) fn choose(prompt: &str) -> Result<String, Failure> {
    let first = ask(prompt)?;
    if stdin_is_terminal() && ask("The same again: ")? != first {
        return Err(Failure::new("the two passwords differ: nothing was changed, try again"));
    }
    Ok(first)
}

/// Asks a question that only a clear yes answers. `None`: nobody can be asked.
pub(super) fn confirm(question: &str) -> Result<Option<bool>, Failure> {
    if !stdin_is_terminal() {
        return Ok(None);
    }
    let failed = |error: std::io::Error| Failure::new(format!("cannot read the answer: {error}"));
    console::Term::stderr().write_str(&format!("{question} [yes/no] ")).map_err(failed)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(Some(matches!(line.trim(), "y" | "yes" | "Y" | "YES" | "Yes")))
}

fn stdin_is_terminal() -> bool {
    use std::io::IsTerminal as _;

    std::io::stdin().is_terminal()
}
