//! A web server for the machines of the test: what starts over the network, what is upgraded to.
//!
//! What always holds: it ends with its handle, and so do the threads that answer, one for each request: nobody may be silent
//! for longer than [`SILENCE`]. It knows only the files that it was given.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A machine that went away in the middle must not hold up the next one.
const SILENCE: Duration = Duration::from_secs(120);
/// Of a request, the rest is not read.
const LONGEST_LINE: u64 = 4096;

enum Content {
    Text(String),
    File(PathBuf),
}

#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Content>>,
    asked: Mutex<Vec<String>>,
    ending: AtomicBool,
}

/// A running server.
pub struct Web {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("web".into())
            .spawn(move || {
                std::thread::scope(|scope| {
                    for stream in listener.incoming().flatten() {
                        if serving.ending.load(Ordering::Relaxed) {
                            return;
                        }
                        let serving = &serving;
                        // A client that went away asks again.
                        scope.spawn(move || drop(answer(&stream, serving)));
                    }
                });
            })
            .context("cannot start the web server")?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where a machine in QEMU's user network finds it.
    pub fn url(&self, path: &str) -> String {
        format!("http://10.0.2.2:{}/{path}", self.address.port())
    }

    pub fn put_text(&self, path: &str, text: String) {
        self.put(path, Content::Text(text));
    }

    pub fn put_file(&self, path: &str, file: &Path) {
        self.put(path, Content::File(file.to_owned()));
    }

    fn put(&self, path: &str, content: Content) {
        let mut files = self.shared.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(path.to_owned(), content);
    }

    /// Fails unless all of these were asked for, and says what was.
    pub fn were_asked_for(&self, paths: &[&str]) -> Result<()> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for path in paths {
            if !asked.iter().any(|line| line == path) {
                bail!("nobody fetched {path}; fetched were: {}", asked.join(", "));
            }
        }
        Ok(())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        // Wakes the thread, which then sees that it is over.
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _printed = thread.join();
        }
    }
}

fn answer(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut lines = BufReader::new(stream.take(LONGEST_LINE * 16));
    let mut first = String::new();
    lines.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.trim_start_matches('/').to_owned();
    let (mut content, length) = {
        let files = shared.files.lock().unwrap_or_else(PoisonError::into_inner);
        match files.get(&path) {
            Some(Content::Text(text)) => {
                let bytes = text.clone().into_bytes();
                let length = bytes.len() as u64;
                (Box::new(io::Cursor::new(bytes)) as Box<dyn Read>, length)
            }
            Some(Content::File(file)) => {
                let file = File::open(file)?;
                let length = file.metadata()?.len();
                (Box::new(file) as Box<dyn Read>, length)
            }
            None => {
                let mut out = stream;
                return out
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    };
    let mut out = stream;
    write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    if method != "HEAD" {
        io::copy(&mut content, &mut out)?;
        shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }
    Ok(())
}

#[test]
fn files_are_served_and_what_was_fetched_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    std::fs::write(&file, "from a file").unwrap();
    let web = Web::start().unwrap();
    web.put_text("text", "a text".into());
    web.put_file("live/a", &file);
    let get = |path: &str| {
        let mut stream = TcpStream::connect(web.address).unwrap();
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    };
    assert!(get("text").ends_with("\r\n\r\na text"));
    assert!(get("live/a").contains("Content-Length: 11\r\n"));
    assert!(get("none").starts_with("HTTP/1.1 404"));
    web.were_asked_for(&["text", "live/a"]).unwrap();
    let error = web.were_asked_for(&["none"]).unwrap_err().to_string();
    assert!(error.contains("nobody fetched none") && error.contains("live/a"), "{error}");
}
