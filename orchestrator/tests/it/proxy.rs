//! A way between orchestrator and agent that can fall silent: connections stay open, and nothing comes through.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Through,
    Held,
}

pub struct Proxy {
    pub address: SocketAddr,
    flow: watch::Sender<Flow>,
    serving: JoinHandle<()>,
}

impl Proxy {
    pub fn to(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let flow = watch::Sender::new(Flow::Through);
        let watched = flow.clone();
        let serving = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let flow = watched.subscribe();
                tokio::spawn(async move {
                    if through(&mut flow.clone()).await
                        && let Ok(far) = TcpStream::connect(target).await
                    {
                        let (near, far) = (near.into_split(), far.into_split());
                        tokio::join!(forward(near.0, far.1, flow.clone()), forward(far.0, near.1, flow));
                    }
                });
            }
        });
        Self { address, flow, serving }
    }

    /// From here on nothing comes through, and nothing is closed.
    pub fn hold(&self) {
        self.flow.send_replace(Flow::Held);
    }

    /// What was held comes through, and what follows.
    pub fn let_through(&self) {
        self.flow.send_replace(Flow::Through);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Waits until something may come through. Whether the proxy is still there.
async fn through(flow: &mut watch::Receiver<Flow>) -> bool {
    flow.wait_for(|flow| *flow == Flow::Through).await.is_ok()
}

/// One direction, its end included.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flow: watch::Receiver<Flow>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if !through(&mut flow).await || read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
