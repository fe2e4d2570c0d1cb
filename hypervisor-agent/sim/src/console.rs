//! A simulated domain's consoles: a real pseudo-terminal, a real VNC server where there is graphics, and the socket of a
//! [guest agent](crate::guest_agent) where there is a channel.
//!
//! Made when they are first asked for, so a fleet whose consoles nobody opens has none. The terminal prints a
//! boot text, echoes what is typed and answers each line with a prompt; output that nobody reads is dropped
//! when it is full, as a guest's is. Consoles end with their domain: dropping [`Consoles`] closes them.

mod vnc;

use std::io;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{Receiver, Sender};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_types::{ConsolePaths, Graphics};

use crate::world::Domain;

#[derive(Debug)]
pub(crate) struct Consoles {
    pub paths: ConsolePaths,
    tasks: TaskSet,
}

impl Consoles {
    pub(crate) fn open(domain: &Domain, tasks: &TaskSet) -> io::Result<Self> {
        let (name, tasks) = (&domain.name, tasks.child());
        let serial = Some(open_serial(name, &tasks)?);
        let vnc_port = match domain.graphics {
            Graphics::None => None,
            Graphics::Vnc => Some(vnc::listen(name, &tasks)?),
        };
        let guest_agent = domain.guest_agent.as_ref().map(|agent| agent.listen(&tasks)).transpose()?;
        Ok(Self { paths: ConsolePaths { serial, vnc_port, guest_agent }, tasks })
    }
}

impl Drop for Consoles {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

fn open_serial(name: &str, tasks: &TaskSet) -> io::Result<PathBuf> {
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
    let name = name.to_owned();
    let cancelled = tasks.token();
    tasks.spawn("sim-console", async move {
        tokio::select! {
            () = cancelled.cancelled() => {}
            Err(error) = serve(input, &output, &name) => {
                tracing::warn!(%error, name, "a simulated console ended early");
            }
        }
        // Kept open until here: a master without a slave reads only errors.
        drop(pty.slave);
    });
    Ok(path)
}

async fn serve(mut input: Receiver, output: &Sender, name: &str) -> io::Result<()> {
    let prompt = format!("{name} login: ");
    // tokio takes a new descriptor for full until it has looked once; the boot text would be lost.
    output.writable().await?;
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
