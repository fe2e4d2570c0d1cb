//! The traits of `xenstore-rs`, for code that is written against them.
//!
//! Not implemented: its transaction traits. They name a *blocking* `Xs` as the span of an asynchronous
//! transaction, which cannot be had over one asynchronous connection.

use std::io;

use futures::{Stream, StreamExt};
use xenstore_rs::{AsyncWatch, AsyncXs};

use crate::connection::{WatchEvent, Xenstore};
use crate::nodes::Nodes;
use crate::transaction::Transaction;

async fn boxed_list(nodes: &Nodes, path: &str) -> io::Result<Vec<Box<str>>> {
    Ok(nodes.list(path).await?.into_iter().map(String::into_boxed_str).collect())
}

macro_rules! async_xs {
    ($type:ty) => {
        impl AsyncXs for $type {
            async fn directory(&self, path: &str) -> io::Result<Vec<Box<str>>> {
                boxed_list(&self.nodes, path).await
            }

            async fn read(&self, path: &str) -> io::Result<Box<str>> {
                Ok(self.nodes.read_text(path).await?.into_boxed_str())
            }

            async fn write(&self, path: &str, data: &str) -> io::Result<()> {
                Ok(self.nodes.write_bytes(path, data.as_bytes()).await?)
            }

            async fn rm(&self, path: &str) -> io::Result<()> {
                Ok(self.nodes.remove(path).await?)
            }
        }
    };
}

async_xs!(Xenstore);
async_xs!(Transaction);

impl AsyncWatch for Xenstore {
    /// The trait knows paths only, so both markers become the watched path itself: "look there, and below".
    async fn watch(&self, path: &str) -> io::Result<impl Stream<Item = Box<str>> + Unpin + 'static> {
        let watched: Box<str> = path.into();
        Ok(self.watch_path(path).await?.map(move |event| match event {
            WatchEvent::Changed(path) => path,
            WatchEvent::Lagged | WatchEvent::Resync => watched.clone(),
        }))
    }
}
