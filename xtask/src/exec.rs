//! Running other programs: what is run can be shown, repeated by hand, and its tests counted.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::{env, thread};

use anyhow::{Context, Result, bail};

use crate::tree;

/// The command as somebody would type it: changed variables, program, arguments.
pub fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), quoted(&value?.to_string_lossy())))
    });
    let words = [command.get_program()].into_iter().chain(command.get_args());
    variables.chain(words.map(|word| quoted(&word.to_string_lossy()))).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Whether a program of this name is on the path.
pub fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs to the end with our own input and output; a failure names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = prepared(command)?.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Becomes the command; returns only if that cannot be done.
pub fn replace(command: &mut Command) -> Result<()> {
    let error = prepared(command)?.exec();
    Err(error).with_context(|| format!("cannot start {}", shown(command)))
}

/// Runs to the end and returns what was printed; a failure carries the program's own message.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", shown(command), output.status, message.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end, gives each line of both streams to `see` and copies it to standard output, where a pipeline looks
/// for the test runner's last line.
pub fn run_seen(command: &mut Command, see: impl FnMut(&str) + Send) -> Result<()> {
    if io::stdout().is_terminal() {
        // Behind our pipe cargo would believe that nobody looks.
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = prepared(command)?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let see = Mutex::new(see);
    let streams: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|s| Box::new(s) as _), child.stderr.take().map(|s| Box::new(s) as _)];
    thread::scope(|scope| {
        for stream in streams.into_iter().flatten() {
            scope.spawn(|| copy_lines(stream, &see));
        }
    });
    let status = child.wait().with_context(|| format!("cannot wait for {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

fn copy_lines(stream: impl Read, see: &Mutex<impl FnMut(&str)>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // Read errors end the copy: the exit status decides what happened, a lost line does not.
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        if let Ok(mut see) = see.lock() {
            see(text.trim_end());
            // A closed pipe is the reader's wish; the tests still run to their end.
            let _closed = io::stdout().lock().write_all(&line);
        }
        line.clear();
    }
}

/// In the checkout's root, building where everything is built.
fn prepared(command: &mut Command) -> Result<&mut Command> {
    if env::var_os("CARGO_TARGET_DIR").is_none_or(|dir| dir.is_empty()) {
        command.env("CARGO_TARGET_DIR", tree::target_dir()?);
    }
    if command.get_current_dir().is_none() {
        command.current_dir(tree::root());
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("cargo");
        command.args(["test", "--", "it's one"]).env("INSTA_UPDATE", "no");
        assert_eq!(shown(&command), r"INSTA_UPDATE=no cargo test -- 'it'\''s one'");
    }

    #[test]
    fn both_streams_are_seen_and_a_failure_is_told() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; printf last; exit 3"]);
        let error = run_seen(&mut command, |line| lines.push(line.to_owned())).unwrap_err();
        lines.sort();
        assert_eq!(lines, ["err", "last", "out"]);
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn output_carries_the_programs_message() {
        assert_eq!(output(Command::new("echo").arg("hello")).unwrap(), "hello\n");
        let error = output(Command::new("sh").args(["-c", "echo broken >&2; exit 1"])).unwrap_err();
        assert!(error.to_string().ends_with("broken"), "{error}");
        assert!(output(&mut Command::new("no-such-program-anywhere")).is_err());
    }
}
