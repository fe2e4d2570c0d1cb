//! The programs of LVM, device-mapper and thin-provisioning-tools.
//!
//! They get lists of arguments, never a line for a shell, and nobody answers their questions: what they would ask (such
//! as whether to wipe a disk that something is on) they take for refused. Each ends within its time, or is killed; one
//! that waits in the kernel for a disk ends when that answers, as a file on that disk would be waited for. Of what they
//! say no more is kept than the caller keeps.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Most are done in a tenth of a second; under a load that keeps every disk busy it is seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is read or written grows with the pool: its metadata are wiped, dumped, its blocks given back to the disk.
const LONG: Duration = Duration::from_secs(15 * 60);
/// Of one line, in bytes: the longest has the tags of a volume.
const LINE: u64 = 64 << 10;
/// Of what a program says when it fails, in bytes.
const EXCERPT: u64 = 4 << 10;

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub words: Vec<String>,
    within: Duration,
}

impl Call {
    /// `words` has no argument with a space in it; those are added with [`Self::and`].
    pub(super) fn new(words: &str) -> Self {
        Self { words: words.split_ascii_whitespace().map(str::to_owned).collect(), within: PATIENCE }
    }

    pub(super) fn long(words: &str) -> Self {
        Self { within: LONG, ..Self::new(words) }
    }

    /// Changes a volume. LVM keeps a copy of what was before each change for a month, which would be thousands a day.
    pub(super) fn change(words: &str) -> Self {
        let mut call = Self::new(words);
        call.words.splice(1..1, ["--config", "backup/archive=0"].map(str::to_owned));
        call
    }

    pub(super) fn and(mut self, argument: impl Into<String>) -> Self {
        self.words.push(argument.into());
        self
    }
}

/// Takes a line; an error ends the program.
pub type Line<'a> = &'a mut dyn FnMut(&str) -> io::Result<()>;

/// Runs programs. The host's own, or in tests a model of them.
pub trait Programs: Send + Sync + std::fmt::Debug + 'static {
    /// Gives each line that the program says to `line`. What it says in vain is in the error.
    fn run(&self, call: &Call, line: Line<'_>) -> io::Result<()>;
}

/// Where pools are.
#[derive(Debug, Clone)]
pub struct Machine {
    pub programs: Arc<dyn Programs>,
    /// `/dev`.
    pub devices: PathBuf,
    /// `/sys/module`.
    pub modules: PathBuf,
}

impl Machine {
    #[must_use]
    pub fn host() -> Self {
        let path = |path: &str| Path::new(path).to_owned();
        Self { programs: Arc::new(Host), devices: path("/dev"), modules: path("/sys/module") }
    }

    pub(super) fn run(&self, call: &Call) -> io::Result<()> {
        self.programs.run(call, &mut |_| Ok(()))
    }

    /// All that it says, which is `most` bytes at most.
    pub(super) fn ask(&self, call: &Call, most: usize) -> io::Result<String> {
        let mut said = String::new();
        self.programs.run(call, &mut |line| {
            if said.len() + line.len() >= most {
                return Err(io::Error::other("it says more than anybody would read"));
            }
            said.push_str(line);
            said.push('\n');
            Ok(())
        })?;
        Ok(said)
    }
}

/// This host's.
#[derive(Debug, Clone, Copy)]
struct Host;

impl Programs for Host {
    fn run(&self, call: &Call, line: Line<'_>) -> io::Result<()> {
        let (program, arguments) = call.words.split_first().expect("a call names its program");
        tracing::debug!(call = ?call.words, "run");
        let mut child = Command::new(program)
            .args(arguments)
            // Errors are read by us, too; and what is open in the agent is not theirs to complain about.
            .env("LC_ALL", "C")
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| cannot_run(program, error))?;
        let (out, errors, pid) = (child.stdout.take(), child.stderr.take(), Pid::from_child(&child));
        let (done, watched) = mpsc::channel::<()>();
        let (read, said, late) = thread::scope(|scope| {
            let said = scope.spawn(move || errors.map(excerpt).unwrap_or_default());
            // It is reaped after this has ended: its id is nobody else's until then.
            let late = scope.spawn(move || {
                let late = watched.recv_timeout(call.within) == Err(RecvTimeoutError::Timeout);
                if late {
                    kill(pid);
                }
                late
            });
            let read = out.map_or(Ok(()), |out| each_line(out, line));
            if read.is_err() {
                kill(pid);
            }
            let said = said.join().unwrap_or_default();
            drop(done);
            (read, said, late.join().unwrap_or_default())
        });
        let status = child.wait()?;
        if late {
            let detail = format!("{program} did not end within {} s", call.within.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, detail));
        }
        read?;
        if status.success() {
            return Ok(());
        }
        Err(failure(program, if said.is_empty() { status.to_string() } else { said }))
    }
}

fn kill(pid: Pid) {
    // Ended already.
    let _no_such_process = kill_process(pid, Signal::KILL);
}

fn cannot_run(program: &str, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::NotFound {
        return io::Error::new(error.kind(), format!("cannot run {program}: {error}"));
    }
    let package = if program == "thin_dump" { "thin-provisioning-tools" } else { "lvm2" };
    // Not its kind: what is missing is not the VDI.
    io::Error::other(format!("this host has no {program}; install {package}"))
}

/// What a program said when it failed; a full pool or group is told apart.
pub(super) fn failure(program: &str, said: String) -> io::Error {
    const FULL: [&str; 5] = [
        "insufficient free space",
        "reached threshold",
        "No space left",
        "out of data space",
        "Insufficient free",
    ];
    let kind = if FULL.iter().any(|words| said.contains(words)) {
        io::ErrorKind::StorageFull
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, format!("{program}: {said}"))
}

/// The beginning; the rest is read, so that the program is not held up by it.
fn excerpt(errors: ChildStderr) -> String {
    let (mut errors, mut bytes) = (errors, Vec::new());
    // What was read is shown.
    let _cut_off = errors.by_ref().take(EXCERPT).read_to_end(&mut bytes);
    let _cut_off = io::copy(&mut errors, &mut io::sink());
    // One line, as errors are.
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn each_line(out: impl Read, line: Line<'_>) -> io::Result<()> {
    let (mut out, mut bytes) = (BufReader::new(out), Vec::new());
    loop {
        bytes.clear();
        let read = out.by_ref().take(LINE).read_until(b'\n', &mut bytes)?;
        match read as u64 {
            0 => return Ok(()),
            LINE => return Err(io::Error::other("it says a line that is too long")),
            _ => line(String::from_utf8_lossy(&bytes).trim_end())?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        each_line(text.as_bytes(), &mut |line| {
            lines.push(line.to_owned());
            Ok(())
        })?;
        Ok(lines)
    }

    #[test]
    fn lines_are_bounded() {
        assert_eq!(lines("a\n\n b\nlast").unwrap(), ["a", "", " b", "last"]);
        assert!(lines(&"x".repeat(1 << 20)).is_err());
    }

    #[test]
    fn what_a_program_says_and_how_it_ends_is_told() {
        let machine = Machine::host();
        assert_eq!(machine.ask(&Call::new("echo one two"), 100).unwrap(), "one two\n");
        let shell = |script: &str| Call::new("sh -c").and(script);
        let error = machine
            .run(&shell("echo \"  Volume group has insufficient free space\" >&2; exit 5"))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(error.to_string(), "sh: Volume group has insufficient free space");
        let error = machine.run(&Call::new("xenith-no-such-program")).unwrap_err();
        assert!(error.to_string().contains("install lvm2"), "{error}");
        // One that says more than is wanted is ended; it would go on for ever.
        assert!(machine.ask(&shell("while :; do echo more; done"), 10_000).is_err());
        let late = Call { within: Duration::from_millis(50), ..shell("exec sleep 600") };
        assert_eq!(machine.run(&late).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
