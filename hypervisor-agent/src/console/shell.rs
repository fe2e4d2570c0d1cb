//! A shell of the host in a terminal of its own, as over ssh. It ends with its viewer.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use xenith_hypervisor_agent_api::ConsoleInput;
use xenith_hypervisor_agent_types::{Fault, FaultReason, TerminalSize};

use super::pty::Terminal;
use super::{Viewer, show};

pub(super) struct Shell {
    child: Child,
    terminal: Terminal,
    /// For its size.
    master: OwnedFd,
}

impl Shell {
    pub(super) fn start(program: &[String], size: TerminalSize) -> Result<Self, Fault> {
        if program.is_empty() {
            return Err(Fault::new(
                FaultReason::Forbidden,
                "this host gives no shell (host_shell in /etc/xenith/agent.toml)",
            ));
        }
        start(program, size).map_err(|error| {
            let shown = program.join(" ");
            Fault::new(FaultReason::Internal, format_args!("the shell ({shown}) does not start: {error}"))
        })
    }

    pub(super) async fn serve(mut self, mut viewer: Viewer) {
        let Terminal { output: mut from, input: mut to } = self.terminal;
        let output = show(&mut from, &viewer.output);
        let input = async {
            while let Some(input) = viewer.input.recv().await {
                let taken = match input {
                    ConsoleInput::Data(data) => to.write_all(&data).await.is_ok(),
                    ConsoleInput::Resize(size) => tcsetwinsize(&self.master, winsize(size)).is_ok(),
                    ConsoleInput::Open(_) => true,
                };
                if !taken {
                    return true;
                }
            }
            false
        };
        let ended = tokio::select! {
            ended = output => ended,
            ended = input => ended,
        };
        if ended {
            viewer.end("the shell has ended").await;
        }
        // The kernel hangs up its terminal when the last of our descriptors closes; this is for one that
        // does not care.
        drop((from, to, self.master));
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "a shell could not be ended");
        }
    }
}

fn winsize(size: TerminalSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn start(program: &[String], size: TerminalSize) -> io::Result<Shell> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    tcsetwinsize(&master, winsize(size))?;
    let name = ptsname(&master, Vec::new())?;
    let name = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes())).to_owned();
    let flags = i32::try_from(OFlags::NOCTTY.bits()).map_err(io::Error::other)?;
    let slave = File::options().read(true).write(true).custom_flags(flags).open(name)?;
    // `setsid --ctty` makes the terminal the shell's own: doing so between fork and exec would be `unsafe`.
    let child = Command::new("setsid")
        .args(["--ctty", "--wait"])
        .args(program)
        .env("TERM", "xterm-256color")
        .current_dir("/")
        .stdin(Stdio::from(slave.try_clone()?))
        .stdout(Stdio::from(slave.try_clone()?))
        .stderr(Stdio::from(slave))
        .kill_on_drop(true)
        .spawn()?;
    Ok(Shell { child, terminal: Terminal::over(master.try_clone()?)?, master })
}
