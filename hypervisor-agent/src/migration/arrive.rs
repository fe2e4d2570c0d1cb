//! A VM's memory from another host, for who has a ticket; beside the uploads, on their port.
//!
//! ```text
//! GET /v1/vms/ID/memory    -> whether it is waited for
//! PUT /v1/vms/ID/memory    <- the preamble and the memory; answered when the VM is complete here, and paused
//! ```
//!
//! One ticket for a VM, one sender with it. What has begun goes on when its connection ends (and then fails, as the
//! rest does not come), so that closing can wait until nothing comes in any more: what is destroyed after
//! that stays destroyed.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use xenith_common_ids::{IncarnationId, VmId};
use xenith_common_tasks::{CancellationToken, TaskSet};
use xenith_hypervisor_agent_api::{ArrivalCommand, CommandResult};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::Preamble;
use super::frame::Unframed;
use crate::import::Imports;
use crate::import::http::ticket;
use crate::import::upload::{Pipe, Refusal};
use crate::vm::registry::Registry;

/// Between network and decompression, about 16 KiB each.
const CHUNKS: usize = 64;
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
}

/// All of them.
pub struct Arrivals {
    registry: Arc<Registry>,
    imports: Arc<Imports>,
    tasks: TaskSet,
    table: Mutex<HashMap<VmId, Arrival>>,
}

/// What the owner of the VM builds its domain from.
pub struct Arriving {
    pub preamble: Preamble,
    pub memory: OwnedFd,
}

impl Arrivals {
    #[must_use]
    pub fn new(registry: Arc<Registry>, imports: Arc<Imports>, tasks: TaskSet) -> Arc<Self> {
        Arc::new(Self { registry, imports, tasks, table: Mutex::default() })
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
    async fn take_in(self: Arc<Self>, vm: VmId, arrival: Arrival, body: Body) -> Result<(), Refusal> {
        let place = Arc::clone(&arrival.place).try_lock_owned().map_err(|_| Refusal::Busy)?;
        let (told, answer) = oneshot::channel();
        let this = Arc::clone(&self);
        self.tasks.spawn("arrival", async move {
            let _place = place;
            let taken = this.receive(vm, &arrival, body).await;
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

    async fn receive(&self, vm: VmId, arrival: &Arrival, body: Body) -> Result<(), Fault> {
        let internal = |error: &dyn std::fmt::Display| Fault::new(FaultReason::Internal, error);
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let (reader, writer) = io::pipe().map_err(|error| internal(&error))?;
        let (told, preamble) = oneshot::channel();
        let unpacking = tokio::task::spawn_blocking(move || unpack(Pipe::new(receiver), told, writer));
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
        let ((), built) = tokio::join!(pump(body, sender, &arrival.ended), build);
        let unpacked = unpacking.await.map_err(|error| internal(&error))?;
        match (built, unpacked) {
            (Ok(()), _) => Ok(()),
            // It was cut off, or came damaged: the build failed for want of it.
            (Err(_), Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(damaged(&error)),
            (Err(fault), _) => Err(fault),
        }
    }
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

/// Ends the pipe early where the stream does, which no domain is built from.
fn unpack(input: Pipe, preamble: oneshot::Sender<Preamble>, mut memory: impl Write) -> io::Result<()> {
    let (found, mut pieces) = Unframed::open(input)?;
    let found: Preamble = serde_json::from_slice(&found).map_err(io::Error::other)?;
    if preamble.send(found).is_err() {
        return Ok(());
    }
    while let Some(piece) = pieces.next_piece()? {
        memory.write_all(&piece)?;
    }
    Ok(())
}

pub fn router(arrivals: &Arc<Arrivals>) -> Router {
    Router::new().route("/v1/vms/{vm}/memory", get(look).put(take)).with_state(Arc::clone(arrivals))
}

async fn look(
    State(arrivals): State<Arc<Arrivals>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    arrivals.admit(&id, ticket(&headers))?;
    Ok(Json(json!({ "waits": true })))
}

async fn take(
    State(arrivals): State<Arc<Arrivals>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (vm, arrival) = arrivals.admit(&id, ticket(&headers))?;
    match arrivals.take_in(vm, arrival, body).await {
        Ok(()) => Ok(Json(json!({ "complete": true })).into_response()),
        // Worth another try, which the sender tells from what is not.
        Err(Refusal::Failed(fault)) if fault.reason == FaultReason::NotReady => {
            Ok((StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": fault.message }))).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}
