//! The one task that owns the stream to the daemon.
//!
//! It never waits for a reader of events or answers: both are handed over without blocking. Reading goes on
//! while writing is stuck and the other way round, so that a daemon that first wants its answers read
//! cannot deadlock with us. Everything it holds is bounded: [`MAX_IN_FLIGHT`] requests, their bytes, and a few
//! bytes per open watch or transaction. Of what comes in it keeps no more than one message, the largest of which is a
//! directory of [`wire::DIRECTORY_MAX`] bytes.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use xenith_common_tasks::{Backoff, CancellationToken};

use super::Options;
use super::link::{Command, Failure, Inbox, LinkState, OpenTransaction, Orphan, Request, Scope, Session};
use super::mailbox::Watch;
use super::pending::{Answer, Pending, Waiting};
use super::registry::{Registry, WatchId};
use crate::endpoint::{ByteStream, Endpoint};
use crate::wire::{self, Decoder, Incoming, Message, MessageType, TxId, WireError};

/// The daemon is single-threaded, so more requests in flight than hide the way there and back bring nothing;
/// 128 of the largest are half a MiB on each side.
const MAX_IN_FLIGHT: usize = 128;

/// Room for a few dozen ordinary answers in one read; at least one message of the largest size.
const READ_SIZE: usize = 16 * 1024;

/// Why a session ended.
enum Ended {
    ShutDown,
    Lost(String),
}

pub struct Actor {
    endpoint: Endpoint,
    answer_patience: Duration,
    /// When the daemon last gave an answer, or began to owe one.
    progress: Instant,
    inbox: Inbox,
    backoff: Backoff,
    cancel: CancellationToken,
    session: Session,
    pending: Pending,
    watches: Registry,
    decoder: Decoder,
    output: BytesMut,
}

impl Actor {
    pub fn new(options: Options, inbox: Inbox, backoff: Backoff, cancel: CancellationToken) -> Self {
        Self {
            endpoint: options.endpoint,
            answer_patience: options.answer_patience,
            progress: Instant::now(),
            inbox,
            backoff,
            cancel,
            session: Session::default(),
            pending: Pending::default(),
            watches: Registry::default(),
            decoder: Decoder::default(),
            output: BytesMut::new(),
        }
    }

    pub async fn run(mut self, first: Box<dyn ByteStream>) {
        let mut stream = Some(first);
        while let Some(open) = stream {
            stream = match self.serve(open).await {
                Ended::ShutDown => None,
                Ended::Lost(reason) => {
                    tracing::warn!(endpoint = %self.endpoint, reason, "lost xenstored; connecting again");
                    self.inbox.state.send_replace(LinkState::Disconnected);
                    self.fail_pending(Failure::Disconnected);
                    self.reopen().await
                }
            };
        }
        self.inbox.state.send_replace(LinkState::ShutDown);
        self.fail_pending(Failure::ShutDown);
        self.inbox.commands.close();
        while let Some(command) = self.inbox.commands.recv().await {
            refuse(command, Failure::ShutDown);
        }
    }

    /// One session, from an open stream to its end.
    async fn serve(&mut self, stream: Box<dyn ByteStream>) -> Ended {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut input = BytesMut::with_capacity(READ_SIZE);
        self.session.0 += 1;
        self.decoder = Decoder::default();
        self.output.clear();
        for id in self.watches.ids() {
            self.register(id, Waiting::Rewatch { id });
        }
        self.inbox.state.send_replace(LinkState::Connected);
        // Not reset with each answer: that would cost more than the answer. It looks when it fires.
        let mut watchdog = std::pin::pin!(sleep(self.answer_patience));
        loop {
            input.reserve(READ_SIZE);
            tokio::select! {
                () = self.cancel.cancelled() => return Ended::ShutDown,
                read = reader.read_buf(&mut input) => match read {
                    Ok(0) => return Ended::Lost("xenstored closed the connection".to_owned()),
                    Ok(_) => if let Err(error) = self.take_messages(&mut input) {
                        return Ended::Lost(error.to_string());
                    },
                    Err(error) => return Ended::Lost(error.to_string()),
                },
                written = writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                    if let Err(error) = written {
                        return Ended::Lost(error.to_string());
                    }
                }
                () = self.inbox.orphanage.arrived() => self.end_orphans(),
                () = &mut watchdog => match self.answers_due() {
                    due if due > Instant::now() => watchdog.as_mut().reset(due),
                    _ => return Ended::Lost(format!("no answer for {:?}", self.answer_patience)),
                },
                command = self.inbox.commands.recv(), if self.pending.len() < MAX_IN_FLIGHT => {
                    let Some(command) = command else { return Ended::ShutDown };
                    self.take_commands(command);
                }
            }
        }
    }

    /// When the next answer must have come. An idle connection owes none.
    fn answers_due(&self) -> Instant {
        let since = if self.pending.len() == 0 { Instant::now() } else { self.progress };
        since + self.answer_patience
    }

    /// Waits and tries until the stream is open again; `None` to shut down.
    async fn reopen(&mut self) -> Option<Box<dyn ByteStream>> {
        loop {
            let delay = self.backoff.next_delay();
            let endpoint = self.endpoint.clone();
            let attempt = async move {
                sleep(delay).await;
                endpoint.open().await
            };
            match self.refuse_during(attempt).await {
                ControlFlow::Break(()) => return None,
                ControlFlow::Continue(Ok(stream)) => {
                    tracing::info!(endpoint = %self.endpoint, "xenstored is back");
                    return Some(stream);
                }
                ControlFlow::Continue(Err(error)) => {
                    tracing::debug!(endpoint = %self.endpoint, %error, "xenstored is still away");
                }
            }
        }
    }

    /// Runs `attempt` and fails every command meanwhile. Breaks to shut down.
    async fn refuse_during<T>(&mut self, attempt: impl Future<Output = T>) -> ControlFlow<(), T> {
        let mut attempt = std::pin::pin!(attempt);
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => return ControlFlow::Break(()),
                outcome = &mut attempt => return ControlFlow::Continue(outcome),
                () = self.inbox.orphanage.arrived() => self.forget_orphans(),
                command = self.inbox.commands.recv() => match command {
                    Some(command) => refuse(command, Failure::Disconnected),
                    None => return ControlFlow::Break(()),
                },
            }
        }
    }

    /// Takes `first` and all that wait behind it, so that they leave in one write.
    fn take_commands(&mut self, first: Command) {
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Call { request, reply } => self.call(request, reply),
                Command::Begin { reply } => {
                    let payload = wire::nul_terminated(&[""]);
                    self.send(Waiting::Begin { reply }, MessageType::TransactionStart, TxId::NONE, payload);
                }
                Command::Watch { path, reply } => {
                    let id = self.watches.add(path, self.inbox.watch_capacity);
                    self.register(id, Waiting::Watch { id, reply });
                }
            }
            let room = self.pending.len() < MAX_IN_FLIGHT;
            next = if room { self.inbox.commands.try_recv().ok() } else { None };
        }
    }

    fn call(&mut self, request: Request, reply: super::link::Reply<Bytes>) {
        let waiting = Waiting::Call { kind: request.kind, reply };
        match request.scope {
            Scope::Outside => self.send(waiting, request.kind, TxId::NONE, request.payload),
            Scope::Inside { transaction, session } if session == self.session => {
                self.send(waiting, request.kind, transaction, request.payload);
            }
            // The transaction went with its session.
            Scope::Inside { .. } => waiting.fail(Failure::Disconnected),
        }
    }

    /// Sends WATCH for an entry of the registry, which is there before the first event can come.
    fn register(&mut self, id: WatchId, waiting: Waiting) {
        if let Some(payload) = self.watches.payload(id) {
            self.send(waiting, MessageType::Watch, TxId::NONE, payload);
        }
    }

    fn send(&mut self, waiting: Waiting, kind: MessageType, transaction: TxId, payload: Bytes) {
        if self.pending.len() == 0 {
            self.progress = Instant::now();
        }
        let request = self.pending.add(waiting);
        wire::encode(&Message { kind, request, transaction, payload }, &mut self.output)
            .expect("the link and the path check refuse what does not fit into a message");
    }

    fn take_messages(&mut self, input: &mut BytesMut) -> Result<(), WireError> {
        while let Some(incoming) = self.decoder.take(input)? {
            match incoming {
                Incoming::Message(event) if event.kind == MessageType::WatchEvent => {
                    self.watches.deliver(&event.payload)?;
                }
                answer => {
                    let answer = self.pending.settle(answer)?;
                    // Only now: a daemon that accepts and then breaks the protocol must not be tried in a circle.
                    self.backoff.reset();
                    self.progress = Instant::now();
                    self.take_answer(answer);
                }
            }
        }
        Ok(())
    }

    /// Hands an answer over. Whoever gave up waiting drops it, and with it what it opened (see [`Orphan`]).
    fn take_answer(&mut self, Answer { waiting, outcome }: Answer) {
        match (waiting, outcome) {
            (Waiting::Call { reply, .. }, Ok(payload)) => drop(reply.send(Ok(payload))),
            (Waiting::Begin { reply }, Ok(payload)) => drop(reply.send(self.opened(&payload))),
            (Waiting::Watch { id, reply }, Ok(_)) => {
                if let Some(entry) = self.watches.get(id) {
                    drop(reply.send(Ok(Watch {
                        id,
                        path: entry.path.clone(),
                        mailbox: Arc::clone(&entry.mailbox),
                        orphanage: Arc::clone(&self.inbox.orphanage),
                        _keep_alive: self.inbox.keep_alive.upgrade(),
                    })));
                }
            }
            (Waiting::Rewatch { id }, Ok(_)) => {
                if let Some(entry) = self.watches.get(id) {
                    entry.mailbox.resync();
                }
            }
            (Waiting::Rewatch { id }, Err(failure)) => {
                if let Some(entry) = self.watches.remove(id) {
                    let error = failure.about(&entry.path);
                    tracing::warn!(path = entry.path, %error, "xenstored refused to watch again");
                    entry.mailbox.close();
                }
            }
            (waiting, Err(failure)) => {
                if let Waiting::Watch { id, .. } = waiting {
                    self.watches.remove(id);
                }
                waiting.fail(failure);
            }
            (Waiting::Nobody { .. }, Ok(_)) => {}
        }
    }

    fn opened(&self, payload: &[u8]) -> Result<OpenTransaction, Failure> {
        let id = wire::strings(payload).next().and_then(|text| std::str::from_utf8(text).ok());
        let id = id.and_then(|text| text.parse().ok()).filter(|id| *id != 0);
        Ok(OpenTransaction {
            transaction: TxId(id.ok_or(Failure::Refused(wire::ErrorCode::Unknown))?),
            session: self.session,
            orphanage: Arc::clone(&self.inbox.orphanage),
            open: true,
        })
    }

    fn end_orphans(&mut self) {
        for orphan in self.inbox.orphanage.take() {
            match orphan {
                Orphan::Watch(id) => {
                    if let Some(payload) = self.watches.payload(id) {
                        self.watches.remove(id);
                        let kind = MessageType::Unwatch;
                        self.send(Waiting::Nobody { kind }, kind, TxId::NONE, payload);
                    }
                }
                Orphan::Transaction { transaction, session } if session == self.session => {
                    let kind = MessageType::TransactionEnd;
                    self.send(Waiting::Nobody { kind }, kind, transaction, wire::nul_terminated(&["F"]));
                }
                Orphan::Transaction { .. } => {}
            }
        }
    }

    /// Without a daemon there is nothing to end; watches must only not come back.
    fn forget_orphans(&mut self) {
        for orphan in self.inbox.orphanage.take() {
            if let Orphan::Watch(id) = orphan {
                self.watches.remove(id);
            }
        }
    }

    fn fail_pending(&mut self, failure: Failure) {
        for waiting in self.pending.take_all() {
            if let Waiting::Watch { id, .. } = waiting {
                self.watches.remove(id);
            }
            waiting.fail(failure);
        }
    }
}

fn refuse(command: Command, failure: Failure) {
    match command {
        Command::Call { reply, .. } => drop(reply.send(Err(failure))),
        Command::Begin { reply } => drop(reply.send(Err(failure))),
        Command::Watch { reply, .. } => drop(reply.send(Err(failure))),
    }
}
