//! What is made from the commands: completions, manual pages, and the help of everything in one text.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};

pub use clap_complete::Shell;

use super::Cli;

pub fn completions(shell: Shell, to: &mut dyn io::Write) {
    clap_complete::generate(shell, &mut Cli::command(), "xenith", &mut Stubborn(to));
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
    clap_mangen::generate_to(Cli::command(), folder)?;
    Ok(std::fs::read_dir(folder)?.count())
}

/// The long help of every command, one after the other. The global options stand once, at the top.
#[must_use]
pub fn full_help() -> String {
    let mut text = String::new();
    append(&mut Cli::command(), "", &mut text);
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
