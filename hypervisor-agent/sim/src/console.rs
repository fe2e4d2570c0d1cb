//! A simulated domain's serial console: a real pseudo-terminal with somebody at the other end.
//!
//! Made when it is first asked for, so a fleet whose consoles nobody opens has none. It prints a boot text,
//! echoes what is typed and answers each line with a prompt. Output that nobody reads is dropped when the
//! terminal is full, as a guest's is. It ends with its domain: dropping the [`Console`] closes the terminal.

use std::io;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::oneshot;
use xenith_common_tasks::TaskSet;

#[derive(Debug)]
pub(crate) struct Console {
    pub path: PathBuf,
    /// Dropped with the domain, which ends the task.
    _alive: oneshot::Sender<()>,
}

impl Console {
    pub(crate) fn open(name: &str, tasks: &TaskSet) -> io::Result<Self> {
        let pty = openpty(None, None)?;
        // Raw, as xenconsoled makes it: the guest echoes, not the host's terminal.
        let mut termios = tcgetattr(&pty.slave)?;
        cfmakeraw(&mut termios);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &termios)?;
        let path = ttyname(&pty.slave)?;
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // tokio's pipes drive any pollable descriptor and own it, so no AsyncFd and its unsafe is needed.
        let output = Sender::from_owned_fd_unchecked(pty.master.try_clone()?)?;
        let input = Receiver::from_owned_fd_unchecked(pty.master)?;
        let (alive, ended) = oneshot::channel();
        let name = name.to_owned();
        let cancelled = tasks.token();
        tasks.spawn("sim-console", async move {
            tokio::select! {
                _ = ended => {}
                () = cancelled.cancelled() => {}
                Err(error) = serve(input, &output, &name) => {
                    tracing::warn!(%error, name, "a simulated console ended early");
                }
            }
            // Kept open until here: a master without a slave reads only errors.
            drop(pty.slave);
        });
        Ok(Self { path, _alive: alive })
    }
}

async fn serve(mut input: Receiver, output: &Sender, name: &str) -> io::Result<()> {
    let prompt = format!("{name} login: ");
    say(output, format!("[    0.000000] Booting a simulated guest\r\n\r\n{prompt}").as_bytes())?;
    let mut typed = [0; 256];
    loop {
        let count = input.read(&mut typed).await?;
        for byte in &typed[..count] {
            match byte {
                b'\r' | b'\n' => say(output, format!("\r\n{prompt}").as_bytes())?,
                other => say(output, &[*other])?,
            }
        }
    }
}

fn say(output: &Sender, text: &[u8]) -> io::Result<()> {
    match output.try_write(text) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
