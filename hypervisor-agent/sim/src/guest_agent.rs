//! What stands for a QEMU guest agent in a simulated guest: its protocol, on a unix socket as QEMU makes one in dom0.
//!
//! As the real one it answers a line at a time, nothing while its guest stands, and while it is frozen only what thaws.
//! As QEMU's socket it serves one connection at a time. The socket is an abstract one: nothing is left in a folder.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use xenith_common_tasks::TaskSet;

use crate::world::Run;

/// How a guest agent behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GuestAgentManners {
    #[default]
    Answers,
    /// Nobody serves the channel.
    Silent,
    /// Says no to a freeze.
    Refuses,
    /// Freezes, and says so only after everybody has given up.
    Late,
    /// Is killed after a freeze: the filesystems stay frozen, and nobody answers.
    DiesFrozen,
    /// Thaws a moment later without being asked.
    ThawsItself,
}

/// Filesystems of a guest.
const FILESYSTEMS: u32 = 2;
static NAMES: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, Default)]
pub(crate) struct GuestAgent {
    state: Mutex<State>,
    runs: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    manners: GuestAgentManners,
    is_frozen: bool,
    freezes: u64,
}

impl GuestAgent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn behave(&self, manners: GuestAgentManners) {
        self.state().manners = manners;
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.state().is_frozen
    }

    pub(crate) fn freezes(&self) -> u64 {
        self.state().freezes
    }

    /// What the guest's virtual CPUs do: it answers only while they run.
    pub(crate) fn note_run(&self, run: Run) {
        self.runs.send_replace(run == Run::Running);
    }

    pub(crate) fn listen(self: &Arc<Self>, tasks: &TaskSet) -> io::Result<PathBuf> {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("xenith-sim-guest-agent-{}-{number}", std::process::id());
        let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let (agent, cancelled) = (Arc::clone(self), tasks.token());
        tasks.spawn("sim-guest-agent", async move {
            tokio::select! {
                () = cancelled.cancelled() => {}
                Err(error) = agent.serve(&listener) => tracing::warn!(%error, "a simulated guest agent ended"),
            }
        });
        // How Linux and tokio spell an abstract name.
        Ok(PathBuf::from(OsString::from(format!("\0{name}"))))
    }

    async fn serve(&self, listener: &UnixListener) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            // Who hung up is no concern of the next.
            let _hung_up = self.talk(stream).await;
        }
    }

    async fn talk(&self, stream: UnixStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut runs = self.runs.subscribe();
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            if runs.wait_for(|runs| *runs).await.is_err() {
                return Ok(());
            }
            if let Some(answer) = self.answer(&line) {
                stream.get_mut().write_all(&answer).await?;
            }
        }
    }

    /// What is said to a line.
    fn answer(&self, line: &[u8]) -> Option<Vec<u8>> {
        let mut state = self.state();
        if state.manners == GuestAgentManners::Silent
            || (state.manners == GuestAgentManners::DiesFrozen && state.is_frozen)
        {
            return None;
        }
        // What is before a 0xFF is dropped by the real one, too.
        let begin = line.iter().rposition(|byte| *byte == 0xff).map_or(0, |at| at + 1);
        let Ok(asked) = serde_json::from_slice::<Value>(&line[begin..]) else {
            return Some(refusal("GenericError", "Invalid JSON syntax"));
        };
        let (mark, answer) = match asked["execute"].as_str().unwrap_or_default() {
            "guest-sync-delimited" => (&b"\xff"[..], json!({ "return": asked["arguments"]["id"] })),
            "guest-fsfreeze-status" => {
                let status = if state.is_frozen { "frozen" } else { "thawed" };
                (&b""[..], json!({ "return": status }))
            }
            "guest-fsfreeze-freeze" => match state.freeze() {
                Ok(_) if state.manners == GuestAgentManners::Late => return None,
                Ok(count) => (&b""[..], json!({ "return": count })),
                Err(why) => return Some(refusal("GenericError", why)),
            },
            "guest-fsfreeze-thaw" => {
                let thawed = if std::mem::take(&mut state.is_frozen) { FILESYSTEMS } else { 0 };
                (&b""[..], json!({ "return": thawed }))
            }
            other => {
                return Some(refusal("CommandNotFound", &format!("The command {other} has not been found")));
            }
        };
        Some([mark, answer.to_string().as_bytes(), b"\n"].concat())
    }
}

impl State {
    fn freeze(&mut self) -> Result<u32, &'static str> {
        if self.is_frozen {
            return Err("Command guest-fsfreeze-freeze has been disabled: the agent is in frozen state");
        }
        match self.manners {
            GuestAgentManners::Refuses => Err("failed to freeze /srv: Operation not supported"),
            GuestAgentManners::ThawsItself => {
                self.freezes += 1;
                Ok(FILESYSTEMS)
            }
            _ => {
                self.freezes += 1;
                self.is_frozen = true;
                Ok(FILESYSTEMS)
            }
        }
    }
}

fn refusal(class: &str, desc: &str) -> Vec<u8> {
    format!("{}\n", json!({ "error": { "class": class, "desc": desc } })).into_bytes()
}
