//! Files of a datastore over `/folder`, read by ranges on several connections.
//!
//! Small reads are gathered into blocks ([`Gathered`]). A 503 or a connection that broke is tried again with growing
//! pauses; a session that expired is opened again, by one of those that met it. A file that does not let itself be read
//! at all is found out when it is opened (a running VM's own file is locked: its host answers 500 to every request), so
//! that another way is taken before anything was copied.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Response;

use super::client::Vim;
use crate::bytes::gathered::{Gathered, LARGE};
use crate::bytes::{ByteSource, Folder, check, check_plain};
use crate::error::{ImportError, Result, Retry};

const TRIES: u32 = 6;
/// What errors name.
const CALL: &str = "GET /folder";

/// Why something is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// To find out whether it can be read.
    Opening,
    /// It could be read before.
    Reading,
}

/// One file.
pub struct DatastoreFile {
    vim: Arc<Vim>,
    url: String,
    name: String,
    len: u64,
    etag: String,
    gathered: Gathered,
}

impl DatastoreFile {
    /// Opens `path` (`[datastore] folder/file`) of `datacenter`, whose path is needed by vCenter only.
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
        let (name, etag, gathered) = (path.to_owned(), String::new(), Gathered::default());
        let mut opened = Self { vim, url, name, len: 0, etag, gathered };
        let response = opened.request(None, Asked::Opening)?;
        let header =
            |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        opened.len = header("content-length").parse().unwrap_or(0);
        opened.etag = [header("etag"), header("last-modified")].join(" ");
        if opened.len > 0 {
            // Headers are given of files that are locked, too.
            let mut bytes = vec![0; LARGE.min(opened.len) as usize];
            opened.fetch(0, &mut bytes, Asked::Opening)?;
            opened.gathered.keep(0, bytes);
        }
        Ok(opened)
    }

    /// `None`: only the headers.
    fn request(&self, range: Option<(u64, u64)>, asked: Asked) -> Result<Response> {
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
            let cookie = self.vim.cookie();
            let response = match request.header("Cookie", &cookie).send() {
                Ok(response) => response,
                Err(error) => {
                    last = Some(self.vim.transport(CALL, &error));
                    continue;
                }
            };
            let detail = format!("{} for {}", response.status(), self.name);
            match response.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(response),
                StatusCode::UNAUTHORIZED => self.vim.login_after(&cookie)?,
                StatusCode::NOT_FOUND if asked == Asked::Opening => {
                    return Err(ImportError::Missing {
                        file: self.vim.base().to_owned(),
                        name: self.name.clone(),
                    });
                }
                // Once more, in case it was only busy: a lock does not go away.
                StatusCode::INTERNAL_SERVER_ERROR if asked == Asked::Opening && attempt > 0 => {
                    return Err(self.vim.error(CALL, detail, Retry::Never));
                }
                status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {}
                // A host went away, or the disk was moved: the next try of the pass looks for it anew.
                _ if asked == Asked::Reading => {}
                _ => return Err(self.vim.error(CALL, detail, Retry::Never)),
            }
            last = Some(self.vim.error(CALL, detail, Retry::Later));
        }
        Err(last.unwrap_or(ImportError::Cancelled))
    }

    /// Fills `buf` from `start`; all of it lies in the file.
    fn fetch(&self, start: u64, buf: &mut [u8], asked: Asked) -> Result<()> {
        let end = start + buf.len() as u64;
        let mut last = None;
        for _ in 0..TRIES {
            let mut response = self.request(Some((start, end)), asked)?;
            let partial = response.status() == StatusCode::PARTIAL_CONTENT || (start == 0 && end == self.len);
            if !partial {
                let detail = format!("the whole of {} instead of a range", self.name);
                return Err(self.vim.error(CALL, detail, Retry::Never));
            }
            if let Some(found) = start_of(&response)
                && found != start
            {
                last = Some(format!("a range from byte {found}, asked for was {start}"));
                continue;
            }
            match response.read_exact(buf) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(format!("a range that broke off: {error}")),
            }
        }
        Err(self.vim.error(CALL, last.unwrap_or_default(), Retry::Later))
    }
}

/// Where the answer says that it begins.
fn start_of(response: &Response) -> Option<u64> {
    let told = response.headers().get("content-range")?.to_str().ok()?;
    told.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// Whether this error of an opening says that the file cannot be had over `/folder`, now or later: another way is
/// needed.
#[must_use]
pub fn is_refusal(error: &ImportError) -> bool {
    match error {
        ImportError::Server { call, retry, .. } => *call == CALL && *retry == Retry::Never,
        // Files of vSAN and of virtual volumes are not listed; a journal that was not replayed is no matter to an export;
        // a linked clone has its parent in another VM's folder, where we do not look.
        ImportError::Missing { .. } | ImportError::Unsupported { .. } | ImportError::Outside { .. } => true,
        // A chain that somebody's backup is merging: the host knows which file is of which, and when.
        ImportError::ParentMismatch { .. } => true,
        _ => false,
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
        let fetch = |start: u64, buf: &mut [u8]| self.fetch(start, buf, Asked::Reading);
        self.gathered.read(self.len, (offset, buf), &fetch)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_way_is_taken_where_this_one_leads_nowhere() {
        let text = || "disk.vmdk".to_owned();
        let mismatch = || ImportError::ParentMismatch {
            child: text(),
            parent: text(),
            expected: "00000001".to_owned(),
            found: "00000002".to_owned(),
        };
        let server = |call, retry| ImportError::Server { server: text(), call, detail: text(), retry };
        for (name, error, expected) in [
            ("locked", server(CALL, Retry::Never), true),
            ("busy", server(CALL, Retry::Later), false),
            ("a fault of another call", server("Login", Retry::Never), false),
            ("not listed", ImportError::Missing { file: text(), name: text() }, true),
            ("a linked clone", ImportError::Outside { file: text(), field: "parent", name: text() }, true),
            ("an open journal", ImportError::unsupported("disk.vmdk", "a journal", "wait"), true),
            ("a chain that is merged", mismatch(), true),
            ("damaged", ImportError::damaged("disk.vmdk", 0, "grain", "is wrong"), false),
        ] {
            assert_eq!(is_refusal(&error), expected, "{name}");
        }
    }
}
