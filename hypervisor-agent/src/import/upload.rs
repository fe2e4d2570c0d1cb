//! Uploads: one VDI, one ticket, one sender at a time.
//!
//! ```text
//! open --sender--> taken --all came, digests same--> whole
//!   ^                 |
//!   +---- broke off --+        closed from anywhere: forgotten
//! ```
//!
//! A ticket is known by its hash. It opens one VDI until that is whole, and ends when nothing came for the time that
//! the orchestrator set: a ticket that leaks later opens nothing. The mark of how far it is lies on disk, after the
//! data before it was made durable; after a crash the sender goes on from there.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use xenith_common_ids::VdiId;
use xenith_common_tasks::CancellationToken;
use xenith_hypervisor_agent_api::{OpenUpload, UploadOpen, VdiProgress};
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::upload::{Mark, receive};

use super::{Imports, fault, target};
use crate::transfer::changes;

/// What is known of one.
pub struct Upload {
    open: OpenUpload,
    mark: Mark,
    /// Of the sender whose bytes are being taken.
    sender: Option<CancellationToken>,
    heard: Instant,
}

impl Upload {
    pub(super) fn progress(&self, vdi: VdiId) -> VdiProgress {
        VdiProgress { vdi, done: self.mark.done, total: self.open.capacity, whole: self.mark.whole }
    }
}

/// Why a sender is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such ticket for this VDI, or not any more.
    Ticket,
    /// Somebody sends already.
    Busy,
    Failed(Fault),
}

/// The right to send, until it is dropped or used.
pub struct Place {
    imports: Arc<Imports>,
    open: OpenUpload,
    mark: Mark,
    pub ended: CancellationToken,
}

impl Imports {
    fn mark_file(&self, vdi: VdiId) -> PathBuf {
        self.folder.join(format!("{vdi}.upload"))
    }

    pub(super) fn open_upload(&self, open: OpenUpload) -> Result<UploadOpen, Fault> {
        let port = self.listening()?;
        self.storage.driver(open.sr)?.facts(open.vdi)?;
        let vdi = open.vdi;
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let upload = match uploads.remove(&vdi) {
            Some(known) => known.opened_again(open),
            None => {
                let kept = fs::read(self.mark_file(vdi)).ok();
                let mark = kept.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
                Upload { open, mark, sender: None, heard: Instant::now() }
            }
        };
        let progress = upload.progress(vdi);
        uploads.insert(vdi, upload);
        Ok(UploadOpen { port, progress })
    }

    /// Waits for a sender to be gone.
    pub(super) async fn close_upload(&self, vdi: VdiId) -> Result<(), Fault> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            // Before the look, so that one who leaves right after it is not missed.
            let left = self.sender_left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            {
                let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
                match uploads.get(&vdi).and_then(|upload| upload.sender.as_ref()) {
                    None => {
                        uploads.remove(&vdi);
                        break;
                    }
                    Some(sender) => sender.cancel(),
                }
            }
            if tokio::time::timeout_at(deadline, left).await.is_err() {
                return Err(Fault::new(
                    FaultReason::NotReady,
                    format_args!("the upload of {vdi} does not end"),
                ));
            }
        }
        match fs::remove_file(self.mark_file(vdi)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::new(
                FaultReason::Internal,
                format_args!("cannot forget the upload of {vdi}: {error}"),
            )),
            _ => Ok(()),
        }
    }

    /// How far the upload is, for who shows the ticket.
    pub fn look(&self, vdi: VdiId, ticket: &str) -> Result<Mark, Refusal> {
        let uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let upload = uploads.get(&vdi).filter(|upload| upload.opens_with(ticket)).ok_or(Refusal::Ticket)?;
        Ok(upload.mark.clone())
    }

    /// Lets a sender in. `Ok(Err(mark))`: everything is here already.
    pub fn enter(self: &Arc<Self>, vdi: VdiId, ticket: &str) -> Result<Result<Place, Mark>, Refusal> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let upload =
            uploads.get_mut(&vdi).filter(|upload| upload.opens_with(ticket)).ok_or(Refusal::Ticket)?;
        if upload.mark.whole {
            return Ok(Err(upload.mark.clone()));
        }
        if upload.sender.is_some() {
            return Err(Refusal::Busy);
        }
        let ended = CancellationToken::new();
        upload.sender = Some(ended.clone());
        upload.heard = Instant::now();
        let (open, mark) = (upload.open.clone(), upload.mark.clone());
        Ok(Ok(Place { imports: Arc::clone(self), open, mark, ended }))
    }

    fn keep(&self, vdi: VdiId, mark: &Mark) -> Result<(), ImportError> {
        let path = self.mark_file(vdi);
        let failed = |error| ImportError::io("write", path.display().to_string(), error);
        let text = serde_json::to_vec(mark).map_err(|error| failed(io::Error::other(error)))?;
        let partial = path.with_extension("partial");
        fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(&partial, text))
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(failed)?;
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upload) = uploads.get_mut(&vdi) {
            upload.mark = mark.clone();
            upload.heard = Instant::now();
        }
        Ok(())
    }
}

impl Upload {
    /// The time of another ticket begins now, whenever a sender was heard last; that of the same one, said again, goes on.
    fn opened_again(self, open: OpenUpload) -> Self {
        let heard = if self.open.ticket_hash == open.ticket_hash { self.heard } else { Instant::now() };
        Self { open, heard, ..self }
    }

    fn opens_with(&self, ticket: &str) -> bool {
        let alive = self.sender.is_some() || self.heard.elapsed() <= self.open.idle;
        alive && blake3::hash(ticket.as_bytes()).to_hex().as_str() == self.open.ticket_hash
    }
}

impl Place {
    /// Takes what comes; blocks. The mark it got to, whatever happened, is kept.
    pub fn receive(self, input: mpsc::Receiver<Bytes>) -> Result<Mark, Refusal> {
        let vdi = self.open.vdi;
        let failed = |error: &ImportError| Refusal::Failed(fault(error));
        let disk = target::open(&self.imports.storage, self.open.sr, vdi).map_err(|error| failed(&error))?;
        let mut input = Pipe::new(input);
        let keep = &mut |mark: &Mark| self.imports.keep(vdi, mark);
        receive(&mut input, &*disk.sink, (self.open.capacity, &self.mark), keep)
            .map_err(|error| failed(&error))
    }
}

impl Place {
    /// Takes what changed in the disk that the VDI is a copy of; blocks. No mark is kept: a sender that comes again sends
    /// all of it again.
    pub fn receive_changes(self, input: mpsc::Receiver<Bytes>) -> Result<u64, Refusal> {
        let sink = self.imports.storage.open_sink_under(self.open.vdi, self.open.under);
        let sink = sink.map_err(Refusal::Failed)?;
        changes::receive(&mut Pipe::new(input), &*sink).map_err(Refusal::Failed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut uploads = self.imports.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upload) = uploads.get_mut(&self.open.vdi) {
            upload.sender = None;
            upload.heard = Instant::now();
        }
        drop(uploads);
        self.imports.sender_left.notify_waiters();
    }
}

/// Chunks of a body as a reader.
pub(crate) struct Pipe {
    input: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Pipe {
    pub(crate) const fn new(input: mpsc::Receiver<Bytes>) -> Self {
        Self { input, rest: Bytes::new() }
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.input.blocking_recv() {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let len = self.rest.len().min(buf.len());
        self.rest.copy_to_slice(&mut buf[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::SrId;
    use xenith_hypervisor_agent_types::VdiSize;

    use super::*;

    #[test]
    fn a_new_ticket_opens_also_what_nobody_was_heard_of_for_long() {
        let (vdi, sr, size) = (VdiId::new(), SrId::new(), VdiSize::from_bytes(1 << 20).unwrap());
        let open = |ticket: &str| OpenUpload {
            vdi,
            sr,
            size,
            capacity: 1 << 20,
            ticket_hash: blake3::hash(ticket.as_bytes()).to_hex().to_string(),
            idle: Duration::from_secs(60),
            under: None,
        };
        let long_ago = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
        let left = || Upload { open: open("a"), mark: Mark::default(), sender: None, heard: long_ago };
        assert!(!left().opens_with("a"), "nobody came with it in time");
        assert!(!left().opened_again(open("a")).opens_with("a"), "said again it lives no longer");
        let again = left().opened_again(open("b"));
        assert!(again.opens_with("b") && !again.opens_with("a"));
    }
}
