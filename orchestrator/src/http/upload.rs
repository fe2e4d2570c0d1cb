//! A disk on its way from a browser to the host that keeps it.
//!
//! ```text
//! POST /upload/VDI                    -> how far the host is
//! PUT  /upload/VDI?from=N&size=SIZE   <- the disk from byte N to its end  -> how far the host is
//! ```
//!
//! Programs send to the host itself. A browser cannot: the host's certificate is of our authority, which browsers do not
//! know, and pages of ours talk to us alone. So its bytes pass through here (ADR 70), and those of files of whole VMs in
//! [`super::page`]: no others do.
//!
//! What always holds: who may send is who gets a ticket of the VDI, which is asked of the API like any other call and
//! audited there. Nothing is kept here but the few MiB that are under way, and no format is looked into. A disk whose
//! bytes end early is given no end, and the host knows how far it is: after a crash of ours, or a broken connection, the
//! page asks for that and goes on from there.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use futures::StreamExt;
use reqwest::{Client, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use xenith_common_ids::VdiId;
use xenith_common_pki::authority_client_config;
use xenith_common_text::chain;
use xenith_orchestrator_types::import::UploadTicket;
use xenith_orchestrator_types::{ApiError, Reason};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::upload::{Frames, Mark, PipeReader, PipeWriter, ReceivingHost, pipe};

use super::Rpc;
use super::origin::{Sender, sender};
use super::session::{ask, failed, foreign};
use crate::enrol::CallerAddress;

/// At a time: each holds two threads and some MiB.
const UPLOADS: usize = 8;
/// Chunks between the browser and the host, some 16 KiB each.
const CHUNKS: usize = 64;
/// A browser that sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(10);
/// The host hears of a new ticket a moment after it was issued; it is asked so often, with this pause.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct Uploads {
    rpc: Rpc,
    places: Arc<Semaphore>,
}

impl Uploads {
    pub fn new(rpc: Rpc) -> Self {
        Self { rpc, places: Arc::new(Semaphore::new(UPLOADS)) }
    }

    /// Asked of the API by who sent the request: whether they may is decided there.
    async fn ticket(
        &self,
        vdi: &str,
        (uri, headers): (&Uri, &HeaderMap),
        caller: Option<Extension<CallerAddress>>,
    ) -> Result<UploadTicket, Response> {
        let secret = match sender(uri, headers) {
            Sender::Foreign => return Err(foreign()),
            Sender::Nobody => None,
            Sender::Bearer(secret) => Some(secret),
            Sender::Page(secret) => secret,
        };
        let from = caller.map(|Extension(caller)| caller.0.ip());
        let ticket = ask(&self.rpc, "vdi.upload_ticket", json!({ "vdi": vdi }), (secret, from)).await?;
        serde_json::from_value(ticket).map_err(|error| Problem::Broken(error.to_string()).into_response())
    }
}

/// Which bytes come.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Stretch {
    from: u64,
    /// Of the whole disk.
    size: u64,
}

/// How far the host is.
#[derive(Debug, Serialize)]
struct Progress {
    done: u64,
    whole: bool,
}

fn told(mark: Result<Mark, Problem>) -> Response {
    match mark {
        Ok(Mark { done, whole, .. }) => Json(Progress { done, whole }).into_response(),
        Err(problem) => problem.into_response(),
    }
}

pub async fn look(
    State(uploads): State<Uploads>,
    caller: Option<Extension<CallerAddress>>,
    Path(vdi): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match uploads.ticket(&vdi, (&uri, &headers), caller).await {
        Ok(ticket) => told(blocking(move || Host::of(&ticket)?.mark()).await),
        Err(response) => response,
    }
}

pub async fn take(
    State(uploads): State<Uploads>,
    caller: Option<Extension<CallerAddress>>,
    (Path(vdi), Query(stretch)): (Path<String>, Query<Stretch>),
    (uri, headers): (Uri, HeaderMap),
    body: Body,
) -> Response {
    let ticket = match uploads.ticket(&vdi, (&uri, &headers), caller).await {
        Ok(ticket) => ticket,
        Err(response) => return response,
    };
    let Ok(_place) = uploads.places.try_acquire() else {
        let message = "as many uploads as can be are under way; this one goes on when one of them is done";
        return Problem::Passing(message.to_owned()).into_response();
    };
    let (chunks, coming) = mpsc::channel(CHUNKS);
    let (mark, ()) = tokio::join!(blocking(move || pass_on(&ticket, stretch, coming)), feed(body, chunks));
    told(mark)
}

/// The end, a broken connection and silence are one here: whether anything is missing is found by who frames it.
async fn feed(body: Body, chunks: mpsc::Sender<Bytes>) {
    let mut body = body.into_data_stream();
    while let Ok(Some(Ok(chunk))) = tokio::time::timeout(SILENCE, body.next()).await {
        if chunks.send(chunk).await.is_err() {
            return;
        }
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|error| Err(Problem::Broken(error.to_string())))
}

/// Why a disk does not get further, by what the page does about it.
#[derive(Debug)]
pub(super) enum Problem {
    /// The host does not know the ticket.
    Ticket,
    /// The host is elsewhere: asked how far it is, the page goes on from there.
    Elsewhere,
    /// The same again may do.
    Passing(String),
    /// The file is none that we read.
    File(String),
    Final(String),
    Broken(String),
}

impl Problem {
    /// Whether the same again may do.
    pub(super) const fn is_passing(&self) -> bool {
        matches!(self, Self::Ticket | Self::Elsewhere | Self::Passing(_))
    }

    /// What is told of it, and with which status.
    pub(super) fn told(self) -> (StatusCode, ApiError) {
        let (status, reason, message) = match self {
            Self::Ticket => {
                let message = "the host does not know of the upload yet; try again";
                (StatusCode::SERVICE_UNAVAILABLE, Reason::HostUnreachable, message.to_owned())
            }
            Self::Elsewhere => {
                let message = "the host does not go on there; ask how far it is and send from there";
                (StatusCode::CONFLICT, Reason::Conflict, message.to_owned())
            }
            Self::Passing(message) => (StatusCode::SERVICE_UNAVAILABLE, Reason::HostUnreachable, message),
            Self::File(message) => (StatusCode::UNPROCESSABLE_ENTITY, Reason::Invalid, message),
            Self::Final(message) => (StatusCode::UNPROCESSABLE_ENTITY, Reason::HostFailed, message),
            Self::Broken(message) => {
                tracing::error!(why = %message, "an upload could not be passed on");
                let message = "the upload could not be passed on; the orchestrator's log has more";
                (StatusCode::INTERNAL_SERVER_ERROR, Reason::Internal, message.to_owned())
            }
        };
        (status, ApiError::new(reason, message))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, error) = self.told();
        failed(status, &error)
    }
}

/// The listener of the host that waits for a disk.
pub(super) struct Host {
    http: ReceivingHost,
    url: String,
    ticket: String,
}

impl Host {
    /// Of the only disk of a ticket.
    fn of(ticket: &UploadTicket) -> Result<Self, Problem> {
        let disk = ticket.disks.first().ok_or_else(|| Problem::Broken("a ticket for nothing".to_owned()))?;
        Self::to(ticket, disk.vdi)
    }

    pub(super) fn to(ticket: &UploadTicket, vdi: VdiId) -> Result<Self, Problem> {
        let UploadTicket { ticket, address, server_name, authority_pem, .. } = ticket;
        let broken = |error: &dyn std::error::Error| Problem::Broken(chain(error));
        let tls = authority_client_config(authority_pem, &[b"http/1.1"]).map_err(|error| broken(&error))?;
        let unknown = |why: String| Problem::Passing(format!("{address} cannot be found: {why}"));
        let addresses: Vec<SocketAddr> =
            address.to_socket_addrs().map_err(|error| unknown(error.to_string()))?.collect();
        let (_, port) = address.rsplit_once(':').ok_or_else(|| unknown("it has no port".to_owned()))?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .resolve_to_addrs(server_name, &addresses)
            .connect_timeout(CONNECT)
            .no_proxy();
        let http = ReceivingHost::new(http).map_err(|error| broken(&error))?;
        let url = format!("https://{server_name}:{port}/v1/vdis/{vdi}");
        Ok(Self { http, url, ticket: ticket.clone() })
    }

    /// Sends what `pieces` give; blocks until they end, and the host has said what it made of them.
    pub(super) fn put(&self, pieces: PipeReader) -> Result<Mark, Problem> {
        self.ask(|http| http.put(&self.url).body(pieces))
    }

    pub(super) fn mark(&self) -> Result<Mark, Problem> {
        for _ in 0..TRIES {
            match self.ask(|http| http.get(&self.url).timeout(CONNECT)) {
                Err(Problem::Ticket) => thread::sleep(PAUSE),
                other => return other,
            }
        }
        Err(Problem::Ticket)
    }

    fn ask(&self, request: impl FnOnce(&Client) -> RequestBuilder) -> Result<Mark, Problem> {
        let reply = self.http.ask(|http| request(http).bearer_auth(&self.ticket));
        let reply = reply.map_err(|error| Problem::Passing(chain(&error)))?;
        let status = reply.status;
        if status.is_success() {
            return reply.json().map_err(|error| Problem::Passing(chain(&error)));
        }
        let told = reply.problem();
        // A sender before us that is not noticed as gone yet, a restart, a browser that went away.
        let passing = status.as_u16() == 409 || status.is_server_error() || told.contains("cut off");
        Err(match status.as_u16() {
            401 => Problem::Ticket,
            _ if passing => Problem::Passing(told),
            _ => Problem::Final(told),
        })
    }
}

/// Blocks until the chunks end, and the host has said what it made of them.
fn pass_on(
    ticket: &UploadTicket,
    Stretch { from, size }: Stretch,
    coming: mpsc::Receiver<Bytes>,
) -> Result<Mark, Problem> {
    let host = Host::of(ticket)?;
    let mark = host.mark()?;
    if mark.whole {
        return Ok(mark);
    }
    if mark.done != from {
        return Err(Problem::Elsewhere);
    }
    let (writer, pieces) = pipe();
    let framing = thread::spawn(move || frame(size, &mark, writer, coming));
    let answer = host.put(pieces);
    let framed = framing.join().map_err(|_| Problem::Broken("framing a disk panicked".to_owned()))?;
    match (answer, framed) {
        // More than was announced: the same again would be no better.
        (Err(_), Err(error @ ImportError::Damaged { .. })) => Err(Problem::Final(error.to_string())),
        (answer, _) => answer,
    }
}

fn frame(
    size: u64,
    mark: &Mark,
    writer: PipeWriter,
    mut coming: mpsc::Receiver<Bytes>,
) -> Result<(), ImportError> {
    let mut frames = Frames::begin(size, mark, writer)?;
    while let Some(chunk) = coming.blocking_recv() {
        frames.push(&chunk)?;
    }
    frames.end()
}
