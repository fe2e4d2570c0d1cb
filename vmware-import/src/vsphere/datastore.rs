//! Files of a datastore over `/folder`, read by ranges on several connections.
//!
//! Reads are gathered into blocks of 2 MiB, the engine's stretch, so that a request is worth its round trip; as
//! many blocks are kept as there may be workers. A 503 or a connection that broke is tried again with growing
//! pauses, a session that expired is opened again.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Response;

use super::client::Vim;
use crate::bytes::{ByteSource, Folder, check, check_plain};
use crate::error::{ImportError, Result, Retry};

const BLOCK: u64 = 2 * 1024 * 1024;
const SLOTS: usize = 8;
const TRIES: u32 = 6;

type Slot = Mutex<Option<(u64, Vec<u8>)>>;

/// One file.
pub struct DatastoreFile {
    vim: Arc<Vim>,
    url: String,
    name: String,
    len: u64,
    etag: String,
    slots: Vec<Slot>,
}

impl DatastoreFile {
    /// Opens `path` (`[datastore] folder/file`) of `datacenter`, whose name is needed by vCenter only.
    pub fn open(vim: Arc<Vim>, path: &str, datacenter: &str) -> Result<Self> {
        let split = path.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let Some((datastore, file)) = split else {
            return Err(ImportError::Usage(format!("{path:?} is not of the form [datastore] folder/file")));
        };
        let file = file.trim_start();
        let escaped: Vec<String> = file.split('/').map(percent).collect();
        let mut url = format!("{}/folder/{}?dsName={}", vim.base(), escaped.join("/"), percent(datastore));
        if !datacenter.is_empty() {
            url.push_str(&format!("&dcPath={}", percent(datacenter)));
        }
        let slots = (0..SLOTS).map(|_| Mutex::new(None)).collect();
        let mut opened = Self { vim, url, name: path.to_owned(), len: 0, etag: String::new(), slots };
        let response = opened.request(None)?;
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        opened.len = header("content-length").parse().unwrap_or(0);
        opened.etag = [header("etag"), header("last-modified")].join(" ");
        Ok(opened)
    }

    /// `None`: only the headers.
    fn request(&self, range: Option<(u64, u64)>) -> Result<Response> {
        let mut last = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(100 << attempt));
            }
            let request = match range {
                None => self.vim.http().head(&self.url),
                Some((start, end)) => {
                    self.vim.http().get(&self.url).header("Range", format!("bytes={start}-{}", end - 1))
                }
            };
            let response = match request.header("Cookie", self.vim.cookie()).send() {
                Ok(response) => response,
                Err(error) => {
                    last = Some(self.vim.transport("GET /folder", &error));
                    continue;
                }
            };
            let detail = format!("{} for {}", response.status(), self.name);
            match response.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(response),
                StatusCode::UNAUTHORIZED => self.vim.login()?,
                StatusCode::NOT_FOUND => {
                    return Err(ImportError::Missing {
                        file: self.vim.base().to_owned(),
                        name: self.name.clone(),
                    });
                }
                status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {}
                _ => return Err(self.vim.error("GET /folder", detail, Retry::Never)),
            }
            last = Some(self.vim.error("GET /folder", detail, Retry::Later));
        }
        Err(last.unwrap_or(ImportError::Cancelled))
    }

    fn block(&self, start: u64) -> Result<Vec<u8>> {
        let end = (start + BLOCK).min(self.len);
        let mut last = None;
        for _ in 0..TRIES {
            let response = self.request(Some((start, end)))?;
            let partial = response.status() == StatusCode::PARTIAL_CONTENT || (start == 0 && end == self.len);
            if !partial {
                let detail = format!("the whole of {} instead of a range", self.name);
                return Err(self.vim.error("GET /folder", detail, Retry::Never));
            }
            let mut bytes = Vec::with_capacity((end - start) as usize);
            match response.take(end - start).read_to_end(&mut bytes) {
                Ok(_) if bytes.len() as u64 == end - start => return Ok(bytes),
                Ok(_) => last = Some("a range that was too short".to_owned()),
                Err(error) => last = Some(format!("a range that broke off: {error}")),
            }
        }
        Err(self.vim.error("GET /folder", last.unwrap_or_default(), Retry::Later))
    }
}

fn percent(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if safe(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

impl ByteSource for DatastoreFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, field: &'static str, offset: u64, buf: &mut [u8]) -> Result<()> {
        check(self, field, offset, buf.len() as u64)?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let start = at - at % BLOCK;
            let slot = &self.slots[(start / BLOCK) as usize % SLOTS];
            // Held while the block is fetched: who wants the same block waits for it instead of asking twice.
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if slot.as_ref().is_none_or(|(have, _)| *have != start) {
                *slot = Some((start, self.block(start)?));
            }
            let bytes = slot.as_ref().map_or(&[][..], |(_, bytes)| bytes);
            let from = (at - start) as usize;
            let len = (bytes.len() - from).min(buf.len() - done);
            buf[done..done + len].copy_from_slice(&bytes[from..from + len]);
            done += len;
        }
        Ok(())
    }

    fn identity(&self) -> String {
        format!("{}:{}:{}", self.url, self.len, self.etag)
    }
}

/// The folder of a VM on its datastore.
pub struct DatastoreFolder {
    pub vim: Arc<Vim>,
    /// `[datastore] folder`.
    pub folder: String,
    pub datacenter: String,
}

impl Folder for DatastoreFolder {
    fn open(&self, from: &str, field: &'static str, name: &str) -> Result<Arc<dyn ByteSource>> {
        check_plain(from, field, name)?;
        let path = format!("{}/{name}", self.folder.trim_end_matches('/'));
        Ok(Arc::new(DatastoreFile::open(Arc::clone(&self.vim), &path, &self.datacenter)?))
    }
}
