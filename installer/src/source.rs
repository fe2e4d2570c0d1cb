//! Where answers are found: by URL on the kernel's command line, on a volume of their own, or on the medium.
//!
//! The first that is there counts, even when it is wrong: an answers file that does not fit ends in a message, never in
//! another file's installation.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::image::hex;

/// Label of a volume that holds answers.
pub const LABEL: &str = "XENITH-ANSWERS";
/// As much of it as a FAT can hold: eleven characters.
const LABEL_FAT: &str = "XENITH-ANSW";
pub const FILE: &str = "answers.toml";
/// Answers are a page of text.
const LIMIT: u64 = 256 * 1024;
const MEDIUM: &str = "/run/live/medium";
const MOUNT: &str = "/run/xenith/answers";
const FETCH_LIMIT: Duration = Duration::from_secs(30);
/// A link is up long before its address is there: DHCP takes seconds, and a switch with spanning tree forwards nothing for 30.
const PATIENCE: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_secs(2);

/// A file and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub from: String,
    pub text: String,
}

impl Found {
    /// By which the same answers are known again.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(self.text.as_bytes()))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{from} is larger than {limit} bytes, or not text")]
    NoText { from: String, limit: u64 },
    #[error("cannot fetch {url}: {detail}")]
    Fetch { url: String, detail: String },
    #[error(
        "the kernel's command line names answers ({url}) without their hash; add xenith.answers.sha256=…"
    )]
    NoHash { url: String },
    #[error("{url} has the hash {found}, not {expected} as the kernel's command line says; it is not used")]
    OtherHash { url: String, found: String, expected: String },
    #[error("cannot mount the volume {LABEL}: {said}")]
    Mount { said: String },
}

/// Answers, if there are any. `Ok(None)`: somebody has to sit at the console.
pub fn find() -> Result<Option<Found>, SourceError> {
    let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if let Some(wanted) = by_url(&cmdline)? {
        return fetch(&wanted, PATIENCE).map(Some);
    }
    let labelled = [LABEL, LABEL_FAT].map(|label| Path::new("/dev/disk/by-label").join(label));
    if let Some(volume) = labelled.iter().find(|volume| volume.exists()) {
        mount(volume)?;
        return read(&Path::new(MOUNT).join(FILE)).map(Some);
    }
    let on_medium = Path::new(MEDIUM).join(FILE);
    if on_medium.exists() { read(&on_medium).map(Some) } else { Ok(None) }
}

/// What the kernel's command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    url: String,
    sha256: String,
}

fn by_url(cmdline: &str) -> Result<Option<Wanted>, SourceError> {
    let value = |name: &str| cmdline.split_whitespace().find_map(|word| word.strip_prefix(name));
    let Some(url) = value("xenith.answers=") else { return Ok(None) };
    let url = url.to_owned();
    match value("xenith.answers.sha256=") {
        Some(sha256) => Ok(Some(Wanted { url, sha256: sha256.to_ascii_lowercase() })),
        None => Err(SourceError::NoHash { url }),
    }
}

/// Tries until somebody answers, for as long as `patience`. What is answered counts.
fn fetch(wanted: &Wanted, patience: Duration) -> Result<Found, SourceError> {
    let url = &wanted.url;
    let failed = |detail: String| SourceError::Fetch { url: url.clone(), detail };
    let client = reqwest::blocking::Client::builder()
        .timeout(FETCH_LIMIT)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let deadline = Instant::now() + patience;
    let answer = loop {
        match client.get(url).send() {
            Err(error) if Instant::now() < deadline && !error.is_builder() => thread::sleep(AGAIN),
            answer => break answer,
        }
    };
    let answer = answer
        .and_then(reqwest::blocking::Response::error_for_status)
        .map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    answer.take(LIMIT + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    let found = hex(&Sha256::digest(&bytes));
    if found != wanted.sha256 {
        return Err(SourceError::OtherHash { url: url.clone(), found, expected: wanted.sha256.clone() });
    }
    text(url.clone(), bytes)
}

fn mount(volume: &Path) -> Result<(), SourceError> {
    let failed = |said: String| SourceError::Mount { said };
    fs::create_dir_all(MOUNT).map_err(|error| failed(error.to_string()))?;
    let output = Command::new("mount")
        .args(["-o", "ro,nosuid,nodev,noexec"])
        .arg(volume)
        .arg(MOUNT)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    // 32: mounted already, by the attempt before.
    if output.status.success() || said.contains("already mounted") { Ok(()) } else { Err(failed(said)) }
}

fn read(path: &Path) -> Result<Found, SourceError> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
    text(path.display().to_string(), bytes)
}

fn text(from: String, bytes: Vec<u8>) -> Result<Found, SourceError> {
    if bytes.len() as u64 > LIMIT {
        return Err(SourceError::NoText { from, limit: LIMIT });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Found { from, text }),
        Err(_) => Err(SourceError::NoText { from, limit: LIMIT }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_url_counts_only_with_its_hash() {
        assert_eq!(by_url("quiet boot=live").unwrap(), None);
        assert!(matches!(by_url("xenith.answers=http://h/a"), Err(SourceError::NoHash { .. })));
        let wanted = by_url("a xenith.answers=http://h/a xenith.answers.sha256=AB b").unwrap().unwrap();
        assert_eq!(wanted, Wanted { url: "http://h/a".into(), sha256: "ab".into() });
    }

    const SOON: Duration = Duration::ZERO;

    #[test]
    fn a_server_that_cannot_be_reached_yet_is_asked_again() {
        xenith_common_pki::install_provider();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let wanted = Wanted {
            url: format!("http://{free}/answers.toml"),
            sha256: hex(&Sha256::digest(b"version = 1\n")),
        };
        assert!(matches!(fetch(&wanted, SOON), Err(SourceError::Fetch { .. })));
        let serving = std::thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            answer_once(&TcpListener::bind(free).unwrap(), "200 OK", "version = 1\n");
        });
        assert_eq!(fetch(&wanted, PATIENCE).unwrap().text, "version = 1\n");
        serving.join().unwrap();
    }

    fn answer_once(listener: &TcpListener, status: &str, body: &str) {
        let (mut peer, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _read = peer.read(&mut request).unwrap();
        let length = body.len();
        write!(peer, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .unwrap();
    }

    /// Serves one answer.
    fn serve(status: &'static str, body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/answers.toml", listener.local_addr().unwrap());
        std::thread::spawn(move || answer_once(&listener, status, body));
        url
    }

    #[test]
    fn what_is_fetched_must_be_what_was_pinned() {
        xenith_common_pki::install_provider();
        let right = hex(&Sha256::digest(b"version = 1\n"));
        let wanted = Wanted { url: serve("200 OK", "version = 1\n"), sha256: right.clone() };
        assert_eq!(fetch(&wanted, SOON).unwrap().text, "version = 1\n");
        let wanted = Wanted { url: serve("200 OK", "version = 2\n"), sha256: right.clone() };
        assert!(matches!(fetch(&wanted, SOON), Err(SourceError::OtherHash { .. })));
        let wanted = Wanted { url: serve("404 Not Found", ""), sha256: right };
        let error = fetch(&wanted, SOON).unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
    }

    #[test]
    fn a_file_has_its_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, vec![b'#'; LIMIT as usize + 1]).unwrap();
        assert!(matches!(read(&path), Err(SourceError::NoText { .. })));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(read(&path), Err(SourceError::NoText { .. })));
        assert!(matches!(read(&dir.path().join("none")), Err(SourceError::Read { .. })));
    }
}
