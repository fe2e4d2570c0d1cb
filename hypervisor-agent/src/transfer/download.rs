//! Reading a VDI over HTTPS, for who has a ticket; beside the uploads, on their port.
//!
//! ```text
//! GET  /v1/images/ID/raw      every byte; `Range: bytes=N-` goes on after an interruption
//! GET  /v1/images/ID/vmdk     a stream-optimised VMDK
//! POST /v1/images/ID/frames   <- how far the receiver is; what is no zeros, with a digest at the end; compressed where
//!                             that is faster and `accept-frames: zstd` says that the receiver takes it
//! ```
//!
//! Tickets are few, end when nobody uses them, and are forgotten with the agent. A reader that takes nothing for a
//! minute is gone: it would keep the VDI from being changed.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use xenith_common_block::{BlockError, BlockSource, ByteRange, ExtentKind};
use xenith_common_ids::VdiId;
use xenith_common_image::vmdk;
use xenith_hypervisor_agent_api::{UploadOpen, VdiProgress};
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::upload::{Mark, Takes, send};

use crate::import::Imports;
use crate::import::http::ticket;
use crate::import::upload::Refusal;

/// Between disk and network, [`PIECE`] each.
const PIECES: usize = 8;
const PIECE: usize = 256 * 1024;
const STEP: u64 = 1 << 20;
const SILENCE: Duration = Duration::from_secs(60);
/// More are not open at once; the oldest goes.
const MOST: usize = 256;

struct Download {
    ticket_hash: String,
    idle: Duration,
    used: Instant,
}

/// The tickets that are good now.
#[derive(Default)]
pub struct Downloads(Mutex<HashMap<VdiId, Download>>);

impl Downloads {
    fn open(&self, vdi: VdiId, ticket_hash: String, idle: Duration) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, download| download.used.elapsed() <= download.idle);
        if table.len() >= MOST
            && let Some(oldest) = table.iter().min_by_key(|(_, download)| download.used).map(|(vdi, _)| *vdi)
        {
            table.remove(&oldest);
        }
        table.insert(vdi, Download { ticket_hash, idle, used: Instant::now() });
    }

    pub(super) fn close(&self, vdi: VdiId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&vdi);
    }

    fn admits(&self, vdi: VdiId, ticket: &str) -> bool {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(download) = table.get_mut(&vdi) else { return false };
        let good = download.used.elapsed() <= download.idle
            && blake3::hash(ticket.as_bytes()).to_hex().as_str() == download.ticket_hash;
        if good {
            download.used = Instant::now();
        }
        good
    }
}

impl Imports {
    /// A later ticket for the same VDI ends the earlier one.
    pub(super) fn open_download(
        &self,
        vdi: VdiId,
        ticket_hash: String,
        idle: Duration,
    ) -> Result<UploadOpen, Fault> {
        let port = self.listening()?;
        // What cannot be read is said now, not to who comes with the ticket.
        let source = self.storage().open_source(vdi)?;
        self.downloads.open(vdi, ticket_hash, idle);
        let progress = VdiProgress { vdi, done: 0, total: source.size(), whole: false };
        Ok(UploadOpen { port, progress })
    }
}

pub fn router(imports: &Arc<Imports>) -> Router {
    Router::new()
        .route("/v1/images/{vdi}/raw", get(raw))
        .route("/v1/images/{vdi}/vmdk", get(vmdk_stream))
        .route("/v1/images/{vdi}/frames", post(frames))
        .with_state(Arc::clone(imports))
}

async fn admitted(imports: &Arc<Imports>, id: &str, ticket: &str) -> Result<Arc<dyn BlockSource>, Refusal> {
    let vdi: VdiId = id.parse().map_err(|_| Refusal::Ticket)?;
    if !imports.downloads.admits(vdi, ticket) {
        return Err(Refusal::Ticket);
    }
    let storage = imports.storage().clone();
    let opened = tokio::task::spawn_blocking(move || storage.open_source(vdi)).await;
    opened
        .map_err(|error| Refusal::Failed(Fault::new(FaultReason::Internal, error)))?
        .map_err(Refusal::Failed)
}

async fn raw(
    State(imports): State<Arc<Imports>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let source = admitted(&imports, &id, ticket(&headers)).await?;
    let size = source.size();
    let from = headers.get(header::RANGE).and_then(|range| range_from(range.to_str().ok()?));
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes");
    let from = match from {
        Some(from) if from >= size => {
            let answer = response.status(StatusCode::RANGE_NOT_SATISFIABLE).body(Body::empty());
            return answer.map_err(internal);
        }
        Some(from) => {
            let range = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
            response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
            from
        }
        None => 0,
    };
    let body = produced(move |out| write_raw(&*source, from, out));
    response.header(header::CONTENT_LENGTH, size - from).body(body).map_err(internal)
}

async fn vmdk_stream(
    State(imports): State<Arc<Imports>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let source = admitted(&imports, &id, ticket(&headers)).await?;
    let name = format!("{id}.vmdk");
    let body = produced(move |out| {
        vmdk::write(&*source, &name, out, &mut |_| Ok(())).map(drop).map_err(io::Error::other)
    });
    Ok(Response::new(body))
}

async fn frames(
    State(imports): State<Arc<Imports>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    axum::Json(mark): axum::Json<Mark>,
) -> Result<Response, Refusal> {
    let source = admitted(&imports, &id, ticket(&headers)).await?;
    let takes = Takes::said_in(&headers);
    let body = produced(move |out| {
        send(&*source, (&mark, takes), out, &mut |_| Ok(())).map(drop).map_err(io::Error::other)
    });
    Ok(Response::new(body))
}

/// `bytes=N-`; other ranges are answered with everything, as RFC 9110 allows.
fn range_from(range: &str) -> Option<u64> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn internal(error: axum::http::Error) -> Refusal {
    Refusal::Failed(Fault::new(FaultReason::Internal, error))
}

fn write_raw(source: &dyn BlockSource, from: u64, out: &mut dyn Write) -> io::Result<()> {
    let size = source.size();
    let failed = |error: BlockError| io::Error::other(error);
    let mut buffer = vec![0; STEP as usize];
    let mut at = from;
    while at < size {
        let window = ByteRange::new(at, size.min((at / STEP + 1) * STEP));
        let part = &mut buffer[..window.len() as usize];
        let data =
            source.extents(window).map_err(failed)?.iter().any(|extent| extent.kind == ExtentKind::Data);
        if data {
            source.read_at(window.start, part).map_err(failed)?;
        } else {
            part.fill(0);
        }
        out.write_all(part)?;
        at = window.end;
    }
    out.flush()
}

/// A body that `write` fills on a thread of its own. An error there breaks the connection: the reader must not take
/// half for whole.
fn produced(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let handle = Handle::current();
    // Ends with its reader: a send to nobody is an error.
    let _ends_with_the_body = tokio::task::spawn_blocking(move || {
        let pipe = Pipe { sender: sender.clone(), handle: handle.clone() };
        let mut out = io::BufWriter::with_capacity(PIECE, pipe);
        let written = write(&mut out).and_then(|()| out.flush());
        // What is buffered still would be sent when it is dropped, behind the error.
        let (_, _unsent) = out.into_parts();
        if let Err(error) = written {
            tracing::debug!(%error, "a download ended early");
            let _nobody_listens = handle.block_on(sender.send_timeout(Err(error), SILENCE));
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    handle: Handle,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Ok(Bytes::copy_from_slice(bytes));
        let sent = self.handle.block_on(self.sender.send_timeout(piece, SILENCE));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_one_vdi_until_nobody_uses_it() {
        let downloads = Downloads::default();
        let (vdi, hash) = (VdiId::new(), |ticket: &str| blake3::hash(ticket.as_bytes()).to_hex().to_string());
        downloads.open(vdi, hash("a"), Duration::from_secs(60));
        assert!(downloads.admits(vdi, "a") && downloads.admits(vdi, "a"));
        assert!(!downloads.admits(vdi, "b") && !downloads.admits(VdiId::new(), "a"));
        downloads.open(vdi, hash("b"), Duration::ZERO);
        std::thread::sleep(Duration::from_millis(2));
        assert!(!downloads.admits(vdi, "a") && !downloads.admits(vdi, "b"));
    }

    #[test]
    fn ranges() {
        for (text, from) in [("bytes=0-", Some(0)), ("bytes=42-", Some(42)), ("bytes=1-2", None), ("x", None)]
        {
            assert_eq!(range_from(text), from, "{text}");
        }
    }
}
