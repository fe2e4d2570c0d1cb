//! `files`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;
use xenith_backup::files::{self, Archive, Entry, FileSystem, Kind, Packed};
use xenith_backup::index::Index;
use xenith_backup::reader::BackupDisk;
use xenith_backup::{BackupError, Repository, gc, manifest};
use xenith_common_block::BlockSource;
use xenith_common_text::counted;

use crate::cli::Output;

pub struct Request {
    pub what: String,
    /// `VOLUME:PATH`
    pub at: Option<String>,
    pub to: Option<PathBuf>,
    pub output: Output,
}

pub fn run(repo: &Repository, request: &Request) -> anyhow::Result<ExitCode> {
    let (manifests, _) = gc::visible(repo)?;
    let (_, record) = manifest::find(&manifests, &request.what)?;
    let disk: Arc<dyn BlockSource> = Arc::new(BackupDisk::new(repo, Arc::new(Index::load(repo)?), record));
    let volumes = files::volumes(&disk)?;
    let Some(at) = &request.at else {
        if request.output == Output::Json {
            println!("{}", serde_json::to_string_pretty(&volumes)?);
            return Ok(ExitCode::SUCCESS);
        }
        for volume in &volumes {
            let kind = volume.filesystem.unwrap_or("unknown");
            let why = volume.unreadable.as_deref().unwrap_or_default();
            println!("{}  {} MiB  {kind}  {why}", volume.name, volume.size >> 20);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let (name, path) =
        at.split_once(':').with_context(|| format!("{at:?} is not of the form VOLUME:PATH"))?;
    let volume = volumes.into_iter().find(|volume| volume.name == name).ok_or_else(|| {
        BackupError::NotFound { what: format!("a volume {name} (files without a path lists them)") }
    })?;
    let source = match (volume.source, volume.unreadable) {
        (Some(source), _) => source,
        (None, why) => bail!("volume {name} cannot be read: {}", why.unwrap_or_default()),
    };
    let mut fs = files::open(source)?;
    let path = format!("/{}", path.trim_matches('/'));
    match &request.to {
        None => list(&mut fs, path.as_bytes(), request.output),
        Some(to) => take_out(&mut fs, path.as_bytes(), to),
    }
}

#[derive(Serialize)]
struct Row {
    name: String,
    kind: Kind,
    size: u64,
    mode: u32,
    modified: i64,
}

fn list(fs: &mut FileSystem, path: &[u8], output: Output) -> anyhow::Result<ExitCode> {
    let entry = fs.entry(path)?;
    let mut entries = if entry.kind == Kind::Folder { fs.list(path)? } else { vec![entry] };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let row = |entry: Entry| Row {
        name: String::from_utf8_lossy(&entry.name).into_owned(),
        kind: entry.kind,
        size: entry.size,
        mode: entry.mode,
        modified: entry.modified,
    };
    let rows: Vec<Row> = entries.into_iter().map(row).collect();
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    for row in rows {
        let mark = match row.kind {
            Kind::Folder => "/",
            Kind::Link => "@",
            Kind::Other => "?",
            Kind::File => "",
        };
        // A name may hold what a terminal obeys.
        println!("{:04o} {:>12}  {}{mark}", row.mode, row.size, row.name.escape_debug());
    }
    Ok(ExitCode::SUCCESS)
}

fn take_out(fs: &mut FileSystem, path: &[u8], to: &Path) -> anyhow::Result<ExitCode> {
    let ending = to.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let packed = match ending {
        _ if to == Path::new("-") => pack(fs, path, Archive::tar(std::io::stdout().lock()))?,
        "zip" => pack(fs, path, Archive::zip(create(to)?))?,
        "tar" => pack(fs, path, Archive::tar(create(to)?))?,
        _ if fs.entry(path)?.kind == Kind::File => {
            let mut out = create(to)?;
            let mut packed = Packed { files: 1, ..Packed::default() };
            let result = fs.read(path, &mut |piece| {
                packed.bytes += piece.len() as u64;
                out.write_all(piece).map_err(|source| broken(to, source))
            });
            if let Err(error) = result.and_then(|()| out.flush().map_err(|source| broken(to, source))) {
                std::fs::remove_file(to)?;
                return Err(error.into());
            }
            packed
        }
        _ => bail!("{} names neither a .zip nor a .tar, and {} is no file", to.display(), text(path)),
    };
    let (files, folders) = (counted(packed.files, "file"), counted(packed.folders, "folder"));
    eprintln!("{files}, {folders}, {} MiB", packed.bytes >> 20);
    for line in &packed.left_out {
        eprintln!("left out: {}", line.escape_debug());
    }
    Ok(if packed.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::DAMAGED) })
}

fn pack<W: Write>(fs: &mut FileSystem, path: &[u8], mut archive: Archive<W>) -> anyhow::Result<Packed> {
    let packed = files::pack(fs, path, &mut archive)?;
    archive.finish()?;
    Ok(packed)
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::options().write(true).create_new(true).open(path);
    Ok(BufWriter::new(file.with_context(|| format!("cannot create {}", path.display()))?))
}

fn broken(to: &Path, source: std::io::Error) -> BackupError {
    let target = to.display().to_string();
    BackupError::Block(xenith_common_block::BlockError::Io { action: "write", target, offset: 0, source })
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
