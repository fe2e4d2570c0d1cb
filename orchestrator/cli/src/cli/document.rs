//! What is made from the commands: completions, manual pages, and the help of everything in one text.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

pub use clap_complete::Shell;

use super::Cli;

/// All commands. What is named alike in many of them is described here, once.
pub fn program() -> Command {
    described(Cli::command())
}

fn described(command: Command) -> Command {
    command.mut_args(with_help).mut_subcommands(described)
}

/// An argument without a word of its own gets that of what it names.
fn with_help(arg: Arg) -> Arg {
    if !arg.is_positional() || arg.get_help().is_some() {
        return arg;
    }
    let name = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    let help = match name {
        Some("NAME") => Some("What it is called"),
        Some("RUN" | "TASK") => Some("Its id"),
        Some(
            "FRAGMENT" | "GROUP" | "HOST" | "IMPORT" | "JOB" | "NETWORK" | "POOL" | "REPOSITORY" | "RULE"
            | "SNAPSHOT" | "SOURCE" | "SR" | "STANDBY" | "TEMPLATE" | "TOKEN" | "USER" | "VDI" | "VM"
            | "WAVE",
        ) => Some("Its name or id"),
        _ => None,
    };
    match help {
        Some(help) => arg.help(help),
        None => arg,
    }
}

pub fn completions(shell: Shell, to: &mut dyn io::Write) {
    clap_complete::generate(shell, &mut program(), "xenith", &mut Stubborn(to));
}

/// clap panics when the reader of completions goes away; nobody is left to tell.
struct Stubborn<'a>(&'a mut dyn io::Write);

impl io::Write for Stubborn<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _reader_is_gone = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _reader_is_gone = self.0.flush();
        Ok(())
    }
}

/// One page for each command: `xenith-vm-create.1`.
pub fn man_pages(folder: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(program(), folder)?;
    Ok(std::fs::read_dir(folder)?.count())
}

/// The long help of every command, one after the other. The global options stand once, at the top.
#[must_use]
pub fn full_help() -> String {
    let mut text = String::new();
    append(&mut program(), "", &mut text);
    text
}

fn append(command: &mut Command, above: &str, text: &mut String) {
    let path = format!("{above}{}", command.get_name());
    if !above.is_empty() {
        text.push('\n');
    }
    writeln!(text, "== {path}\n").expect("a string takes everything");
    let help = command.render_long_help().to_string();
    text.push_str(if above.is_empty() { &help } else { own(&help) });
    let path = format!("{path} ");
    for below in command.get_subcommands_mut() {
        append(below, &path, text);
    }
}

/// What comes before the global options.
fn own(help: &str) -> &str {
    help.split_once("\nGlobal options:").map_or(help, |(own, _)| own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_says_what_it_is() {
        fn note(command: &Command, above: &str, silent: &mut Vec<String>) {
            let path = format!("{above} {}", command.get_name());
            let without = command.get_positionals().filter(|arg| arg.get_help().is_none());
            silent.extend(without.map(|arg| format!("{path} {}", arg.get_id())));
            command.get_subcommands().for_each(|below| note(below, &path, silent));
        }
        let mut silent = Vec::new();
        note(&program(), "", &mut silent);
        assert_eq!(
            silent, [""; 0],
            "write it above the argument, or in `with_help` where many are called so"
        );
    }
}
