//! Commands in dom0 and files to and from it, over SSH on a loopback port.
//!
//! A new SSH connection costs a second under emulation, so the host's owner keeps one open and commands ride
//! on it (`ControlPath`). When that connection is gone, ssh makes one of its own: slower, still right.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::error::{Doing, LabError};
use crate::paths::read;

/// ssh's own exit status for "the connection failed".
const SSH_FAILED: i32 = 255;

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status; a command ended by signal N has 128 + N, as in a shell.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output, with bytes that are not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[must_use]
    pub const fn success(&self) -> bool {
        self.status == 0
    }
}

/// The way into one host. Cheap to clone; valid as long as the host runs on this port.
#[derive(Debug, Clone)]
pub struct Shell {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) key: PathBuf,
    pub(crate) control: PathBuf,
}

impl Shell {
    /// A host that listens on a port of loopback and lets `key` in. `control`: a socket that nobody else uses.
    #[must_use]
    pub fn new(name: &str, port: u16, key: PathBuf, control: PathBuf) -> Self {
        Self { name: name.to_owned(), port, key, control }
    }

    /// Runs `command` in dom0's shell. A failing command is not an error here; see [`Self::run`].
    pub async fn exec(&self, command: &str, limit: Duration) -> Result<Output, LabError> {
        self.exec_with_input(command, &[], limit).await
    }

    /// Runs `command` and returns its standard output; a failing command is an error with what it said.
    pub async fn run(&self, command: &str, limit: Duration) -> Result<String, LabError> {
        let output = self.exec(command, limit).await?;
        self.insist(command, &output)?;
        Ok(output.text())
    }

    /// Writes `content` to `path` in dom0 with `mode` such as 0o644. The file appears whole or not at all.
    pub async fn put_bytes(
        &self,
        content: &[u8],
        path: &str,
        mode: u32,
        limit: Duration,
    ) -> Result<(), LabError> {
        let (part, path) = (quote(&format!("{path}.part")), quote(path));
        let command = format!(
            "mkdir -p \"$(dirname {path})\" && cat > {part} && chmod {mode:o} {part} && mv {part} {path}"
        );
        let output = self.exec_with_input(&command, content, limit).await?;
        self.insist(&command, &output)
    }

    /// Copies a local file into dom0.
    pub async fn put(&self, local: &Path, path: &str, mode: u32, limit: Duration) -> Result<(), LabError> {
        self.put_bytes(&read(local)?, path, mode, limit).await
    }

    /// Reads a file of dom0.
    pub async fn get(&self, path: &str, limit: Duration) -> Result<Vec<u8>, LabError> {
        let command = format!("cat {}", quote(path));
        let output = self.exec(&command, limit).await?;
        self.insist(&command, &output)?;
        Ok(output.stdout)
    }

    /// Starts `command`, whose standard output is read as it comes. Dropping the child ends the connection, and the command
    /// no earlier than when it says something after that.
    pub fn start(&self, command: &str) -> Result<tokio::process::Child, LabError> {
        let mut ssh = tokio::process::Command::from(self.ssh());
        ssh.arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        ssh.spawn().doing(|| "could not start ssh".into())
    }

    /// The ssh command for a person to type.
    #[must_use]
    pub fn command_line(&self) -> String {
        let mut line = String::from("ssh");
        for option in self.options() {
            line.push(' ');
            line.push_str(&quote(&option));
        }
        line + " root@127.0.0.1"
    }

    /// ssh, ready for a command to be added as the last argument.
    pub(crate) fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(self.options());
        command.arg("-S").arg(&self.control);
        command.arg("root@127.0.0.1");
        command
    }

    /// The connection that the others ride on, to be kept by the host's owner.
    pub(crate) fn master(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(self.options());
        command.arg("-S").arg(&self.control).args(["-M", "-N", "root@127.0.0.1"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn options(&self) -> Vec<String> {
        let key = self.key.to_string_lossy();
        let mut options = vec!["-p".into(), self.port.to_string(), "-i".into(), key.into_owned()];
        for option in [
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            // The other end is a process of ours on loopback; a changed key means a fresh disk, not an attack.
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=20",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=8",
        ] {
            options.extend(["-o".into(), option.into()]);
        }
        options
    }

    async fn exec_with_input(
        &self,
        command: &str,
        input: &[u8],
        limit: Duration,
    ) -> Result<Output, LabError> {
        let mut ssh = tokio::process::Command::from(self.ssh());
        ssh.arg(command)
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = ssh.spawn().doing(|| "could not start ssh".into())?;
        let pipe = child.stdin.take();
        let feed = async move {
            if let Some(mut pipe) = pipe {
                // A command that stops reading early has its reasons; its status tells.
                let _ = pipe.write_all(input).await;
                let _ = pipe.shutdown().await;
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(limit, both)
            .await
            .map_err(|_| LabError::Deadline {
                name: self.name.clone(),
                what: format!("`{}`", shorten(command)),
                after: limit,
            })?
            .doing(|| "could not wait for ssh".into())?;
        let status = output.status.code().unwrap_or(SSH_FAILED);
        if status == SSH_FAILED {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(LabError::Unreachable { name: self.name.clone(), said });
        }
        Ok(Output { status, stdout: output.stdout, stderr: output.stderr })
    }

    pub(crate) fn insist(&self, command: &str, output: &Output) -> Result<(), LabError> {
        if output.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::CommandFailed {
            name: self.name.clone(),
            command: shorten(command),
            status: output.status,
            said,
        })
    }
}

/// One word of a POSIX shell.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The first line, 120 characters at most: scripts make poor error messages.
fn shorten(command: &str) -> String {
    let line = command.trim().lines().next().unwrap_or_default();
    if line.chars().count() <= 120 {
        line.to_owned()
    } else {
        line.chars().take(119).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        for (word, quoted) in
            [("a.b/c", "a.b/c"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$(x)", "'$(x)'")]
        {
            assert_eq!(quote(word), quoted);
            let echoed = Command::new("sh").arg("-c").arg(format!("printf %s {quoted}")).output().unwrap();
            assert_eq!(String::from_utf8(echoed.stdout).unwrap(), word);
        }
    }

    #[test]
    fn long_commands_are_shortened_in_messages() {
        assert_eq!(shorten("\nls\nrm"), "ls");
        assert_eq!(shorten(&"x".repeat(500)).chars().count(), 120);
    }

    #[tokio::test]
    async fn a_host_that_is_not_there_is_unreachable() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let shell = Shell {
            name: "xen1".into(),
            port,
            key: dir.path().join("key"),
            control: dir.path().join("control"),
        };
        let error = shell.exec("true", Duration::from_secs(60)).await.unwrap_err();
        assert!(matches!(error, LabError::Unreachable { .. }), "{error}");
        assert!(!error.is_boot_failure());
    }
}
