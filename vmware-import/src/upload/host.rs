//! The listener of a host that takes a disk, as who sends to it sees it.
//!
//! What always holds: a call blocks, and whatever it began ends with it. The connection lives on the calling thread and no
//! other, and is dropped with the call: a body that the host did not want to the end lets go of its pipe, and who writes
//! into that is told.
//!
//! Rejected: `reqwest`'s own blocking client. It takes a body by 8 KiB, and hands each of these over to another thread,
//! which cost four times as much as encrypting them.

use std::io;

use bytes::Bytes;
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use tokio::runtime::Builder;

use crate::error::{ImportError, Result};

#[derive(Debug, Clone)]
pub struct ReceivingHost(Client);

/// What the host answered, whole.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
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
            let status = response.status();
            Ok::<_, reqwest::Error>(Reply { status, body: response.bytes().await? })
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
