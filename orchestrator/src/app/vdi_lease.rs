//! Leases of VDIs that several hosts reach: who has one, and taking one from a host that is dead for good.
//!
//! What always holds: a lease is taken only from the host that the caller was told of, or has named; and not from one that is
//! heard to have a domain of the VM, or says itself that it needs the lease. Whether a host that is not heard writes nothing
//! any more, nobody here can know: that is for high availability to prove ([`crate::ha`]), or for the caller to see to. Hosts
//! keep the leases, not our store.

use std::time::Duration;

use serde_json::json;
use xenith_common_ids::{HostId, OperationId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope, LeaseFound, StorageCommand};
use xenith_hypervisor_agent_types::{SrSpec, VdiLease};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::vdi::{BreakLease, BrokenLease, Vdi};
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::find::administers;
use crate::errors::agent_error;
use crate::events::Happened;
use crate::model::SrRecord;

/// Who only looks at a VDI is not made to wait for a server that is away.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// As long as an SR may take to be looked into.
const BREAK_WITHIN: Duration = Duration::from_secs(30);

impl App {
    /// A host that is heard and reaches the VDI: its own where that is so.
    fn lease_keeper(&self, vdi: &Vdi, sr: &SrRecord) -> Option<HostId> {
        let heard = |host: &&HostId| self.fleet.state(**host).is_some_and(|state| state.is_heard());
        sr.hosts.iter().filter(heard).min_by_key(|host| **host != vdi.host).copied()
    }

    async fn lease_at(
        &self,
        (host, within): (HostId, Duration),
        vdi: &Vdi,
        of: Vec<HostId>,
    ) -> Result<LeaseFound, ApiError> {
        let removed = || ApiError::new(Reason::HostUnreachable, format_args!("host {host} was removed"));
        let client = self.fleet.client(host).ok_or_else(removed)?;
        let command = Command::Storage(StorageCommand::BreakLease { vdi: vdi.id, sr: vdi.sr, of });
        let envelope = Envelope { operation: OperationId::new(), epoch: self.fleet.epoch(), command };
        let Ok(answer) = tokio::time::timeout(within, client.execute(&envelope)).await else {
            let name = self.host_name(host);
            let message = format_args!(
                "the SR of {} does not answer on {name}; see whether its disk or its server is there",
                vdi.name
            );
            return Err(ApiError::new(Reason::HostUnreachable, message));
        };
        match answer.map_err(|error| agent_error(&error))? {
            CommandResult::Lease(found) => Ok(*found),
            other => Err(ApiError::internal(format!("the host answered something else: {other:?}"))),
        }
    }

    /// Who may write a VDI, as far as that can be told at once.
    pub(super) async fn leased_to(&self, vdi: &Vdi) -> Option<VdiLease> {
        let sr = self.sr_record(vdi.sr).await.ok().flatten().filter(keeps_leases)?;
        let keeper = self.lease_keeper(vdi, &sr)?;
        self.lease_at((keeper, LOOK_WITHIN), vdi, Vec::new()).await.ok()?.lease
    }

    pub(super) async fn break_lease_of(
        &self,
        call: &Call,
        request: BreakLease,
    ) -> Result<BrokenLease, ApiError> {
        let vdi = self.find_vdi(call, &request.vdi).await?.value;
        let sr = self.sr_record(vdi.sr).await?;
        let sr = sr.ok_or_else(|| ApiError::not_found("SR", &vdi.sr.to_string()))?;
        administers(call, sr.pool)?;
        if !keeps_leases(&sr) {
            let message = format_args!("SR {} is one host's, and its VDIs have no leases", sr.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let keeper = self.lease_keeper(&vdi, &sr).ok_or_else(|| {
            let message =
                format_args!("no host that has SR {} attached is heard; see to one of them", sr.name);
            ApiError::new(Reason::HostUnreachable, message)
        })?;
        let named = match &request.host {
            Some(host) => Some(self.host_or_id(call, host).await?),
            None => None,
        };
        let found = self.lease_at((keeper, BREAK_WITHIN), &vdi, Vec::new()).await?.lease;
        let dead = named.or_else(|| found.as_ref().map(|lease| lease.host));
        let Some(was) = found.filter(|lease| Some(lease.host) == dead) else {
            return self.end_turn(&vdi, keeper, dead).await;
        };
        self.writes_nothing(&was)?;
        let (name, host) = (&vdi.name, self.holder(&was));
        let warning = format!(
            "make sure that {host} is off, or does not reach the SR: if it still writes {name}, the disk is ruined as soon \
             as another host writes it; memory that it has saved of a VM with {name} is not resumed after this"
        );
        if call.dry_run {
            let title = format!("Break the lease of VDI {name}");
            return Err(call.planned(json!({ "title": title, "held_by": was, "warning": warning })));
        }
        let now = self.broken_at((&vdi, &sr), keeper, was.host).await?;
        if !now.broken {
            let message =
                format_args!("somebody else has its lease by now; look again: xenith vdi show {name}");
            return Err(ApiError::new(Reason::Conflict, message));
        }
        self.events
            .note(Happened {
                severity: Severity::Warning,
                kind: "vdi.lease_broken",
                subject: format!("vdi/{}", vdi.id),
                message: format!("the lease of {name} was taken from {was}, by {}", call.caller.name),
                pool: Some(sr.pool),
            })
            .await;
        Ok(BrokenLease { vdi: vdi.id, was, warning })
    }

    /// Through the host that has it, where that is heard: it alone knows whether its agent writes, or memory is saved that goes
    /// with the disk, and refuses then. One that cannot say, as its SR does not answer there, is for the caller to see to.
    async fn broken_at(
        &self,
        (vdi, sr): (&Vdi, &SrRecord),
        keeper: HostId,
        holder: HostId,
    ) -> Result<LeaseFound, ApiError> {
        let is_heard = self.fleet.state(holder).is_some_and(|state| state.is_heard());
        if holder != keeper && is_heard && sr.hosts.contains(&holder) {
            match self.lease_at((holder, BREAK_WITHIN), vdi, vec![holder]).await {
                Err(error) if error.reason() != Reason::WrongState => {
                    tracing::warn!(%error, "who has a lease cannot say whether it is needed");
                }
                said => return said,
            }
        }
        self.lease_at((keeper, BREAK_WITHIN), vdi, vec![holder]).await
    }

    /// A host that died while it changed a lease which it did not have keeps all others from changing it.
    async fn end_turn(
        &self,
        vdi: &Vdi,
        keeper: HostId,
        dead: Option<HostId>,
    ) -> Result<BrokenLease, ApiError> {
        if let Some(dead) = dead {
            self.lease_at((keeper, BREAK_WITHIN), vdi, vec![dead]).await?;
        }
        let message = format_args!("that host does not have the lease of {}; nothing was taken", vdi.name);
        Err(ApiError::new(Reason::WrongState, message))
    }

    /// Of hosts that were removed, too.
    async fn host_or_id(&self, call: &Call, reference: &str) -> Result<HostId, ApiError> {
        match reference.parse::<HostId>() {
            Ok(id) => Ok(id),
            Err(_) => Ok(self.find_host(call, reference).await?.key),
        }
    }

    /// A host that was removed is known by what it called itself.
    fn holder(&self, lease: &VdiLease) -> String {
        let known = self.views.host(lease.host);
        known.map_or_else(|| lease.host_name.clone(), |host| host.name.clone())
    }

    /// Refuses one that is heard to write.
    fn writes_nothing(&self, lease: &VdiLease) -> Result<(), ApiError> {
        let Some(state) = self.fleet.state(lease.host).filter(|state| state.is_heard()) else {
            return Ok(());
        };
        let Some(to) = &lease.vm else { return Ok(()) };
        if !state.vm(to.vm).is_some_and(|seen| seen.power.has_domain()) {
            return Ok(());
        }
        let message = format_args!(
            "{} is heard, and VM {} is there; stop the VM, which ends the lease",
            self.holder(lease),
            to.name
        );
        Err(ApiError::new(Reason::WrongState, message))
    }
}

/// Whether more than one host may have it.
fn keeps_leases(sr: &SrRecord) -> bool {
    matches!(sr.spec, Some(SrSpec::Folder { .. } | SrSpec::Nfs { .. }))
}
