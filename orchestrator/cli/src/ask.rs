//! Questions to a person, on standard error and from the terminal. Where none is there, an error says what to give.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::cli::Confirm;
use crate::error::CliError;

/// Somebody can be asked.
pub fn somebody() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn unreadable(source: io::Error) -> CliError {
    CliError::File { what: "read", path: "standard input".into(), source }
}

/// One line, without its end.
fn read_line() -> Result<String, CliError> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(unreadable)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn prompt(text: &str) {
    eprint!("{text}");
    // Without it the question may come after the answer; nothing else to do about it.
    let _not_shown = io::stderr().flush();
}

/// Something short, such as a name.
pub fn text(question: &str, flag: &str) -> Result<String, CliError> {
    if !somebody() {
        return Err(CliError::usage(format!("give {flag}: nobody is there to ask")));
    }
    prompt(&format!("{question}: "));
    match read_line()?.trim() {
        "" => Err(CliError::Declined),
        answer => Ok(answer.to_owned()),
    }
}

/// A secret: from the environment, else asked for without echo, else the first line of standard input.
pub fn secret(question: &str, variable: &str) -> Result<String, CliError> {
    if let Some(secret) = std::env::var(variable).ok().filter(|secret| !secret.is_empty()) {
        return Ok(secret);
    }
    let secret = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("{question}: ")).map_err(unreadable)?
    } else {
        read_line()?
    };
    if secret.is_empty() {
        return Err(CliError::usage_next(
            format!("no {} was given", question.to_lowercase()),
            format!("set {variable}, or write it to standard input"),
        ));
    }
    Ok(secret)
}

/// A new secret; a person types it twice.
pub fn new_secret(question: &str, variable: &str) -> Result<String, CliError> {
    let first = secret(question, variable)?;
    if io::stdin().is_terminal() && std::env::var_os(variable).is_none() {
        let second = rpassword::prompt_password("The same again: ").map_err(unreadable)?;
        if first != second {
            return Err(CliError::usage("the two are not the same"));
        }
    }
    Ok(first)
}

/// Goes on only after a clear yes.
pub fn confirm(question: &str, confirm: Confirm) -> Result<(), CliError> {
    if confirm.yes {
        return Ok(());
    }
    if !somebody() {
        return Err(CliError::usage_next(
            format!("{question} Nobody is there to ask"),
            "add --yes when it is meant",
        ));
    }
    yes(question)
}

/// The question itself.
pub fn yes(question: &str) -> Result<(), CliError> {
    prompt(&format!("{question} [y/N] "));
    match read_line()?.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::Declined),
    }
}
