//! A VM's memory from another host, for who has a ticket; beside the uploads, on their port.
//!
//! ```text
//! GET /v1/vms/ID/memory    -> that it is waited for, and over how many connections it may come
//! PUT /v1/vms/ID/memory?streams=COUNT&attempt=UUID    <- the preamble and the memory, or the first connection's part of
//!                                                        it; answered when the VM is complete here, and paused
//! PUT /v1/vms/ID/memory/NUMBER?attempt=UUID           <- another connection's part of it
//! ```
//!
//! An older sender names no count, and sends all over one connection; an older receiver names none, and is sent so.
//!
//! One ticket for a VM, one sender with it. What has begun goes on when its connection ends (and then fails, as the
//! rest does not come), so that closing can wait until nothing comes in any more: what is destroyed after
//! that stays destroyed.

use std::collections::HashMap;
use std::io::{self, Write};
use std::iter;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use uuid::Uuid;
use xenith_common_ids::{IncarnationId, VmId};
use xenith_common_tasks::{CancellationToken, TaskSet};
use xenith_hypervisor_agent_api::{ArrivalCommand, CommandResult};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::frame::{Unframed, preamble};
use super::gather::Gathering;
use super::streams::{StreamCount, join};
use super::{Preamble, Waits};
use crate::import::Imports;
use crate::import::http::ticket;
use crate::import::upload::{Pipe, Refusal};
use crate::vm::registry::Registry;

/// Between network and decompression, about 16 KiB each.
pub(super) const CHUNKS: usize = 64;
/// A guest may take a minute to suspend, during which nothing comes.
const SILENCE: Duration = Duration::from_secs(180);

/// A VM that is waited for, or comes in.
#[derive(Clone)]
struct Arrival {
    run: IncarnationId,
    ticket_hash: String,
    until: Instant,
    ended: CancellationToken,
    /// Held by who takes it in.
    place: Arc<tokio::sync::Mutex<()>>,
    /// The connections of who takes it in.
    gathering: Arc<Gathering>,
}

impl Arrival {
    /// The place of who takes it in. Who closes it ends it first and waits for the place then: of the two, one sees the other.
    fn enter(&self) -> Result<OwnedMutexGuard<()>, Refusal> {
        let place = Arc::clone(&self.place).try_lock_owned().map_err(|_| Refusal::Busy)?;
        if self.ended.is_cancelled() {
            return Err(Refusal::Ticket);
        }
        Ok(place)
    }
}

/// How one try to send it comes.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Try {
    #[serde(default)]
    streams: StreamCount,
    /// The connections of one try know each other by it.
    #[serde(default)]
    attempt: Uuid,
}

/// All of them.
pub struct Arrivals {
    registry: Arc<Registry>,
    imports: Arc<Imports>,
    tasks: TaskSet,
    /// The most connections that one memory comes over.
    streams: StreamCount,
    table: Mutex<HashMap<VmId, Arrival>>,
}

/// What the owner of the VM builds its domain from.
pub struct Arriving {
    pub preamble: Preamble,
    pub memory: OwnedFd,
}

impl Arrivals {
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        imports: Arc<Imports>,
        tasks: TaskSet,
        streams: StreamCount,
    ) -> Arc<Self> {
        Arc::new(Self { registry, imports, tasks, streams, table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, HashMap<VmId, Arrival>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn execute(&self, command: ArrivalCommand) -> Result<CommandResult, Fault> {
        match command {
            ArrivalCommand::Open { vm, incarnation, ticket_hash, idle } => {
                let port = self.imports.listening()?;
                self.close(vm).await;
                let arrival = Arrival {
                    run: incarnation,
                    ticket_hash,
                    until: Instant::now() + idle,
                    ended: self.tasks.token().child_token(),
                    place: Arc::default(),
                    gathering: Arc::default(),
                };
                let mut table = self.table();
                // What nobody came for: a repeated order that found everything sent.
                table.retain(|_, known| Instant::now() <= known.until);
                table.insert(vm, arrival);
                Ok(CommandResult::ArrivalOpen(port))
            }
            ArrivalCommand::Close { vm } => {
                self.close(vm).await;
                Ok(CommandResult::Nothing)
            }
        }
    }

    /// Returns when nothing comes in any more.
    async fn close(&self, vm: VmId) {
        let closed = self.table().remove(&vm);
        if let Some(arrival) = closed {
            arrival.ended.cancel();
            drop(arrival.place.lock().await);
        }
    }

    fn admit(&self, id: &str, ticket: &str) -> Result<(VmId, Arrival), Refusal> {
        let vm: VmId = id.parse().map_err(|_| Refusal::Ticket)?;
        let arrival = self.table().get(&vm).cloned().ok_or(Refusal::Ticket)?;
        let good = Instant::now() <= arrival.until
            && blake3::hash(ticket.as_bytes()).to_hex().as_str() == arrival.ticket_hash;
        if good { Ok((vm, arrival)) } else { Err(Refusal::Ticket) }
    }

    /// On a task of its own: see the module's documentation.
    async fn take_in(
        self: Arc<Self>,
        vm: VmId,
        arrival: Arrival,
        (how, body): (Try, Body),
    ) -> Result<(), Refusal> {
        let place = arrival.enter()?;
        let (told, answer) = oneshot::channel();
        let this = Arc::clone(&self);
        self.tasks.spawn("arrival", async move {
            let _place = place;
            let over = arrival.ended.child_token();
            let taken = this.receive((vm, &arrival), (how, body), &over).await;
            // The other connections end with the first.
            over.cancel();
            arrival.gathering.close();
            match &taken {
                Ok(()) => {
                    // Its ticket has done what it was for: memory that came later would be an older one.
                    this.table().retain(|of, known| *of != vm || !Arc::ptr_eq(&known.place, &arrival.place));
                    tracing::info!(%vm, "a VM has come from another host and waits to be let run");
                }
                Err(fault) => tracing::warn!(%vm, %fault, "a VM that was sent here did not arrive"),
            }
            let _sender_gone = told.send(taken);
        });
        let stopping = || Err(Fault::new(FaultReason::NotReady, "the agent is stopping"));
        answer.await.unwrap_or_else(|_| stopping()).map_err(Refusal::Failed)
    }

    async fn receive(
        &self,
        (vm, arrival): (VmId, &Arrival),
        (how, body): (Try, Body),
        over: &CancellationToken,
    ) -> Result<(), Fault> {
        let internal = |error: &dyn std::fmt::Display| Fault::new(FaultReason::Internal, error);
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let others = arrival.gathering.open(how.attempt, how.streams, over);
        // Nothing is read, nor built, before all are there.
        if let Err(missing) = arrival.gathering.all_there(over).await {
            return Err(damaged(&format_args!(
                "{missing} of its {} connections did not come",
                how.streams.get()
            )));
        }
        let inputs =
            Inputs { first: Pipe::new(receiver), others: others.into_iter().map(Pipe::new).collect() };
        let (reader, writer) = io::pipe().map_err(|error| internal(&error))?;
        let (told, preamble) = oneshot::channel();
        let give_up = over.clone();
        let unpacking = tokio::task::spawn_blocking(move || unpack(inputs, told, writer, &give_up));
        let build = async {
            // Closed as soon as nobody reads: that ends who writes.
            let reader = reader;
            // Without a preamble the other two say why.
            let preamble = preamble.await.map_err(|_| damaged(&"it ended before it began"))?;
            if preamble.incarnation != arrival.run {
                return Err(damaged(&"it is of another run"));
            }
            self.registry.receive(vm, Arriving { preamble, memory: OwnedFd::from(reader) }).await
        };
        let ((), built) = tokio::join!(pump(body, sender, over), build);
        let unpacked = unpacking.await.map_err(|error| internal(&error))?;
        match (built, unpacked) {
            (Ok(()), _) => Ok(()),
            // It was cut off, or came damaged: the build failed for want of it.
            (Err(_), Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(damaged(&error)),
            (Err(fault), _) => Err(fault),
        }
    }
}

/// What comes over the connections of one try.
struct Inputs {
    first: Pipe,
    others: Vec<Pipe>,
}

fn damaged(problem: &dyn std::fmt::Display) -> Fault {
    Fault::new(FaultReason::NotReady, format_args!("the VM's memory did not come whole: {problem}"))
}

/// From the network, until it ends in whatever way: what is missing is found by who unpacks it.
async fn pump(body: Body, sender: mpsc::Sender<Bytes>, ended: &CancellationToken) {
    let mut body = body.into_data_stream();
    loop {
        let chunk = tokio::select! {
            () = ended.cancelled() => return,
            chunk = tokio::time::timeout(SILENCE, body.next()) => chunk,
        };
        let Ok(Some(Ok(chunk))) = chunk else { return };
        let sent = tokio::select! {
            () = ended.cancelled() => return,
            sent = sender.send(chunk) => sent,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Ends the pipe early where the stream does, which no domain is built from. `over` ends the connections.
fn unpack(
    inputs: Inputs,
    told: oneshot::Sender<Preamble>,
    mut memory: impl Write,
    over: &CancellationToken,
) -> io::Result<()> {
    let Inputs { mut first, others } = inputs;
    let found: Preamble = serde_json::from_slice(&preamble(&mut first)?).map_err(io::Error::other)?;
    if told.send(found).is_err() {
        return Ok(());
    }
    if !others.is_empty() {
        return join(iter::once(first).chain(others).collect(), memory, || over.cancel());
    }
    let mut pieces = Unframed::new(first)?;
    while let Some(piece) = pieces.next_piece()? {
        memory.write_all(&piece)?;
    }
    Ok(())
}

pub fn router(arrivals: &Arc<Arrivals>) -> Router {
    Router::new()
        .route("/v1/vms/{vm}/memory", get(look).put(take))
        .route("/v1/vms/{vm}/memory/{stream}", put(take_part))
        .with_state(Arc::clone(arrivals))
}

async fn look(
    State(arrivals): State<Arc<Arrivals>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Waits>, Refusal> {
    arrivals.admit(&id, ticket(&headers))?;
    Ok(Json(Waits { waits: true, streams: arrivals.streams }))
}

async fn take(
    State(arrivals): State<Arc<Arrivals>>,
    Path(id): Path<String>,
    Query(how): Query<Try>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (vm, arrival) = arrivals.admit(&id, ticket(&headers))?;
    match arrivals.take_in(vm, arrival, (how, body)).await {
        Ok(()) => Ok(Json(json!({ "complete": true })).into_response()),
        // Worth another try, which the sender tells from what is not.
        Err(Refusal::Failed(fault)) if fault.reason == FaultReason::NotReady => {
            Ok((StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": fault.message }))).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

/// The part that another connection carries. What became of the whole is told on the first one.
async fn take_part(
    State(arrivals): State<Arc<Arrivals>>,
    Path((id, stream)): Path<(String, u8)>,
    Query(how): Query<Try>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let (_, arrival) = arrivals.admit(&id, ticket(&headers))?;
    let place = arrival.gathering.enter((how.attempt, stream), &arrival.ended).await;
    let (sender, over) = place.ok_or(Refusal::Busy)?;
    pump(body, sender, &over).await;
    Ok(Json(json!({ "taken": true })))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its ticket was good when it came, and the arrival was closed before it had its place.
    #[tokio::test]
    async fn nothing_comes_in_any_more_when_it_was_closed() {
        let arrival = Arrival {
            run: IncarnationId::new(),
            ticket_hash: String::new(),
            until: Instant::now(),
            ended: CancellationToken::new(),
            place: Arc::default(),
            gathering: Arc::default(),
        };
        let first = arrival.enter().unwrap();
        assert_eq!(arrival.enter().unwrap_err(), Refusal::Busy);
        drop(first);
        // As `Arrivals::close` does.
        arrival.ended.cancel();
        drop(arrival.place.lock().await);
        assert_eq!(arrival.enter().unwrap_err(), Refusal::Ticket);
    }
}
