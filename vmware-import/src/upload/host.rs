//! The listener of a host that takes a disk, as who sends to it sees it.
//!
//! What always holds: a call blocks, and whatever it began ends with it. The connection lives on the calling thread and no
//! other, and is dropped with the call: a body that the host did not want to the end lets go of its pipe, and who writes
//! into that is told.
//!
//! Rejected: `reqwest`'s own blocking client. It takes a body by 8 KiB, and hands each of these over to another thread.

use std::io;

use bytes::Bytes;
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use tokio::runtime::Builder;

use super::pack::Takes;
use crate::error::{ImportError, Result};

#[derive(Debug, Clone)]
pub struct ReceivingHost(Client);

/// What the host answered, whole.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    /// The frames that it takes.
    pub takes: Takes,
    body: Bytes,
}

impl ReceivingHost {
    pub fn new(http: ClientBuilder) -> Result<Self> {
        // One that is kept would have nobody to look after it between two calls.
        http.pool_max_idle_per_host(0).build().map(Self).map_err(failed)
    }

    /// Makes a request and waits for the answer to it. Blocks: not for async tasks.
    pub fn ask(&self, request: impl FnOnce(&Client) -> RequestBuilder) -> Result<Reply> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ImportError::io("prepare", "a connection", error))?;
        let answered = async {
            let response = request(&self.0).send().await?;
            let (status, takes) = (response.status(), Takes::said_in(response.headers()));
            Ok::<_, reqwest::Error>(Reply { status, takes, body: response.bytes().await? })
        };
        runtime.block_on(answered).map_err(failed)
    }
}

impl Reply {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// What the host says is wrong; its status where it says nothing.
    #[must_use]
    pub fn problem(&self) -> String {
        let told = self.json::<serde_json::Value>().ok();
        let told = told.and_then(|body| body["error"].as_str().map(ToOwned::to_owned));
        told.unwrap_or_else(|| self.status.to_string())
    }
}

fn failed(error: reqwest::Error) -> ImportError {
    ImportError::io("reach", "the host", io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, mpsc};
    use std::thread;

    use rustls::crypto::aws_lc_rs;
    use rustls::{ClientConfig, RootCertStore};

    use super::super::pipe;
    use super::*;

    /// Nothing here is encrypted, so nobody has to be trusted.
    fn host() -> ReceivingHost {
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        ReceivingHost::new(ClientBuilder::new().tls_backend_preconfigured(tls).no_proxy()).unwrap()
    }

    /// Answers one request when it has its head, and reads no more of it for as long as the other end of `held` is there.
    fn answering(head: &'static str, body: &'static str, held: mpsc::Receiver<()>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut asked, mut byte) = (Vec::new(), [0]);
            while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                asked.push(byte[0]);
            }
            write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
            let _over = held.recv();
        });
        url
    }

    #[test]
    fn a_host_that_does_not_want_all_of_it_ends_who_writes() {
        let (hold, held) = mpsc::channel();
        let url = answering("409 Conflict", r#"{"error":"busy"}"#, held);
        let (mut writer, pieces) = pipe();
        let writing = thread::spawn(move || {
            loop {
                if let Err(error) = writer.write_all(&[1; 1 << 16]) {
                    return error.kind();
                }
            }
        });
        let reply = host().ask(|http| http.put(&url).body(pieces)).unwrap();
        assert_eq!((reply.status, &*reply.problem()), (StatusCode::CONFLICT, "busy"));
        assert_eq!(writing.join().unwrap(), io::ErrorKind::BrokenPipe);
        drop(hold);
    }

    #[test]
    fn which_frames_a_host_takes_is_in_its_answer() {
        for (head, takes) in [("200 OK", Takes::Plain), ("200 OK\r\nAccept-Frames: zstd", Takes::Zstd)] {
            let (hold, held) = mpsc::channel();
            let url = answering(head, "{}", held);
            let reply = host().ask(|http| http.get(&url)).unwrap();
            assert_eq!((reply.status, reply.takes), (StatusCode::OK, takes), "{head}");
            drop(hold);
        }
    }

    #[test]
    fn nobody_there_is_an_error_with_its_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = host().ask(|http| http.get(&url)).unwrap_err();
        assert!(xenith_common_text::chain(&error).contains("cannot reach the host"), "{error:?}");
    }
}
