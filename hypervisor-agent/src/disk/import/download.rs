//! A file from a web server, taken up where it was left.
//!
//! What always holds: the file on disk is of one version of the server's. Which one (its entity tag, or when it was
//! changed) lies beside it, and the server is asked for the rest of that version only (`If-Range`, RFC 9110 13.1.5). A
//! server that names no version is asked for the whole again, unless a digest tells in the end. Zeros are left out as holes,
//! so that an image which becomes a VDI as it is takes no more room than what it holds.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use sha2::{Digest, Sha256};
use xenith_common_block::{Behind, flushing, is_zero};
use xenith_common_text::without_credentials;
use xenith_hypervisor_agent_storage::is_full;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::progress::Progress;

/// What is downloaded.
#[derive(Debug, Clone, Copy)]
pub struct Remote<'a> {
    pub url: &'a str,
    /// Of the file as it is downloaded, in hexadecimal; empty: not checked.
    pub sha256: &'a str,
    /// In bytes: a server that sends more is not believed.
    pub most: u64,
}

impl Remote<'_> {
    /// As errors name it, which are kept with tasks and in logs.
    fn shown(&self) -> Cow<'_, str> {
        without_credentials(self.url)
    }
}

const STEP: usize = 256 * 1024;
/// A server that says nothing for so long is given up; the next try goes on there.
const SILENCE: Duration = Duration::from_secs(60);

fn unreachable(remote: &Remote<'_>, error: &dyn std::error::Error) -> Fault {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    let text = without_credentials(&text);
    Fault::new(FaultReason::NotReady, format_args!("{} cannot be downloaded: {text}", remote.shown()))
}

fn on_disk(path: &Path, error: &io::Error) -> Fault {
    let reason = if is_full(error) { FaultReason::StorageFull } else { FaultReason::Internal };
    Fault::new(reason, format_args!("cannot write {}: {error}", path.display()))
}

/// What the system could not write it does not try again, and what is in the file then is not what came.
fn not_durable(path: &Path, error: &io::Error) -> Fault {
    forget(path);
    on_disk(path, error)
}

fn client() -> Result<Client, Fault> {
    Client::builder()
        .connect_timeout(Duration::from_secs(15))
        // For each read, not for the whole.
        .timeout(SILENCE)
        .build()
        .map_err(|error| Fault::new(FaultReason::Internal, error))
}

fn refused(remote: &Remote<'_>, status: StatusCode) -> Fault {
    Fault::invalid("url", format_args!("the server answers {status} for {}", remote.shown()))
}

fn too_large(remote: &Remote<'_>) -> Fault {
    Fault::invalid("url", format_args!("{} is larger than {} bytes", remote.shown(), remote.most))
}

/// A file that is small enough for memory.
pub fn small(remote: &Remote<'_>) -> Result<Vec<u8>, Fault> {
    let response = client()?.get(remote.url).send().map_err(|error| unreachable(remote, &error))?;
    if !response.status().is_success() {
        return Err(refused(remote, response.status()));
    }
    let mut bytes = Vec::new();
    let read = response.take(remote.most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| unreachable(remote, &error))?;
    if bytes.len() as u64 > remote.most { Err(too_large(remote)) } else { Ok(bytes) }
}

/// Whole, and with the digest that was asked for; otherwise an error.
pub fn download(remote: &Remote<'_>, path: &Path, progress: &Progress) -> Result<(), Fault> {
    let client = client()?;
    let (from, version) = kept(remote, path);
    let mut request = client.get(remote.url);
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
        if let Some(version) = &version {
            request = request.header("If-Range", version.as_str());
        }
    }
    let response = request.send().map_err(|error| unreachable(remote, &error))?;
    let mut at = match response.status() {
        StatusCode::PARTIAL_CONTENT if from > 0 => from,
        StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => {
            if whole_length(&response).is_some_and(|length| length != from) {
                forget(path);
                let message =
                    format!("{} was changed while it was downloaded; it is begun anew", remote.shown());
                return Err(Fault::new(FaultReason::NotReady, message));
            }
            // It was whole already.
            return verify(remote, &mut open(path)?, path);
        }
        status if status.is_success() => 0,
        status => return Err(refused(remote, status)),
    };
    let mut file = open(path)?;
    file.set_len(at).map_err(|error| on_disk(path, &error))?;
    if at == 0 {
        keep_version(&response, path)?;
    }
    let received = flushing(
        || file.sync_data(),
        |behind| {
            let received = receive(remote, response, (&file, path), (&mut at, progress), behind);
            received.and(behind.settle().map(drop).map_err(|error| not_durable(path, &error)))
        },
    );
    // Zeros at the end were not written; however it ended, the next try goes on behind them. Its length vouches for what came,
    // and must not outlive that in a power cut.
    let sized = file.set_len(at).map_err(|error| on_disk(path, &error));
    let durable = file.sync_data().map_err(|error| not_durable(path, &error));
    received.and(sized).and(durable)?;
    verify(remote, &mut file, path)
}

/// How much of the file is here, and of which version.
fn kept(remote: &Remote<'_>, path: &Path) -> (u64, Option<String>) {
    let there = std::fs::metadata(path).map_or(0, |found| found.len());
    let version = std::fs::read_to_string(version_file(path)).ok().filter(|version| !version.is_empty());
    let of_one_version = version.is_some() || !remote.sha256.is_empty();
    (if of_one_version { there } else { 0 }, version)
}

fn version_file(path: &Path) -> PathBuf {
    path.with_extension("version")
}

/// While nothing of the file is here yet: what comes is of this version.
fn keep_version(response: &Response, path: &Path) -> Result<(), Fault> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok();
    // A weak tag says "much the same", which is not byte for byte.
    let version = header("etag").filter(|tag| !tag.starts_with("W/")).or_else(|| header("last-modified"));
    let file = version_file(path);
    std::fs::write(&file, version.unwrap_or_default()).map_err(|error| on_disk(&file, &error))
}

/// Of `Content-Range: bytes */LENGTH`.
fn whole_length(response: &Response) -> Option<u64> {
    response.headers().get("content-range")?.to_str().ok()?.rsplit_once('/')?.1.parse().ok()
}

/// Removes what is here of a file.
pub fn forget(path: &Path) {
    for file in [path, version_file(path).as_path()] {
        let _not_there = std::fs::remove_file(file);
    }
}

fn open(path: &Path) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(|error| on_disk(path, &error))
}

fn receive(
    remote: &Remote<'_>,
    mut response: Response,
    (file, path): (&File, &Path),
    (at, progress): (&mut u64, &Progress),
    behind: &mut Behind<'_, '_, (), io::Error>,
) -> Result<(), Fault> {
    let total = response.content_length().map_or(0, |rest| *at + rest);
    let mut buffer = vec![0; STEP];
    loop {
        progress.check().map_err(|_| Fault::new(FaultReason::WrongState, "the download was cancelled"))?;
        let read = match response.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreachable(remote, &error)),
        };
        if *at + read as u64 > remote.most {
            // Not taken up: it would never be right.
            forget(path);
            return Err(too_large(remote));
        }
        if !is_zero(&buffer[..read]) {
            file.write_all_at(&buffer[..read], *at).map_err(|error| on_disk(path, &error))?;
            behind.wrote(read as u64, || ()).map_err(|error| not_durable(path, &error))?;
        }
        *at += read as u64;
        progress.set(*at, total);
    }
    if total != 0 && *at != total {
        let message = format!("{} ended after {at} of {total} bytes", remote.shown());
        return Err(Fault::new(FaultReason::NotReady, message));
    }
    Ok(())
}

fn verify(remote: &Remote<'_>, file: &mut File, path: &Path) -> Result<(), Fault> {
    if remote.sha256.is_empty() {
        return Ok(());
    }
    let mut digest = Sha256::new();
    file.seek(SeekFrom::Start(0)).map_err(|error| on_disk(path, &error))?;
    let mut buffer = vec![0; STEP];
    loop {
        match file.read(&mut buffer).map_err(|error| on_disk(path, &error))? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    let found = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if found.eq_ignore_ascii_case(remote.sha256) {
        return Ok(());
    }
    // Not taken up: it would never be right.
    forget(path);
    Err(Fault::invalid("sha256", format_args!("the file that was downloaded has {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_tells_what_opens_the_address() {
        let url = "https://ann:hunter2@mirror/a.qcow2?sig=hunter2";
        let remote = Remote { url, sha256: "", most: 1 };
        let broken = io::Error::other(url);
        for fault in
            [refused(&remote, StatusCode::FORBIDDEN), too_large(&remote), unreachable(&remote, &broken)]
        {
            let told = fault.to_string();
            assert!(told.contains("@mirror/a.qcow2?(hidden)") && !told.contains("hunter2"), "{told}");
        }
    }
}
