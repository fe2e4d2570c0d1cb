//! Reading requests, doing them on a few threads, answering in any order.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use xenith_common_block::{BlockError, ByteRange, ExtentKind, is_zero};

use super::handshake::{Agreed, CONTEXT};
use super::wire::*;
use super::{Connection, Export};

/// Threads per connection: enough to hide a store's latency behind a guest's queue.
const WORKERS: usize = 8;
/// Requests waiting for a thread. Bounds memory together with [`MAX_REQUEST`] and the guest's own queue.
const QUEUE: usize = 4;
/// Most extents in one block status answer.
const MAX_EXTENTS: usize = 4096;

struct Job {
    request: Request,
    data: Vec<u8>,
}

/// Serves one client until it leaves.
pub fn serve<C: Connection>(mut stream: C, export: &Export, agreed: Agreed) -> io::Result<()> {
    let writer = Mutex::new(stream.another()?);
    let (sender, receiver) = sync_channel::<Job>(QUEUE);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let server = Server { export, agreed, writer: &writer };
                while let Some(job) = next(&receiver) {
                    if server.answer(&job).is_err() {
                        // The client is gone: wake the reader, which ends the connection.
                        server.lock().hang_up();
                    }
                }
            });
        }
        let result = read_requests(&mut stream, sender);
        if result.is_err() {
            stream.hang_up();
        }
        result
    })
}

fn next(receiver: &Mutex<Receiver<Job>>) -> Option<Job> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Takes the sender, so that the workers end when this does.
fn read_requests(stream: &mut impl Read, sender: SyncSender<Job>) -> io::Result<()> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    loop {
        let mut head = [0; REQUEST_LEN];
        stream.read_exact(&mut head)?;
        let request = parse_request(&head).ok_or_else(|| bad("the client sent no request"))?;
        let mut data = Vec::new();
        match request.command {
            CMD_DISC => return Ok(()),
            CMD_WRITE if request.length > MAX_REQUEST => {
                return Err(bad("the client sent an overlong write"));
            }
            CMD_WRITE => {
                data.resize(request.length as usize, 0);
                stream.read_exact(&mut data)?;
            }
            _ => {}
        }
        if sender.send(Job { request, data }).is_err() {
            return Ok(());
        }
    }
}

struct Server<'a, C> {
    export: &'a Export,
    agreed: Agreed,
    writer: &'a Mutex<C>,
}

fn errno(error: &BlockError) -> u32 {
    match error {
        BlockError::OutOfBounds { .. } => EINVAL,
        BlockError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ENOSPC,
        _ => EIO,
    }
}

impl<C: Connection> Server<'_, C> {
    fn lock(&self) -> std::sync::MutexGuard<'_, C> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, job: &Job) -> io::Result<()> {
        let request = &job.request;
        let range = ByteRange::with_len(request.offset, u64::from(request.length));
        let bounds = BlockError::check_bounds(request.offset, range.len(), self.export.disk.size());
        match request.command {
            CMD_READ if bounds.is_err() || request.length > MAX_REQUEST => self.error(request, EINVAL),
            CMD_READ => self.read(request),
            CMD_BLOCK_STATUS if bounds.is_err() || !self.agreed.block_status || request.length == 0 => {
                self.error(request, EINVAL)
            }
            CMD_BLOCK_STATUS => self.block_status(request, range),
            _ => match self.write(job, range) {
                Ok(()) => self.done(request),
                Err(number) => self.error(request, number),
            },
        }
    }

    fn write(&self, job: &Job, range: ByteRange) -> Result<(), u32> {
        let request = &job.request;
        let Some(overlay) = self.export.disk.overlay() else {
            return if request.command == CMD_FLUSH { Ok(()) } else { Err(EPERM) };
        };
        let result = match request.command {
            CMD_WRITE => overlay.write_at(request.offset, &job.data),
            CMD_TRIM | CMD_WRITE_ZEROES => overlay.zero(range),
            CMD_FLUSH => overlay.flush(),
            _ => return Err(EINVAL),
        };
        result
            .and_then(|()| if request.flags & CMD_FLAG_FUA != 0 { overlay.flush() } else { Ok(()) })
            .map_err(|error| {
                tracing::warn!(%error, "a write to an overlay failed");
                errno(&error)
            })
    }

    fn read(&self, request: &Request) -> io::Result<()> {
        let header = if self.agreed.structured { 28 } else { 16 };
        let mut out = vec![0; header + request.length as usize];
        if let Err(error) = self.export.disk.read_at(request.offset, &mut out[header..]) {
            tracing::warn!(error = crate::error::chain(&error), "a read failed");
            return self.error(request, errno(&error));
        }
        if !self.agreed.structured {
            out[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
            out[8..16].copy_from_slice(&request.cookie.to_be_bytes());
            return self.lock().write_all(&out);
        }
        if is_zero(&out[header..]) && request.length > 0 {
            let mut hole = request.offset.to_be_bytes().to_vec();
            hole.extend_from_slice(&request.length.to_be_bytes());
            return self.chunk(request, (CHUNK_DONE, CHUNK_HOLE), &hole);
        }
        let head = chunk_head(request, (CHUNK_DONE, CHUNK_DATA), 8 + request.length);
        out[..20].copy_from_slice(&head);
        out[20..28].copy_from_slice(&request.offset.to_be_bytes());
        self.lock().write_all(&out)
    }

    fn block_status(&self, request: &Request, range: ByteRange) -> io::Result<()> {
        let extents = match self.export.disk.extents(range) {
            Ok(extents) => extents,
            Err(error) => return self.error(request, errno(&error)),
        };
        let most = if request.flags & CMD_FLAG_REQ_ONE != 0 { 1 } else { MAX_EXTENTS };
        let mut payload = CONTEXT.to_be_bytes().to_vec();
        for extent in extents.iter().take(most) {
            let state = if extent.kind == ExtentKind::Data { 0 } else { STATE_HOLE | STATE_ZERO };
            payload.extend_from_slice(&(extent.range.len() as u32).to_be_bytes());
            payload.extend_from_slice(&state.to_be_bytes());
        }
        self.chunk(request, (CHUNK_DONE, CHUNK_BLOCK_STATUS), &payload)
    }

    fn chunk(&self, request: &Request, kind: (u16, u16), payload: &[u8]) -> io::Result<()> {
        let mut out = chunk_head(request, kind, payload.len() as u32).to_vec();
        out.extend_from_slice(payload);
        self.lock().write_all(&out)
    }

    fn simple(&self, request: &Request, error: u32) -> io::Result<()> {
        let mut out = SIMPLE_REPLY_MAGIC.to_be_bytes().to_vec();
        out.extend_from_slice(&error.to_be_bytes());
        out.extend_from_slice(&request.cookie.to_be_bytes());
        self.lock().write_all(&out)
    }

    fn done(&self, request: &Request) -> io::Result<()> {
        if self.agreed.structured {
            return self.chunk(request, (CHUNK_DONE, CHUNK_NONE), &[]);
        }
        self.simple(request, 0)
    }

    fn error(&self, request: &Request, number: u32) -> io::Result<()> {
        if !self.agreed.structured {
            return self.simple(request, number);
        }
        let mut payload = number.to_be_bytes().to_vec();
        payload.extend_from_slice(&0u16.to_be_bytes());
        self.chunk(request, (CHUNK_DONE, CHUNK_ERROR), &payload)
    }
}

fn chunk_head(request: &Request, (flags, kind): (u16, u16), len: u32) -> [u8; 20] {
    let mut head = [0; 20];
    head[..4].copy_from_slice(&CHUNK_MAGIC.to_be_bytes());
    head[4..6].copy_from_slice(&flags.to_be_bytes());
    head[6..8].copy_from_slice(&kind.to_be_bytes());
    head[8..16].copy_from_slice(&request.cookie.to_be_bytes());
    head[16..].copy_from_slice(&len.to_be_bytes());
    head
}
