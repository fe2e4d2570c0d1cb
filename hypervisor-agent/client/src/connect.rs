//! Reaching an agent: TCP, then TLS with both certificates checked, then HTTP/2.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;
use xenith_common_ids::HostId;
use xenith_common_pki::{Peer, PeerCertificate};

use crate::AgentClient;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds a peer that vanished without a word: the next call fails within these two, not within TCP's minutes.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where an agent is and who it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentAddress {
    pub host: HostId,
    /// `host:port`
    pub address: String,
}

/// A last word on a certificate that TLS found valid: revocation. `Err` is the reason, for people.
pub type CertificateCheck = Arc<dyn Fn(&PeerCertificate) -> Result<(), String> + Send + Sync>;

/// What every connection to an agent needs.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Arc<ClientConfig>,
    check: CertificateCheck,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl AgentClient {
    /// A client that connects when it is first used. `tls` is [`xenith_common_pki::client_config`]'s.
    #[must_use]
    pub fn connect(address: AgentAddress, tls: Arc<ClientConfig>, check: CertificateCheck) -> Self {
        let parts = Connector { tls: Arc::clone(&tls), check: Arc::clone(&check) };
        let target = address.clone();
        let connector = service_fn(move |_: Uri| {
            let (target, tls, check) = (target.clone(), Arc::clone(&tls), Arc::clone(&check));
            async move { open(&target, tls, &check).await.map(TokioIo::new) }
        });
        // The address of the URI is not used: the connector knows where to go.
        let channel = Endpoint::from_static("http://agent")
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            .connect_with_connector_lazy(connector);
        Self::new(channel, address, parts)
    }

    /// The same agent over a connection of its own: for streams that may stand still, because all streams of
    /// one connection share its window.
    #[must_use]
    pub fn apart(&self) -> Self {
        let Connector { tls, check } = self.connector.clone();
        Self::connect(self.address.clone(), tls, check)
    }
}

async fn open(
    target: &AgentAddress,
    tls: Arc<ClientConfig>,
    check: &CertificateCheck,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(&target.address).await?;
    tcp.set_nodelay(true)?;
    let stream = TlsConnector::from(tls).connect(Peer::Host(target.host).server_name(), tcp).await?;
    let refuse = |reason: &dyn fmt::Display| {
        io::Error::new(io::ErrorKind::PermissionDenied, format!("its certificate is refused: {reason}"))
    };
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let leaf = leaf.ok_or_else(|| refuse(&"there is none"))?;
    let certificate = PeerCertificate::read(leaf).map_err(|error| refuse(&error))?;
    check(&certificate).map_err(|reason| refuse(&reason))?;
    Ok(stream)
}
