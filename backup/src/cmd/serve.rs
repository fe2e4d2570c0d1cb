//! `serve-nbd`.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use xenith_backup::index::Index;
use xenith_backup::nbd::{self, Disk, Export, Listener, Overlay, Stop};
use xenith_backup::reader::BackupDisk;
use xenith_backup::{Repository, gc, manifest};
use xenith_common_block::BlockSource;

pub struct Request {
    pub what: String,
    pub listen: String,
    pub socket: Option<PathBuf>,
    pub overlay: Option<PathBuf>,
}

pub fn run(repo: &Repository, request: &Request) -> anyhow::Result<ExitCode> {
    let (manifests, _) = gc::visible(repo)?;
    let (manifest, record) = manifest::find(&manifests, &request.what)?;
    let source: Arc<dyn BlockSource> = Arc::new(BackupDisk::new(repo, Arc::new(Index::load(repo)?), record));
    let disk = match &request.overlay {
        None => Disk::ReadOnly(source),
        Some(path) => Disk::Writable(Overlay::open(source, path)?),
    };
    let export = Export { name: record.name.clone(), disk };
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
    println!("serving {}@{} at {at}", record.name, manifest.id);
    nbd::serve(&listener, &export, &Stop::default())?;
    Ok(ExitCode::SUCCESS)
}
