//! The gRPC side: decode, check the fence, hand on, encode. No decisions.

mod console;
mod incoming;
mod metrics;
mod storage;
mod watch;

use std::sync::Arc;

use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};
use xenith_common_ids::{Epoch, Generation, OperationId};
use xenith_common_tasks::{CancellationToken, TaskSet};
use xenith_hypervisor_agent_api::wire::agent_server::{Agent as WireAgent, AgentServer};
use xenith_hypervisor_agent_api::{
    Command, CommandResult, Envelope, Hello, MAX_MESSAGE_BYTES, PROTOCOL, VmAction, ha_answer_to_wire,
    ha_request_from_wire, status_from_fault, vdi_ids, wire,
};
use xenith_hypervisor_agent_backend::ManagementInterface;
use xenith_hypervisor_agent_types::ha::HaAnswer;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::backup::Backups;
use crate::console::Consoles;
use crate::disk::Storage;
use crate::fence::Fence;
use crate::ha::Ha;
use crate::identity::{Identity, IdentityError};
use crate::import::Imports;
use crate::management;
use crate::metrics::Recorder;
use crate::migration::Arrivals;
use crate::network::Networks;
use crate::operations::Operations;
use crate::progress::Progress;
use crate::system::Systems;
use crate::transfer;
use crate::vm::publisher::Publisher;
use crate::vm::registry::Registry;

pub use incoming::{Incoming, accept};

/// What the calls need.
pub struct Service {
    pub arrivals: Arc<Arrivals>,
    pub backups: Arc<Backups>,
    pub networks: Arc<Networks>,
    pub registry: Arc<Registry>,
    pub publisher: Arc<Publisher>,
    pub recorder: Arc<Recorder>,
    pub operations: Arc<Operations>,
    pub fence: Arc<Fence>,
    pub ha: Arc<Ha>,
    pub identity: Arc<Identity>,
    pub storage: Storage,
    pub imports: Arc<Imports>,
    pub systems: Arc<Systems>,
    pub management: Arc<dyn ManagementInterface>,
    pub consoles: Arc<Consoles>,
    /// For what a stream needs beside itself.
    pub tasks: TaskSet,
    /// Ends the watch streams, which otherwise never end.
    pub stopping: CancellationToken,
}

impl Service {
    /// The tonic service, with its limits.
    #[must_use]
    pub fn into_server(self) -> AgentServer<Self> {
        AgentServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn pass(&self, epoch: u64) -> Result<(), Status> {
        self.fence.pass(Epoch(epoch)).await.map_err(|fault| status_from_fault(&fault))
    }
}

/// Whether a command may make a VM run that did not.
const fn runs_something(command: &Command) -> bool {
    match command {
        Command::Vm { action, .. } => {
            matches!(
                action,
                VmAction::Start { .. }
                    | VmAction::Resume { .. }
                    | VmAction::RevertWithMemory { .. }
                    | VmAction::Unpause
                    | VmAction::TakeBack
            )
        }
        _ => false,
    }
}

async fn dispatch(
    (registry, storage): (Arc<Registry>, Storage),
    (networks, systems, interface): (Arc<Networks>, Arc<Systems>, Arc<dyn ManagementInterface>),
    (imports, backups, arrivals): (Arc<Imports>, Arc<Backups>, Arc<Arrivals>),
    (operation, command): (OperationId, Command),
    progress: Arc<Progress>,
) -> Result<CommandResult, Fault> {
    match command {
        Command::Vm { vm, action } => registry.execute_with(vm, (operation, action), progress).await,
        Command::Arrival(command) => arrivals.execute(command).await,
        Command::Import(command) => imports.execute(command).await,
        Command::Transfer(command) => transfer::execute(storage, imports, command, progress).await,
        Command::LookAtHardware => {
            registry.hardware().await.map(|hardware| CommandResult::Hardware(Box::new(hardware)))
        }
        Command::Networks(wanted) => {
            let realised = networks.realise(*wanted).await?;
            // Who places VMs reads the bridges from the host's facts.
            registry.publish_host().await;
            Ok(CommandResult::Networks(Box::new(realised)))
        }
        Command::System(command) => systems.execute(command, &progress).await.map(CommandResult::System),
        Command::Management(command) => {
            management::execute(&*interface, *command).await.map(CommandResult::Management)
        }
        Command::EnsureVdi { vdi, sr, size } => {
            let ensured = storage::blocking(&storage, move |storage| storage.ensure(sr, vdi, size));
            ensured.await.map(CommandResult::Vdi)
        }
        Command::DeleteVdi { vdi, sr } => {
            let deleted = storage::blocking(&storage, move |storage| storage.delete(sr, vdi));
            deleted.await.map(|()| CommandResult::Nothing)
        }
        Command::Storage(command) => storage::execute(&storage, command, progress).await,
        Command::Backup(command) => {
            let reply = backups.execute(operation, *command).await?;
            Ok(CommandResult::Backup(Box::new(reply)))
        }
    }
}

fn identity_status(error: &IdentityError) -> Status {
    let reason = match error {
        IdentityError::NoRequest | IdentityError::NotOurs { .. } | IdentityError::Pki(_) => {
            FaultReason::Invalid
        }
        IdentityError::Io { .. } | IdentityError::Damaged { .. } => FaultReason::Internal,
    };
    status_from_fault(&Fault::new(reason, error))
}

fn operation_id(text: &str) -> Result<OperationId, Status> {
    text.parse().map_err(|error| status_from_fault(&Fault::new(FaultReason::Invalid, error)))
}

#[tonic::async_trait]
impl WireAgent for Service {
    async fn hello(
        &self,
        request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloReply>, Status> {
        let request = request.into_inner();
        // Another protocol gets our answer, which names both versions, and nothing more.
        if request.protocol == PROTOCOL {
            self.pass(request.epoch).await?;
        }
        let facts = self.publisher.host().ok_or_else(|| {
            status_from_fault(&Fault::new(FaultReason::NotReady, "the host's facts are not known yet"))
        })?;
        let hello = Hello {
            protocol: PROTOCOL,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.identity.host(),
            facts: (*facts).clone(),
            local_sr: self.storage.local(),
        };
        Ok(Response::new((&hello).into()))
    }

    type WatchStream = BoxStream<'static, Result<wire::WatchReply, Status>>;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let subscription = self.publisher.subscribe(&request.instance, Generation(request.generation));
        Ok(Response::new(watch::stream(subscription, self.stopping.clone())))
    }

    type MetricsStream = BoxStream<'static, Result<wire::MetricsReply, Status>>;

    async fn metrics(
        &self,
        request: Request<wire::MetricsRequest>,
    ) -> Result<Response<Self::MetricsStream>, Status> {
        let request = request.into_inner();
        let subscription = self.recorder.subscribe(&request.instance, request.number);
        Ok(Response::new(metrics::stream(subscription, self.stopping.clone())))
    }

    async fn execute(
        &self,
        request: Request<wire::ExecuteRequest>,
    ) -> Result<Response<wire::ExecuteReply>, Status> {
        let envelope =
            Envelope::try_from(request.into_inner()).map_err(|error| status_from_fault(&error.into()))?;
        self.pass(envelope.epoch.0).await?;
        tracing::debug!(operation = %envelope.operation, command = ?envelope.command, "execute");
        if runs_something(&envelope.command) {
            self.ha.before_start().map_err(|fault| status_from_fault(&fault))?;
        }
        let places = (Arc::clone(&self.registry), self.storage.clone());
        let of_host = (Arc::clone(&self.networks), Arc::clone(&self.systems), Arc::clone(&self.management));
        let movers = (Arc::clone(&self.imports), Arc::clone(&self.backups), Arc::clone(&self.arrivals));
        let (operation, command) = (envelope.operation, envelope.command);
        let work = move |progress| dispatch(places, of_host, movers, (operation, command), progress);
        let result = self.operations.run(envelope.operation, work).await;
        result.map(|result| Response::new((&result).into())).map_err(|fault| status_from_fault(&fault))
    }

    async fn import_progress(
        &self,
        request: Request<wire::ImportProgressRequest>,
    ) -> Result<Response<wire::ImportProgressReply>, Status> {
        let vdis = vdi_ids(&request.into_inner()).map_err(|error| status_from_fault(&error.into()))?;
        let vdis = self.imports.progress(&vdis).iter().map(Into::into).collect();
        Ok(Response::new(wire::ImportProgressReply { vdis }))
    }

    async fn progress(
        &self,
        request: Request<wire::ProgressRequest>,
    ) -> Result<Response<wire::ProgressReply>, Status> {
        let request = request.into_inner();
        self.pass(request.epoch).await?;
        let operation = operation_id(&request.operation_id)?;
        let running = self.operations.progress(operation);
        if request.cancel
            && let Some(progress) = &running
        {
            progress.cancel();
        }
        let (done, total) = running.as_ref().map_or((0, 0), |progress| progress.get());
        Ok(Response::new(wire::ProgressReply { running: running.is_some(), done, total }))
    }

    async fn backup_progress(
        &self,
        request: Request<wire::BackupProgressRequest>,
    ) -> Result<Response<wire::BackupProgressReply>, Status> {
        let operation = operation_id(&request.into_inner().operation_id)?;
        Ok(Response::new(self.backups.progress(operation).into()))
    }

    async fn backup_cancel(
        &self,
        request: Request<wire::BackupCancelRequest>,
    ) -> Result<Response<wire::Nothing>, Status> {
        let request = request.into_inner();
        self.pass(request.epoch).await?;
        self.backups.cancel(operation_id(&request.operation_id)?);
        Ok(Response::new(wire::Nothing {}))
    }

    async fn backup_pace(
        &self,
        request: Request<wire::BackupPaceRequest>,
    ) -> Result<Response<wire::BackupPaceReply>, Status> {
        let request = request.into_inner();
        self.pass(request.epoch).await?;
        let running = self.backups.set_pace(operation_id(&request.operation_id)?, request.bandwidth);
        Ok(Response::new(wire::BackupPaceReply { running }))
    }

    async fn request_certificate(
        &self,
        request: Request<wire::RequestCertificateRequest>,
    ) -> Result<Response<wire::RequestCertificateReply>, Status> {
        self.pass(request.into_inner().epoch).await?;
        let request_pem = self.identity.begin_renewal().map_err(|error| identity_status(&error))?;
        Ok(Response::new(wire::RequestCertificateReply { request_pem }))
    }

    async fn install_certificate(
        &self,
        request: Request<wire::InstallCertificateRequest>,
    ) -> Result<Response<wire::InstallCertificateReply>, Status> {
        let request = request.into_inner();
        self.pass(request.epoch).await?;
        let identity = Arc::clone(&self.identity);
        tokio::task::spawn_blocking(move || identity.finish_renewal(request.certificate_pem))
            .await
            .map_err(|error| status_from_fault(&Fault::new(FaultReason::Internal, error)))?
            .map_err(|error| identity_status(&error))?;
        tracing::info!("the certificate was renewed");
        Ok(Response::new(wire::InstallCertificateReply {}))
    }

    async fn ha(&self, request: Request<wire::HaRequest>) -> Result<Response<wire::HaReply>, Status> {
        let request = request.into_inner();
        self.pass(request.epoch).await?;
        let asked = ha_request_from_wire(&request).map_err(|error| status_from_fault(&error.into()))?;
        let mut answer = self.ha.execute(asked).await.map_err(|fault| status_from_fault(&fault))?;
        if let HaAnswer::Here(state) = &mut answer {
            state.vms = self.registry.vms();
            // Who stops lets go of all of them, and an empty list would mean that there are none.
            if self.stopping.is_cancelled() {
                let stopping = Fault::new(FaultReason::NotReady, "the agent is stopping");
                return Err(status_from_fault(&stopping));
            }
        }
        Ok(Response::new(ha_answer_to_wire(&answer)))
    }

    type ConsoleStream = console::Output;

    async fn console(
        &self,
        request: Request<Streaming<wire::ConsoleInput>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        let mut input = request.into_inner();
        let open = console::opening(&mut input).await?;
        self.pass(open.epoch.0).await?;
        let attached = self.consoles.open(open.target).await.map_err(|fault| status_from_fault(&fault))?;
        tracing::info!(target = ?open.target, "a console was opened");
        Ok(Response::new(console::stream(input, attached, &self.tasks)))
    }
}
