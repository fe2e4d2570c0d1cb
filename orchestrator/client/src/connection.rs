//! One connection: TCP, TLS, WebSocket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use jsonrpsee_client_transport::ws::WsHandshakeError;
use jsonrpsee_core::client::Error as RpcError;
use jsonrpsee_ws_client::{PingConfig, WsClient, WsClientBuilder};
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xenith_orchestrator_types::{ApiError, Reason};

use crate::{ClientError, Credential, Endpoint};

/// TCP, TLS and the WebSocket's handshake together; an orchestrator that lives needs a fraction of it.
const CONNECT: Duration = Duration::from_secs(10);
/// Longer than any method takes: what takes long is a task.
pub(crate) const ANSWER: Duration = Duration::from_secs(60);
/// A peer that is gone without a word is noticed within two of these.
const PING: Duration = Duration::from_secs(10);
/// As the orchestrator's limits.
const MAX_REQUEST: u32 = 1 << 20;
const MAX_RESPONSE: u32 = 32 << 20;
/// Messages of one subscription that wait to be read: a first list of a large installation comes in one go.
/// When it is full the subscription begins again.
const BUFFERED: usize = 16_384;

pub(crate) async fn open_tls(
    endpoint: &Endpoint,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ClientError> {
    let unreachable = |source| ClientError::Unreachable { url: endpoint.to_string(), source };
    let name = endpoint.server_name()?;
    let connect = async {
        let tcp = TcpStream::connect(endpoint.address()).await.map_err(unreachable)?;
        // Calls are small and each waits for its answer.
        tcp.set_nodelay(true).map_err(unreachable)?;
        TlsConnector::from(config).connect(name, tcp).await.map_err(|error| tls_error(endpoint, error))
    };
    timeout(CONNECT, connect).await.unwrap_or_else(|_| Err(unreachable(io::ErrorKind::TimedOut.into())))
}

pub(crate) async fn open(
    endpoint: &Endpoint,
    config: Arc<ClientConfig>,
    credential: &Credential,
) -> Result<WsClient, ClientError> {
    let stream = open_tls(endpoint, config).await?;
    let ping = PingConfig::new().ping_interval(PING).inactive_limit(PING * 2).max_failures(1);
    WsClientBuilder::new()
        .set_headers(headers(credential)?)
        .connection_timeout(CONNECT)
        .request_timeout(ANSWER)
        .max_request_size(MAX_REQUEST)
        .max_response_size(MAX_RESPONSE)
        .max_buffer_capacity_per_subscription(BUFFERED)
        .enable_ws_ping(ping)
        .build_with_stream(endpoint.web_socket(), stream)
        .await
        .map_err(|error| handshake_error(endpoint, error))
}

pub(crate) fn headers(credential: &Credential) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("xenith/", env!("CARGO_PKG_VERSION"))));
    if let Credential::Bearer(secret) = credential {
        let mut value = HeaderValue::try_from(format!("Bearer {secret}")).map_err(|_| {
            ApiError::new(Reason::Unauthenticated, "the session or token has characters that none has")
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn tls_error(endpoint: &Endpoint, error: io::Error) -> ClientError {
    let url = endpoint.to_string();
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let problem = match cause {
        None => return ClientError::Unreachable { url, source: error },
        Some(rustls::Error::InvalidCertificate(problem)) => certificate_problem(problem),
        Some(other) => {
            return ClientError::NotOrchestrator { url, problem: format!("TLS fails: {other}") };
        }
    };
    ClientError::Untrusted { url, problem }
}

fn certificate_problem(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => {
            "its certificate is neither the pinned one nor signed by an authority that is trusted".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired, or this machine's clock is wrong".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; this machine's clock may be wrong".into()
        }
        CertificateError::NotValidForName => "its certificate is for another name".into(),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "its certificate is for no name".into()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("its certificate is for other names: {}", presented.join(", "))
        }
        other => format!("its certificate is wrong: {other}"),
    }
}

fn handshake_error(endpoint: &Endpoint, error: RpcError) -> ClientError {
    let url = endpoint.to_string();
    let RpcError::Transport(cause) = error else {
        return ClientError::NotOrchestrator { url, problem: error.to_string() };
    };
    match cause.downcast_ref::<WsHandshakeError>() {
        Some(WsHandshakeError::Rejected { status_code: 401 }) => {
            ApiError::new(Reason::Unauthenticated, "the session or token is over").into()
        }
        Some(WsHandshakeError::Rejected { status_code: 403 }) => {
            ApiError::new(Reason::Forbidden, "the orchestrator refuses the connection").into()
        }
        Some(WsHandshakeError::Rejected { status_code: 429 }) => {
            ApiError::new(Reason::Throttled, "too many connections").into()
        }
        // It starts, or stops, or a proxy in front of it says so.
        Some(WsHandshakeError::Rejected { status_code: 502..=504 }) => {
            ClientError::Unreachable { url, source: io::Error::other("it is not ready") }
        }
        Some(WsHandshakeError::Rejected { status_code }) => {
            ClientError::NotOrchestrator { url, problem: format!("/rpc answers with status {status_code}") }
        }
        Some(WsHandshakeError::Redirected { location, .. }) => {
            ClientError::NotOrchestrator { url, problem: format!("it redirects to {location}") }
        }
        Some(WsHandshakeError::Timeout(_)) => {
            ClientError::Unreachable { url, source: io::ErrorKind::TimedOut.into() }
        }
        _ => ClientError::Unreachable { url, source: io::Error::other(cause.to_string()) },
    }
}
