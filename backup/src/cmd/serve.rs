//! `serve-nbd`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use xenith_backup::index::Index;
use xenith_backup::nbd::trace::{Recorder, Trace, prefetch};
use xenith_backup::nbd::{self, Disk, Export, Listener, Overlay, Stop};
use xenith_backup::reader::{BackupDisk, CACHE_BYTES};
use xenith_backup::{Repository, gc, manifest};
use xenith_common_block::BlockSource;

use crate::cli::Output;

pub struct Request {
    pub what: String,
    pub listen: String,
    pub socket: Option<PathBuf>,
    pub overlay: Option<PathBuf>,
    pub boot_trace: Option<PathBuf>,
    pub output: Output,
}

/// Memory for what is read ahead, and the part of it that is.
const AHEAD: usize = 160 << 20;
const AHEAD_MOST: u64 = AHEAD as u64 / 2;

/// The disk, noting what is read where a trace is wanted and not there yet.
fn source(request: &Request, disk: Arc<BackupDisk>) -> anyhow::Result<(Arc<dyn BlockSource>, Option<Trace>)> {
    let Some(path) = &request.boot_trace else { return Ok((disk, None)) };
    let trace = Trace::load(path, disk.size()).with_context(|| format!("cannot read {}", path.display()))?;
    if trace.is_some() {
        return Ok((disk, trace));
    }
    let recorder = Recorder::create(disk, path);
    Ok((Arc::new(recorder.with_context(|| format!("cannot create {}", path.display()))?), None))
}

/// The overlay at `path`, and the file beside it that says of which backup it is: over another one, such as the next
/// newest, it would be a disk that never was. While that file is held nobody else serves it.
fn overlay(path: &Path, source: Arc<dyn BlockSource>, of: &str) -> anyhow::Result<(Overlay, File)> {
    let mut note = path.as_os_str().to_owned();
    note.push(".of");
    let failed = || format!("cannot use {}", Path::new(&note).display());
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&note);
    let mut file = opened.with_context(failed)?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        bail!("{} is served already ({error})", path.display());
    }
    let mut known = String::new();
    file.read_to_string(&mut known).with_context(failed)?;
    match known.trim() {
        "" => {
            file.write_all(of.as_bytes()).with_context(failed)?;
            file.sync_all().with_context(failed)?;
        }
        known if known == of => {}
        known => bail!(
            "{} holds what was written over {known}; serve that one, or take another file for {of}",
            path.display()
        ),
    }
    Ok((Overlay::open(source, path)?, file))
}

pub fn run(repo: &Repository, request: &Request) -> anyhow::Result<ExitCode> {
    let (manifests, _) = gc::visible(repo)?;
    let (manifest, record) = manifest::find(&manifests, &request.what)?;
    let cache = if request.boot_trace.is_some() { AHEAD } else { CACHE_BYTES };
    let disk = Arc::new(BackupDisk::with_cache(repo, Arc::new(Index::load(repo)?), record, cache));
    let (source, trace) = source(request, Arc::clone(&disk))?;
    let most = if request.overlay.is_some() { u64::MAX } else { AHEAD_MOST };
    let (served, _held) = match &request.overlay {
        None => (Disk::ReadOnly(source), None),
        Some(path) => {
            let (overlay, held) = overlay(path, source, &format!("{}@{}", record.name, manifest.id))?;
            (Disk::Writable(overlay), Some(held))
        }
    };
    let export = Export { name: record.name.clone(), disk: served };
    let (listener, at) = match &request.socket {
        Some(path) => {
            let listener =
                UnixListener::bind(path).with_context(|| format!("cannot bind {}", path.display()))?;
            (Listener::Unix(listener), format!("nbd+unix:///{}?socket={}", export.name, path.display()))
        }
        None => {
            let listener = TcpListener::bind(&request.listen)
                .with_context(|| format!("cannot bind {}", request.listen))?;
            let address = listener.local_addr()?;
            (Listener::Tcp(listener), format!("nbd://{address}/{}", export.name))
        }
    };
    if request.output == Output::Json {
        let line =
            serde_json::json!({"name": record.name, "id": manifest.id, "uri": at, "size": record.size});
        println!("{line}");
    } else {
        println!("serving {}@{} at {at}", record.name, manifest.id);
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if let Some(trace) = &trace {
            let ahead = || {
                let keep = |offset, bytes: &[u8]| export.disk.keep(offset, bytes);
                let read = prefetch(&*disk, (trace, most), &keep, &stop);
                tracing::info!(read, of = trace.total_len(), "what the last boot read is at hand");
            };
            std::thread::Builder::new().name("boot trace".to_owned()).spawn_scoped(scope, ahead)?;
        }
        let served = nbd::serve(&listener, &export, &Stop::default());
        stop.store(true, Ordering::Relaxed);
        served
    })?;
    Ok(ExitCode::SUCCESS)
}
