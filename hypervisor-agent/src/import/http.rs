//! The listener for uploads: HTTPS with the host's certificate, for senders who have a ticket and nothing else.
//!
//! ```text
//! GET /v1/vdis/ID    Authorization: Bearer TICKET    -> the mark, and with `accept-frames` that frames may be compressed
//! PUT /v1/vdis/ID    Authorization: Bearer TICKET    <- the disk, from the mark on
//! PUT /v1/vdis/ID/changes                            <- what changed in the disk that it is a copy of
//! GET /v1/files      Authorization: Bearer TICKET    -> files of a backup, as an archive
//! PUT /v1/vms/ID/memory                              <- the memory of a VM ([`crate::migration`])
//! ```
//!
//! Not on the agent's port: that one speaks with the orchestrator only, certificate on both sides. Without a ticket
//! nothing is read but a request's head, and connections are few and bounded in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use xenith_common_accept::{Limit, accept};
use xenith_common_ids::VdiId;
use xenith_common_pki::web_server_config;
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::upload::Takes;

use super::Imports;
use super::upload::{Place, Refusal};
use crate::backup::Backups;
use crate::identity::Identity;
use crate::migration::{Arrivals, arrive};
use crate::transfer::download;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// A sender that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// Each sender holds a few MiB.
const CONNECTIONS: usize = 64;
/// Read from the network at once. TLS by itself asks for 4 KiB at a time, each with a call of the kernel.
const READ: usize = 64 * 1024;
/// Between network and disk, and of an archive that is sent: so many pieces of this size.
const PIECES: usize = 8;
const PIECE: usize = 256 * 1024;

/// Begins to take uploads; where that cannot be, the agent goes on without and says why when one is asked for.
pub async fn serve(
    (imports, backups, arrivals): (&Arc<Imports>, &Arc<Backups>, &Arc<Arrivals>),
    identity: &Identity,
    listen: SocketAddr,
    tasks: &TaskSet,
) {
    let started = async {
        let listener = TcpListener::bind(listen).await?;
        let port = listener.local_addr()?.port();
        let mut tls = web_server_config(Arc::clone(&identity.live) as _).map_err(io::Error::other)?;
        // Of HTTP/2, which nobody asks for here, a connection on which nothing more comes has no end.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok::<_, io::Error>((listener, port, tls))
    };
    let bound = match started.await {
        Ok((listener, port, tls)) => {
            let router = router(imports).merge(downloads(backups)).merge(arrive::router(arrivals));
            let (acceptor, limit) =
                (TlsAcceptor::from(Arc::new(tls)), Limit { name: "upload", at_once: CONNECTIONS });
            accept(listener, limit, tasks, move |tcp, _| connection(acceptor.clone(), tcp, router.clone()));
            tracing::info!(port, "uploads are taken");
            Ok(port)
        }
        Err(error) => {
            tracing::warn!(%listen, %error, "uploads cannot be taken");
            Err(format!("it cannot listen on {listen}: {error}"))
        }
    };
    // Nobody else sets them.
    let _set_before = backups.port.set(bound.clone());
    let _set_before = imports.port.set(bound);
}

fn router(imports: &Arc<Imports>) -> Router {
    let uploads = Router::new()
        .route("/v1/vdis/{vdi}", get(look).put(take))
        .route("/v1/vdis/{vdi}/changes", put(take_changes))
        .with_state(Arc::clone(imports));
    uploads.merge(download::router(imports))
}

fn downloads(backups: &Arc<Backups>) -> Router {
    Router::new().route("/v1/files", get(hand_out)).with_state(Arc::clone(backups))
}

async fn connection(acceptor: TlsAcceptor, tcp: TcpStream, router: Router) {
    let tcp = BufReader::with_capacity(READ, tcp);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await else { return };
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
    if let Err(error) = served {
        tracing::debug!(error, "an upload's connection ended with an error");
    }
}

pub(crate) fn ticket(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().trim()
}

fn vdi(text: &str) -> Result<VdiId, Refusal> {
    text.parse().map_err(|_| Refusal::Ticket)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Ticket => (StatusCode::UNAUTHORIZED, "this ticket opens nothing here".to_owned()),
            Self::Busy => (StatusCode::CONFLICT, "somebody sends this disk already".to_owned()),
            Self::Failed(fault) => (StatusCode::UNPROCESSABLE_ENTITY, fault.message),
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}

async fn look(
    State(imports): State<Arc<Imports>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mark = imports.look(vdi(&id)?, ticket(&headers))?;
    Ok(([(Takes::HEADER, Takes::OURS)], Json(mark)).into_response())
}

async fn take(
    State(imports): State<Arc<Imports>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let place = match imports.enter(vdi(&id)?, ticket(&headers))? {
        Ok(place) => place,
        Err(mark) => return Ok(Json(mark).into_response()),
    };
    let taken = pump(place, body, Place::receive).await?;
    Ok(Json(taken).into_response())
}

async fn take_changes(
    State(imports): State<Arc<Imports>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    // A whole upload that nobody has closed takes no changes.
    let place = imports.enter(vdi(&id)?, ticket(&headers))?.map_err(|_| Refusal::Busy)?;
    let bytes = pump(place, body, Place::receive_changes).await?;
    Ok(Json(json!({ "bytes": bytes })).into_response())
}

/// From the network to who takes it, on a thread of its own. What comes by the record of TLS is gathered, so that this thread
/// is not woken for each.
async fn pump<T: Send + 'static>(
    place: Place,
    body: Body,
    take: fn(Place, mpsc::Receiver<Bytes>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let ended = place.ended.clone();
    let (sender, receiver) = mpsc::channel(PIECES);
    let taking = tokio::task::spawn_blocking(move || take(place, receiver));
    let (mut body, mut piece) = (body.into_data_stream(), BytesMut::with_capacity(PIECE));
    loop {
        let chunk = tokio::select! {
            () = ended.cancelled() => break,
            chunk = tokio::time::timeout(SILENCE, body.next()) => chunk,
        };
        // The end, a broken connection and silence are one here: what is missing is found by the receiver.
        let Ok(Some(Ok(chunk))) = chunk else { break };
        if piece.len() + chunk.len() > PIECE {
            if sender.send(piece.split().freeze()).await.is_err() {
                break;
            }
            piece.reserve(PIECE);
        }
        piece.extend_from_slice(&chunk);
    }
    // Nobody takes it where the receiver has ended, and says why.
    let _ended = sender.send(piece.freeze()).await;
    drop(sender);
    let failed = |error| Refusal::Failed(Fault::new(FaultReason::Internal, error));
    taking.await.map_err(failed)?
}

async fn hand_out(State(backups): State<Arc<Backups>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let download = backups.downloads.take(ticket(&headers)).ok_or(Refusal::Ticket)?;
    let kind = download.media_type();
    let failed = |error| Refusal::Failed(Fault::new(FaultReason::Internal, error));
    let (sender, receiver) = mpsc::channel(PIECES);
    let (opened, is_open) = tokio::sync::oneshot::channel();
    // Ends when its listener does: the next piece finds nobody.
    let _sending = tokio::task::spawn_blocking(move || download.send(opened, sender));
    is_open.await.map_err(failed)?.map_err(Refusal::Failed)?;
    let pieces = tokio_stream::wrappers::ReceiverStream::new(receiver);
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response())
}
