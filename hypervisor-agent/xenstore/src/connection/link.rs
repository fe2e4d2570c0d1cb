//! Between the handles and the actor: the command queue, and what is left behind by dropped handles.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::Options;
use super::mailbox::Watch;
use super::registry::WatchId;
use crate::error::XenstoreError;
use crate::wire::{DIRECTORY_MAX, ErrorCode, MessageType, TxId};

/// Commands that wait for the actor. It takes them as fast as it has room for requests in flight, so this
/// only smooths bursts; who finds it full waits in `send`.
const COMMAND_CAPACITY: usize = 64;

/// Whether requests can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    Connected,
    /// The daemon is away; the connection is being made again.
    Disconnected,
    /// For good: the task set was shut down.
    ShutDown,
}

/// One life of the stream. Never reused within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Session(pub u64);

/// In which transaction a request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Outside,
    Inside { transaction: TxId, session: Session },
}

#[derive(Debug)]
pub struct Request {
    pub kind: MessageType,
    pub scope: Scope,
    pub payload: Bytes,
}

/// Why a request failed, before the path is known that makes it an [`XenstoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Refused(ErrorCode),
    Disconnected,
    ShutDown,
    TooLarge {
        size: usize,
        limit: usize,
    },
    /// The answer was a directory of more than [`DIRECTORY_MAX`] bytes.
    DirectoryTooLarge,
}

impl Failure {
    pub fn about(self, path: &str) -> XenstoreError {
        let owned = || path.to_owned();
        match self {
            Self::Refused(code) => XenstoreError::refused(code, path),
            Self::Disconnected => XenstoreError::Disconnected { path: owned() },
            Self::ShutDown => XenstoreError::ShutDown { path: owned() },
            Self::TooLarge { size, limit } => XenstoreError::TooLarge { path: owned(), size, limit },
            Self::DirectoryTooLarge => {
                XenstoreError::DirectoryTooLarge { path: owned(), limit: DIRECTORY_MAX }
            }
        }
    }
}

pub type Reply<T> = oneshot::Sender<Result<T, Failure>>;

pub enum Command {
    Call { request: Request, reply: Reply<Bytes> },
    Begin { reply: Reply<OpenTransaction> },
    Watch { path: Box<str>, reply: Reply<Watch> },
}

/// What a dropped handle leaves in the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphan {
    Watch(WatchId),
    Transaction { transaction: TxId, session: Session },
}

/// Drops cannot wait, so they leave a note here. Bounded by the watches and transactions that are open.
#[derive(Debug, Default)]
pub struct Orphanage {
    orphans: Mutex<Vec<Orphan>>,
    arrived: Notify,
}

impl Orphanage {
    pub fn leave(&self, orphan: Orphan) {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner).push(orphan);
        self.arrived.notify_one();
    }

    pub fn take(&self) -> Vec<Orphan> {
        std::mem::take(&mut *self.orphans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

/// A transaction that the daemon holds open. Aborted when dropped before [`Self::ended`].
#[derive(Debug)]
pub struct OpenTransaction {
    pub transaction: TxId,
    pub session: Session,
    pub orphanage: Arc<Orphanage>,
    pub open: bool,
}

impl OpenTransaction {
    pub const fn scope(&self) -> Scope {
        Scope::Inside { transaction: self.transaction, session: self.session }
    }

    /// The daemon has forgotten it: nothing to abort.
    pub fn ended(mut self) {
        self.open = false;
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if self.open {
            self.orphanage
                .leave(Orphan::Transaction { transaction: self.transaction, session: self.session });
        }
    }
}

/// The sending side.
#[derive(Debug, Clone)]
pub struct Link {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<LinkState>,
    payload_max: usize,
}

/// The actor's side.
pub struct Inbox {
    pub commands: mpsc::Receiver<Command>,
    /// Handed to watches, which keep the connection up as handles do. Weak, or it would never end.
    pub keep_alive: mpsc::WeakSender<Command>,
    pub state: watch::Sender<LinkState>,
    pub orphanage: Arc<Orphanage>,
    pub watch_capacity: usize,
}

pub fn pair(options: &Options) -> (Link, Inbox) {
    let (sender, commands) = mpsc::channel(COMMAND_CAPACITY);
    let (state, seen) = watch::channel(LinkState::Connected);
    let keep_alive = sender.downgrade();
    let link = Link { commands: sender, state: seen, payload_max: options.endpoint.payload_max() };
    let watch_capacity = options.watch_capacity.max(1);
    (link, Inbox { commands, keep_alive, state, orphanage: Arc::default(), watch_capacity })
}

impl Link {
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    pub async fn call(&self, request: Request) -> Result<Bytes, Failure> {
        let (size, limit) = (request.payload.len(), self.payload_max);
        if size > limit {
            return Err(Failure::TooLarge { size, limit });
        }
        self.ask(|reply| Command::Call { request, reply }).await
    }

    pub async fn begin(&self) -> Result<OpenTransaction, Failure> {
        self.ask(|reply| Command::Begin { reply }).await
    }

    pub async fn watch(&self, path: &str) -> Result<Watch, Failure> {
        self.ask(|reply| Command::Watch { path: path.into(), reply }).await
    }

    /// A command or reply that is dropped unseen means that the actor is gone.
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Failure::ShutDown)?;
        answer.await.unwrap_or(Err(Failure::ShutDown))
    }
}
