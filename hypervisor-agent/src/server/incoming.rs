//! Connections, after both sides have shown a certificate.
//!
//! Only the orchestrator gets further than here, so no call has to ask who is there. Handshakes run beside
//! each other under a deadline and a limit: a peer that connects and says nothing delays nobody.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use xenith_common_accept::Limit;
use xenith_common_pki::{Peer, PeerCertificate};
use xenith_common_tasks::TaskSet;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// One orchestrator needs one connection; the rest is room for a second one that takes over, and for strangers.
const HANDSHAKES_AT_ONCE: usize = 32;

pub type Incoming = ReceiverStream<std::io::Result<TlsStream<TcpStream>>>;

/// Accepts until `tasks` end. A connection has its place until its handshake is over.
pub fn accept(listener: TcpListener, tls: ServerConfig, tasks: &TaskSet) -> Incoming {
    let (sender, receiver) = mpsc::channel(1);
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let limit = Limit { name: "handshake", at_once: HANDSHAKES_AT_ONCE };
    xenith_common_accept::accept(listener, limit, tasks, move |tcp, from| {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        async move {
            match tokio::time::timeout(HANDSHAKE, handshake(&acceptor, tcp)).await {
                Ok(Ok(stream)) => {
                    // An error says that the server has stopped.
                    let _stopped = sender.send(Ok(stream)).await;
                }
                Ok(Err(reason)) => tracing::warn!(%from, reason, "a connection was refused"),
                Err(_) => tracing::warn!(%from, "a connection was dropped: no handshake in time"),
            }
        }
    });
    ReceiverStream::new(receiver)
}

async fn handshake(acceptor: &TlsAcceptor, tcp: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = acceptor.accept(tcp).await.map_err(|error| error.to_string())?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let leaf = leaf.ok_or("it shows no certificate")?;
    match PeerCertificate::read(leaf).map_err(|error| error.to_string())?.peer {
        Peer::Orchestrator => Ok(stream),
        other @ Peer::Host(_) => Err(format!("{other} may not command this host")),
    }
}
