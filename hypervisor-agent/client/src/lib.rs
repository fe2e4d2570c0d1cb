//! Talking to one agent, in domain types.
//!
//! A client is cheap to clone and shares one connection, which is made when it is first needed and made
//! again when it broke; who needs to know whether the agent is there reads the [`AgentClient::watch`] stream,
//! which carries heartbeats.

mod connect;
mod console;
mod enrol;

use std::time::Duration;

use futures::Stream;
use futures::stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Status};
use xenith_common_ids::{Epoch, Generation, HostId, OperationId, VdiId};
use xenith_hypervisor_agent_api::wire::agent_client::AgentClient as WireClient;
use xenith_hypervisor_agent_api::{
    Changes, CommandResult, Envelope, Hello, MAX_MESSAGE_BYTES, PROTOCOL, Samples, VdiProgress, WireError,
    fault_from_status, ha_answer_from_wire, ha_request_to_wire, wire,
};
use xenith_hypervisor_agent_types::Fault;
use xenith_hypervisor_agent_types::backup::BackupProgress;
use xenith_hypervisor_agent_types::ha::{HaAnswer, HaRequest};

use connect::Connector;
pub use connect::{AgentAddress, CertificateCheck};
pub use console::Console;
pub use enrol::{JoinRequest, Joined, join};

/// An agent that is silent for this long on its watch stream is lost.
pub const SILENCE: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, thiserror::Error)]
pub enum AgentClientError {
    /// Nothing is known about whether the call took effect: repeat it with the same operation id.
    #[error("{address} cannot be reached: {detail}")]
    Unreachable { address: String, detail: String },
    #[error(transparent)]
    Refused(#[from] Fault),
    #[error(
        "the agent at {address} (version {version}) speaks protocol {theirs}, this orchestrator speaks {PROTOCOL}; \
         upgrade the older of the two"
    )]
    Skew { address: String, version: String, theirs: u32 },
    #[error("the certificate at {address} belongs to another host ({found})")]
    OtherHost { address: String, found: HostId },
    #[error("the agent sent something that cannot be understood ({0}); it may be of another version")]
    Garbled(#[from] WireError),
}

impl AgentClientError {
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(fault) => fault.is_retryable(),
            Self::Skew { .. } | Self::OtherHost { .. } | Self::Garbled(_) => false,
        }
    }
}

#[derive(Debug, Clone)]
pub struct AgentClient {
    wire: WireClient<Channel>,
    address: AgentAddress,
    connector: Connector,
}

/// Whether a command that runs is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    GoOn,
    Stop,
}

impl AgentClient {
    fn new(channel: Channel, address: AgentAddress, connector: Connector) -> Self {
        let wire = WireClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { wire, address, connector }
    }

    fn error(&self, status: &Status) -> AgentClientError {
        match fault_from_status(status) {
            Some(fault) => AgentClientError::Refused(fault),
            None => AgentClientError::Unreachable {
                address: self.address.address.clone(),
                detail: describe(status),
            },
        }
    }

    /// Announces our epoch and reads who is there. Refuses an agent of another protocol or host.
    pub async fn hello(&self, epoch: Epoch, version: &str) -> Result<Hello, AgentClientError> {
        let request = wire::HelloRequest {
            protocol: PROTOCOL,
            epoch: epoch.0,
            orchestrator_version: version.to_owned(),
        };
        let reply =
            self.wire.clone().hello(request).await.map_err(|status| self.error(&status))?.into_inner();
        if reply.protocol != PROTOCOL {
            return Err(AgentClientError::Skew {
                address: self.address.address.clone(),
                version: reply.agent_version,
                theirs: reply.protocol,
            });
        }
        let hello = Hello::try_from(reply)?;
        if hello.host != self.address.host {
            return Err(AgentClientError::OtherHost {
                address: self.address.address.clone(),
                found: hello.host,
            });
        }
        Ok(hello)
    }

    /// Changes since `generation` of the agent's run `instance`, heartbeats among them.
    pub async fn watch(
        &self,
        instance: &str,
        generation: Generation,
    ) -> Result<impl Stream<Item = Result<Changes, AgentClientError>> + Send + use<>, AgentClientError> {
        let request = wire::WatchRequest { instance: instance.to_owned(), generation: generation.0 };
        let stream =
            self.wire.clone().watch(request).await.map_err(|status| self.error(&status))?.into_inner();
        let client = self.clone();
        Ok(stream.map(move |reply| match reply {
            Ok(reply) => Changes::try_from(reply).map_err(AgentClientError::from),
            Err(status) => Err(client.error(&status)),
        }))
    }

    /// Samples after `number` of the agent's run `instance`, as far as it still has them, and then as they are taken.
    pub async fn metrics(
        &self,
        instance: &str,
        number: u64,
    ) -> Result<impl Stream<Item = Result<Samples, AgentClientError>> + Send + use<>, AgentClientError> {
        let request = wire::MetricsRequest { instance: instance.to_owned(), number };
        let stream =
            self.wire.clone().metrics(request).await.map_err(|status| self.error(&status))?.into_inner();
        let client = self.clone();
        Ok(stream.map(move |reply| match reply {
            Ok(reply) => Samples::try_from(reply).map_err(AgentClientError::from),
            Err(status) => Err(client.error(&status)),
        }))
    }

    /// Does one thing. Safe to repeat with the same operation id, whatever the error was.
    pub async fn execute(&self, envelope: &Envelope) -> Result<CommandResult, AgentClientError> {
        let request = wire::ExecuteRequest::from(envelope);
        let reply = self.wire.clone().execute(request).await.map_err(|status| self.error(&status))?;
        Ok(CommandResult::try_from(reply.into_inner())?)
    }

    /// How far the imports into `vdis` are; a VDI that nothing is known of is left out.
    pub async fn import_progress(&self, vdis: &[VdiId]) -> Result<Vec<VdiProgress>, AgentClientError> {
        let request = wire::ImportProgressRequest { vdi_ids: vdis.iter().map(ToString::to_string).collect() };
        let reply = self.wire.clone().import_progress(request).await.map_err(|status| self.error(&status))?;
        let progress = reply.into_inner().vdis.into_iter().map(VdiProgress::try_from);
        Ok(progress.collect::<Result<_, _>>()?)
    }

    /// How far a command that runs is, in parts of a whole; `None` when it does not run or the whole is not known.
    pub async fn progress(
        &self,
        operation: OperationId,
        epoch: Epoch,
        wish: Wish,
    ) -> Result<Option<(u64, u64)>, AgentClientError> {
        let request = wire::ProgressRequest {
            operation_id: operation.to_string(),
            epoch: epoch.0,
            cancel: wish == Wish::Stop,
        };
        let reply = self.wire.clone().progress(request).await.map_err(|status| self.error(&status))?;
        let wire::ProgressReply { running, done, total } = reply.into_inner();
        Ok((running && total > 0).then_some((done, total)))
    }

    /// How far a long command is; all zero where nothing runs under this id.
    pub async fn backup_progress(&self, operation: OperationId) -> Result<BackupProgress, AgentClientError> {
        let request = wire::BackupProgressRequest { operation_id: operation.to_string() };
        let reply = self.wire.clone().backup_progress(request).await.map_err(|status| self.error(&status))?;
        Ok(reply.into_inner().into())
    }

    /// Asks a long command to end.
    pub async fn backup_cancel(&self, operation: OperationId, epoch: Epoch) -> Result<(), AgentClientError> {
        let request = wire::BackupCancelRequest { operation_id: operation.to_string(), epoch: epoch.0 };
        self.wire.clone().backup_cancel(request).await.map_err(|status| self.error(&status))?;
        Ok(())
    }

    /// How many bytes per second a backup may write from now on; 0 for no limit. `false` where nothing runs under this id.
    pub async fn backup_pace(
        &self,
        operation: OperationId,
        epoch: Epoch,
        bandwidth: u64,
    ) -> Result<bool, AgentClientError> {
        let request =
            wire::BackupPaceRequest { operation_id: operation.to_string(), epoch: epoch.0, bandwidth };
        let reply = self.wire.clone().backup_pace(request).await.map_err(|status| self.error(&status))?;
        Ok(reply.into_inner().running)
    }

    /// A sign of life, or what a host is to be armed with. Whatever came of it is in the answer.
    pub async fn ha(&self, epoch: Epoch, request: &HaRequest) -> Result<HaAnswer, AgentClientError> {
        let request = ha_request_to_wire(epoch, request);
        let reply = self.wire.clone().ha(request).await.map_err(|status| self.error(&status))?;
        Ok(ha_answer_from_wire(&reply.into_inner())?)
    }

    /// The host makes a new key and asks for a certificate for it (PEM).
    pub async fn request_certificate(&self, epoch: Epoch) -> Result<String, AgentClientError> {
        let request = wire::RequestCertificateRequest { epoch: epoch.0 };
        let reply =
            self.wire.clone().request_certificate(request).await.map_err(|status| self.error(&status))?;
        Ok(reply.into_inner().request_pem)
    }

    pub async fn install_certificate(
        &self,
        epoch: Epoch,
        certificate_pem: String,
    ) -> Result<(), AgentClientError> {
        let request = wire::InstallCertificateRequest { epoch: epoch.0, certificate_pem };
        self.wire.clone().install_certificate(request).await.map_err(|status| self.error(&status))?;
        Ok(())
    }
}

/// The innermost cause: tonic's own words ("transport error") help nobody.
fn describe(status: &Status) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(error) = cause {
        innermost = Some(error.to_string());
        cause = error.source();
    }
    match (innermost, status.code()) {
        (Some(detail), _) => detail,
        (None, Code::DeadlineExceeded | Code::Cancelled) => "it did not answer in time".to_owned(),
        (None, _) => status.message().to_owned(),
    }
}
