//! NFC export: a lease, its URLs, and keeping it alive while bytes flow.
//!
//! A lease ends 300 s after the last word from us, whatever the transfer does; a thread speaks up every
//! [`KEEP_ALIVE`]. There are no ranges: a transfer that breaks begins again with the same lease. The lease is
//! completed or aborted in every case, else the VM stays locked on the server.

use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use reqwest::StatusCode;

use super::client::{MoRef, Vim};
use super::pin::Fingerprint;
use super::soap::Body;
use crate::convert::{ConvertOptions, Progress, Report, convert_stream};
use crate::error::{ImportError, Result, Retry};
use crate::vmdk::stream::StreamReader;

/// Five times within the lease's 300 s.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(300);
const TRIES: u32 = 4;

/// A disk the lease offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseDisk {
    /// The VM's id and the disk's place, such as `/vm-42/VirtualLsiLogicController0:1`.
    pub key: String,
    pub url: String,
}

impl LeaseDisk {
    /// The controller, its number and the disk's number on it; the simulator says something else.
    #[must_use]
    pub fn slot(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

/// A disk as it comes.
pub type NfcStream = StreamReader<BufReader<Box<dyn Read>>>;

/// An export in progress.
pub struct Lease<'a> {
    vim: &'a Vim,
    reference: MoRef,
    pub disks: Vec<LeaseDisk>,
    finished: bool,
}

impl<'a> Lease<'a> {
    /// Asks for the export of a VM (switched off) or of a snapshot, and waits until it is ready.
    pub fn open(vim: &'a Vim, source: &MoRef) -> Result<Self> {
        let method = if source.kind == "VirtualMachineSnapshot" { "ExportSnapshot" } else { "ExportVm" };
        let reference = vim.call(method, source, &Body::new())?.moref();
        let mut lease = Self { vim, reference, disks: Vec::new(), finished: false };
        let end = Instant::now() + READY;
        loop {
            let found = vim.properties(&lease.reference, &["state", "info", "error"])?;
            match found.text("state") {
                "ready" => {
                    let info = found.get("info").cloned().unwrap_or_default();
                    for device in info.all("deviceUrl").filter(|d| d.bool_at("disk") != Some(false)) {
                        let thumbprint = device.text_at("sslThumbprint");
                        if let Ok(pin) = thumbprint.parse::<Fingerprint>() {
                            // It came over the pinned session.
                            vim.pins.trust(pin);
                        }
                        let url = lease.resolve(device.text_at("url"));
                        lease.disks.push(LeaseDisk { key: device.text_at("key").to_owned(), url });
                    }
                    return Ok(lease);
                }
                "error" => {
                    let detail = found.get("error").map_or("", |e| e.text_at("localizedMessage")).to_owned();
                    // Often a host that has no more memory for exports: those of others end.
                    return Err(vim.error("an NFC lease", detail, Retry::Mended));
                }
                _ if Instant::now() >= end => {
                    return Err(vim.error("an NFC lease", "it does not get ready".to_owned(), Retry::Later));
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// ESXi writes `*` for "the address you reached me by".
    fn resolve(&self, url: &str) -> String {
        let host = self.vim.base().trim_start_matches("https://");
        match url.strip_prefix("https://*") {
            Some(rest) => match rest.strip_prefix(':').and_then(|r| r.find('/').map(|at| &r[at..])) {
                Some(path) => format!("https://{host}{path}"),
                None => format!("https://{host}{rest}"),
            },
            None => url.to_owned(),
        }
    }

    /// Brings all disks into `folder`, one file each.
    pub fn download(
        mut self,
        folder: &Path,
        name: &str,
        options: &ConvertOptions,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Vec<Report>> {
        let disks = std::mem::take(&mut self.disks);
        let result = self.kept_alive(|lease, percent| {
            let bring = |(index, disk): (usize, &LeaseDisk)| {
                percent.store(index as u64 * 100 / disks.len().max(1) as u64, Ordering::Relaxed);
                let path = folder.join(format!("{name}-{index}.{}", options.format.name()));
                lease.read(disk, &mut |stream| convert_stream(stream, &path, options, progress))
            };
            disks.iter().enumerate().map(bring).collect::<Result<Vec<Report>>>()
        });
        if result.is_ok() {
            self.complete();
        }
        result
    }

    /// Does `work` while the server is told that we are still here. `work` sets how many percent of it are done.
    pub fn kept_alive<T>(&self, work: impl FnOnce(&Self, &AtomicU64) -> T) -> T {
        let percent = AtomicU64::new(0);
        let (stop, stopped) = channel::<()>();
        std::thread::scope(|scope| {
            let (vim, reference, shown) = (self.vim, &self.reference, &percent);
            scope.spawn(move || {
                while stopped.recv_timeout(KEEP_ALIVE) == Err(RecvTimeoutError::Timeout) {
                    let body = Body::new().number("percent", shown.load(Ordering::Relaxed));
                    // The transfer itself finds out if the lease is gone.
                    let _ = vim.call("HttpNfcLeaseProgress", reference, &body);
                }
            });
            let result = work(self, &percent);
            drop(stop);
            result
        })
    }

    /// All that was wanted is here: said when the lease is dropped; otherwise it is aborted.
    pub fn complete(&mut self) {
        self.finished = true;
    }

    /// Reads a disk front to back; begins again when the transfer breaks, so `each` may be called several times.
    pub fn read<T>(&self, disk: &LeaseDisk, each: &mut dyn FnMut(&mut NfcStream) -> Result<T>) -> Result<T> {
        let mut last = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(200 << attempt));
            }
            match self.open_stream(disk).and_then(|mut stream| each(&mut stream)) {
                // Cut transfers look like cut files; what is damaged stays damaged.
                Err(
                    error @ (ImportError::Truncated { .. }
                    | ImportError::Io { .. }
                    | ImportError::Server { .. }),
                ) => {
                    last = Some(error);
                }
                other => return other,
            }
        }
        Err(last.unwrap_or(ImportError::Cancelled))
    }

    fn open_stream(&self, disk: &LeaseDisk) -> Result<NfcStream> {
        if !disk.url.starts_with("https://") {
            let detail = "it sends the disk over a connection that is not encrypted".to_owned();
            return Err(self.vim.error("an NFC lease", detail, Retry::Never));
        }
        let mut request = self.vim.http().get(&disk.url).timeout(Duration::from_secs(86_400));
        if is_at(self.vim.base(), &disk.url) {
            request = request.header("Cookie", self.vim.cookie());
        }
        let response = request.send().map_err(|error| self.vim.transport("GET /nfc", &error))?;
        let status = response.status();
        if !status.is_success() {
            // A lease that has gone, with its session or its host, is opened again by the next try of the pass.
            let gone = [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::GONE].contains(&status);
            let retry = if gone || status.is_server_error() { Retry::Later } else { Retry::Never };
            return Err(self.vim.error("GET /nfc", status.to_string(), retry));
        }
        let input: Box<dyn Read> = Box::new(response);
        StreamReader::open(&disk.url, BufReader::with_capacity(256 * 1024, input))
    }
}

/// Whether an address is at the server that the session is of. What gives the disk of another host is the ticket in its address:
/// with the session of a vCenter, one host could do there whatever we may.
fn is_at(base: &str, url: &str) -> bool {
    url.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'))
}

impl Drop for Lease<'_> {
    /// An open lease keeps the VM locked.
    fn drop(&mut self) {
        let method = if self.finished { "HttpNfcLeaseComplete" } else { "HttpNfcLeaseAbort" };
        let _ = self.vim.call(method, &self.reference, &Body::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_shown_to_its_own_server_only() {
        for (base, url, expected) in [
            ("https://vc.example", "https://vc.example/nfc/1/disk-0.vmdk", true),
            ("https://127.0.0.1:8989", "https://127.0.0.1:8989/nfc/1/disk-0.vmdk", true),
            ("https://vc.example", "https://esx1.example/nfc/1/disk-0.vmdk", false),
            ("https://vc.example", "https://vc.example.attacker.example/nfc", false),
            ("https://vc.example", "https://vc.example:8443/nfc", false),
            ("https://vc.example", "https://vc.example@attacker.example/nfc", false),
            ("https://vc.example", "http://vc.example/nfc", false),
        ] {
            assert_eq!(is_at(base, url), expected, "{url}");
        }
    }
}
