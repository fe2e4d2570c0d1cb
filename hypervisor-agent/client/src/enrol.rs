//! The other direction, once: a new agent joins its orchestrator.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;
use xenith_common_ids::HostId;
use xenith_common_pki::{Fingerprint, Peer, pinned_client_config};
use xenith_hypervisor_agent_api::wire::enrolment_client::EnrolmentClient;
use xenith_hypervisor_agent_api::{JoinToken, PROTOCOL, WireError, fault_from_status, wire};
use xenith_hypervisor_agent_types::FaultReason;

use crate::{AgentClientError, describe};

/// What a host says of itself when it joins.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    pub certificate_request_pem: String,
    pub hostname: String,
    /// Where the orchestrator can reach the agent; an empty host stands for the address that it calls from.
    pub address: String,
    pub agent_version: String,
}

/// What it gets.
#[derive(Debug, Clone)]
pub struct Joined {
    pub host: HostId,
    pub certificate_pem: String,
    pub authority_pem: String,
}

/// Spends the token. The connection is made to nobody but who holds the authority of the token's
/// fingerprint; the secret is not sent otherwise.
pub async fn join(token: &JoinToken, request: JoinRequest) -> Result<Joined, AgentClientError> {
    let unreachable =
        |detail: String| AgentClientError::Unreachable { address: token.address.clone(), detail };
    let pin: Fingerprint = token
        .fingerprint
        .parse()
        .map_err(|error: xenith_common_pki::PkiError| unreachable(error.to_string()))?;
    let tls = pinned_client_config(pin, &[b"h2"]).map_err(|error| unreachable(error.to_string()))?;
    let tls = Arc::new(tls);
    let address = token.address.clone();
    let connector = service_fn(move |_: Uri| {
        let (tls, address) = (Arc::clone(&tls), address.clone());
        async move {
            let tcp = TcpStream::connect(&address).await?;
            let stream = TlsConnector::from(tls).connect(Peer::Orchestrator.server_name(), tcp).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("http://orchestrator")
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(30))
        .connect_with_connector_lazy(connector);
    let request = wire::JoinRequest {
        protocol: PROTOCOL,
        secret: token.secret.clone(),
        certificate_request_pem: request.certificate_request_pem,
        hostname: request.hostname,
        address: request.address,
        agent_version: request.agent_version,
    };
    let reply =
        EnrolmentClient::new(channel).join(request).await.map_err(|status| {
            match fault_from_status(&status) {
                Some(fault) => AgentClientError::Refused(fault),
                None => unreachable(describe(&status)),
            }
        })?;
    let reply = reply.into_inner();
    let host = reply.host_id.parse().map_err(|error: xenith_common_ids::ParseIdError| WireError {
        field: "host_id".to_owned(),
        problem: error.to_string(),
        reason: FaultReason::Invalid,
    })?;
    Ok(Joined { host, certificate_pem: reply.certificate_pem, authority_pem: reply.authority_pem })
}
