//! Rounds of high availability: hosts are armed, granted contact, looked at through each other, fenced, and welcomed back.
//!
//! What always holds: one round at a time, and within it, for one host, one thing after the other. A host is fenced in the
//! store or not at all: where that cannot be written, what the judge said is forgotten, and waited for anew. What was moved
//! from a host is destroyed there only while its record names another host, and nobody works on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use xenith_common_ha::{Proof, Timing, Verdict};
use xenith_common_ids::{HostId, OperationId, PoolId, VmId};
use xenith_hypervisor_agent_api::{Command, Envelope, VmAction};
use xenith_hypervisor_agent_client::AgentClient;
use xenith_hypervisor_agent_types::ha::{Arms, HaAnswer, HaRequest, HaState, SeenLease};
use xenith_orchestrator_store::{Expect, StoreError, Transaction};
use xenith_orchestrator_types::event::Severity;

use super::App;
use crate::events::Happened;
use crate::ha::{FencedRecord, HaHostRecord, HaPoolRecord};
use crate::model::HostRecord;

/// Between two rounds where no pool says otherwise.
const IDLE: Duration = Duration::from_secs(5);
/// Destroying and forgetting one VM on a host that is back.
const REMOVE_WITHIN: Duration = Duration::from_secs(5);
/// Hosts that are asked for the leases of the others: one may have lost the SR.
const READERS: usize = 2;

/// A host of a round.
struct Turn {
    host: HostId,
    known: Arc<HostRecord>,
    /// What it is to be armed with.
    wanted: Option<Arms>,
    record: HaHostRecord,
}

/// Until the orchestrator stops.
pub(crate) async fn keep(app: Arc<App>) {
    loop {
        let began = Instant::now();
        let every = app.ha_round().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "high availability rests: the store cannot be used");
            IDLE
        });
        tokio::time::sleep_until(began + every).await;
    }
}

impl App {
    /// How soon the next one is wanted.
    async fn ha_round(&self) -> Result<Duration, StoreError> {
        let (pools, _) = self.db.ha_pools.all().await?;
        let pools: BTreeMap<PoolId, HaPoolRecord> =
            pools.into_iter().map(|pool| (pool.key, pool.value)).collect();
        let turns = self.ha_turns(&pools).await?;
        let rounds = turns.iter().map(|turn| self.ha_turn(turn));
        for outcome in futures::future::join_all(rounds).await {
            outcome?;
        }
        for (pool, record) in &pools {
            self.ha_look(*pool, record.arms).await?;
        }
        while let Some(host) = self.ha.found_off() {
            self.ha_fence(host, Proof::Power).await?;
        }
        self.ha_restarts(&pools).await?;
        Ok(pools.values().map(|record| record.arms.timing.beat()).min().unwrap_or(IDLE))
    }

    /// Hosts that are armed, or to be armed, or not to be armed any more.
    async fn ha_turns(&self, pools: &BTreeMap<PoolId, HaPoolRecord>) -> Result<Vec<Turn>, StoreError> {
        let (kept, _) = self.db.ha_hosts.all().await?;
        let mut kept: BTreeMap<HostId, _> = kept.into_iter().map(|record| (record.key, record)).collect();
        let mut turns = Vec::new();
        if pools.is_empty() && kept.is_empty() {
            return Ok(turns);
        }
        for (host, known) in self.views.hosts() {
            let wanted = pools.get(&known.pool).filter(|_| !known.is_disarmed()).map(|record| record.arms);
            let record = kept.remove(&host).map(|record| record.value);
            if record.as_ref().is_some_and(|record| record.rests) {
                continue;
            }
            if wanted.is_some() || record.is_some() {
                turns.push(Turn { host, known, wanted, record: record.unwrap_or_default() });
            }
        }
        // Those of hosts that were removed.
        for (host, record) in kept {
            self.db.ha_hosts.delete(&record).await?;
            self.ha.forget(host);
        }
        Ok(turns)
    }

    async fn ha_turn(&self, turn: &Turn) -> Result<(), StoreError> {
        let Turn { host, known, wanted, record, .. } = turn;
        let (host, timing) = (*host, wanted.map_or_else(Timing::default, |arms| arms.timing));
        if record.believed.is_some() && record.believed != *wanted {
            // First nobody goes by its lease any more, and only then it is disarmed.
            self.db.ha_hosts.modify(&host, |kept| kept.believed = None).await?;
        }
        let Some(client) = self.fleet.client(host) else { return Ok(()) };
        let (asked, beat) = self.ha.beat(host, timing, record);
        let state = match timeout(timing.beat(), client.ha(self.fleet.epoch(), &beat)).await {
            Ok(Ok(HaAnswer::Here(state))) => state,
            Ok(Ok(HaAnswer::Leases(_))) => return Ok(()),
            Ok(Err(error)) => {
                self.ha.note_problem(host, Some(error.to_string()));
                return Ok(());
            }
            Err(_) => {
                self.ha.note_problem(host, Some("the host did not answer in time".to_owned()));
                return Ok(());
            }
        };
        if !self.ha.heard(host, asked, state.clone()) {
            return Ok(());
        }
        let says = state.armed.as_ref().map(|armed| armed.arms);
        if record.believed.is_some() && record.believed != says {
            self.db.ha_hosts.modify(&host, |kept| kept.believed = None).await?;
        }
        if let Some(fenced) = &record.fenced {
            return self.ha_welcome((host, &**known), &client, fenced, &state).await;
        }
        self.ha_arm(turn, &client, timing, &state).await?;
        self.ha_note_running(turn, &state).await
    }

    /// A host that is back gives up what others run; then it is a host again.
    async fn ha_welcome(
        &self,
        (host, known): (HostId, &HostRecord),
        client: &AgentClient,
        fenced: &FencedRecord,
        state: &HaState,
    ) -> Result<(), StoreError> {
        let left = fenced.left_over(state);
        if left.is_empty() {
            // Told first: who sees it armed finds the event too, and a kill between the two tells it twice, not never.
            let message = format!("{} is back, and has nothing that others run", known.name);
            self.ha_event((Severity::Info, "host.welcomed"), (host, known.pool), message).await;
            self.db.ha_hosts.modify(&host, |kept| kept.fenced = None).await?;
            self.ha.welcome(host);
            return Ok(());
        }
        for vm in left {
            let record = self.db.vms.get(&vm).await?.map(|found| found.value);
            match record {
                // It was brought back there meanwhile.
                Some(record) if record.host == host => {
                    self.db.ha_hosts.modify(&host, |kept| not_moved(kept, vm)).await?;
                }
                Some(record) if record.held_by.is_some() => {}
                // Also one that is not known any more: it was another's when it went.
                _ => self.ha_remove((host, vm), client).await,
            }
        }
        Ok(())
    }

    async fn ha_remove(&self, (host, vm): (HostId, VmId), client: &AgentClient) {
        // Memory that it has saved of it goes with disks which the other host has written since.
        for action in [VmAction::Destroy, VmAction::DiscardSuspended, VmAction::Forget] {
            let command = Command::Vm { vm, action };
            let envelope = Envelope { operation: OperationId::new(), epoch: self.fleet.epoch(), command };
            let problem = match timeout(REMOVE_WITHIN, client.execute(&envelope)).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the host did not answer in time".to_owned(),
            };
            tracing::warn!(%host, %vm, problem, "a VM that another host runs cannot be removed there yet");
            return;
        }
        tracing::info!(%host, %vm, "removed: another host has this VM now");
    }

    async fn ha_arm(
        &self,
        turn: &Turn,
        client: &AgentClient,
        timing: Timing,
        state: &HaState,
    ) -> Result<(), StoreError> {
        let request = match (turn.wanted, &state.armed) {
            (Some(arms), Some(armed)) if armed.arms == arms && armed.watchdog_problem.is_none() => {
                if turn.record.believed.is_none() {
                    // An earlier program did not note it before.
                    self.ha_may_arm(turn.host).await?;
                }
                return Ok(());
            }
            (Some(arms), Some(armed)) if armed.arms == arms => HaRequest::Arm(arms),
            (Some(arms), None) => HaRequest::Arm(arms),
            (_, Some(armed)) => {
                // From here on it is armed only once it says so again.
                self.ha.unsay(turn.host);
                HaRequest::Disarm { challenge: armed.challenge }
            }
            (None, None) => {
                if let Some(found) = self.db.ha_hosts.get(&turn.host).await? {
                    self.db.ha_hosts.delete(&found).await?;
                }
                self.ha.forget(turn.host);
                return Ok(());
            }
        };
        if matches!(request, HaRequest::Arm(_)) && !self.ha_may_arm(turn.host).await? {
            return Ok(());
        }
        let problem = match timeout(timing.beat(), client.ha(self.fleet.epoch(), &request)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the host is still being armed or disarmed".to_owned()),
        };
        self.ha.note_problem(turn.host, problem);
        Ok(())
    }

    /// Written before the host is told, and with the host as it was read: who is about to end its boot says that in its
    /// record, and then either finds this one and waits until it is gone, or the host is not armed.
    async fn ha_may_arm(&self, host: HostId) -> Result<bool, StoreError> {
        let known = self.db.hosts.get(&host).await?;
        let Some(known) = known.filter(|known| !known.value.is_disarmed()) else { return Ok(false) };
        if self.db.ha_hosts.get(&host).await?.is_some() {
            return Ok(true);
        }
        let commit = self.db.hosts.require_in(Transaction::new(), &host, Expect::At(known.revision));
        let commit = self.db.ha_hosts.insert_in(commit, &host, &HaHostRecord::default());
        match self.db.store.commit(commit).await {
            Ok(_) => Ok(true),
            // The next round looks again.
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is to run again when this host dies; and what is to run again because it was booted.
    async fn ha_note_running(&self, turn: &Turn, state: &HaState) -> Result<(), StoreError> {
        if turn.record.believed.is_none() {
            return Ok(());
        }
        if state.armed.as_ref().is_some_and(|armed| armed.autostart_waits) {
            if !turn.record.running.is_empty() {
                self.db.ha_hosts.modify(&turn.host, went_down).await?;
            }
            return Ok(());
        }
        let Some(seen) = self.fleet.state(turn.host).filter(|seen| seen.is_heard()) else { return Ok(()) };
        let runs = seen.vms().into_iter().filter(|vm| vm.power.has_domain()).map(|vm| vm.vm);
        let mut running: BTreeSet<VmId> = runs.collect();
        // One that is being started, or moved here, may not be seen yet. The store says whether: the read model may not have
        // heard of a restart that was begun a moment ago.
        let unseen: Vec<VmId> = turn.record.running.difference(&running).copied().collect();
        for vm in unseen {
            if self.db.vms.get(&vm).await?.is_some_and(|found| found.value.held_by.is_some()) {
                running.insert(vm);
            }
        }
        if running != turn.record.running {
            self.db.ha_hosts.modify(&turn.host, |kept| kept.running.clone_from(&running)).await?;
        }
        Ok(())
    }

    /// Some hosts look at the leases of the others.
    async fn ha_look(&self, pool: PoolId, arms: Arms) -> Result<(), StoreError> {
        let armed = |host: HostId| {
            let armed = self.ha.said(host).and_then(|state| state.armed);
            armed.is_some_and(|armed| armed.arms == arms && armed.watchdog_problem.is_none())
        };
        let (kept, _) = self.db.ha_hosts.all().await?;
        let believed: BTreeSet<HostId> = kept
            .iter()
            .filter(|kept| kept.value.believed == Some(arms) && kept.value.fenced.is_none())
            .map(|kept| kept.key)
            .collect();
        let hosts = self.views.hosts().into_iter().filter(|(_, known)| known.pool == pool);
        let hosts: Vec<HostId> =
            hosts.map(|(host, _)| host).filter(|host| believed.contains(host) || armed(*host)).collect();
        let heard = |host: &HostId| self.ha.verdict(*host) == Some(Verdict::Heard);
        let mut readers: Vec<HostId> =
            hosts.iter().copied().filter(|host| armed(*host) && heard(host)).collect();
        // Not always the same ones: a share that hangs for one would hide the others for ever.
        if !readers.is_empty() {
            let first = usize::from(OffsetDateTime::now_utc().second()) % readers.len();
            readers.rotate_left(first);
        }
        for reader in readers.into_iter().take(READERS) {
            let others: Vec<HostId> = hosts.iter().copied().filter(|host| *host != reader).collect();
            if others.is_empty() {
                continue;
            }
            let asked = self.ha.now();
            for lease in self.ha_read(reader, arms, others).await {
                if believed.contains(&lease.host) {
                    if let Some(proof) = self.ha.looked(asked, lease) {
                        self.ha_fence(lease.host, proof).await?;
                    }
                    continue;
                }
                // Of one that has just said that it is armed, and that its watchdog runs: what an earlier lease says may be
                // over, and a host whose watchdog does not run is not armed yet.
                let now = armed(lease.host) && heard(&lease.host);
                if now && lease.mark.is_some_and(|mark| Some(mark.run) == self.ha.run_of(lease.host)) {
                    self.ha_believe(lease.host, arms).await?;
                }
            }
        }
        Ok(())
    }

    async fn ha_read(&self, reader: HostId, arms: Arms, hosts: Vec<HostId>) -> Vec<SeenLease> {
        let Some(client) = self.fleet.client(reader) else { return Vec::new() };
        let request = HaRequest::Look { sr: arms.sr, hosts };
        match timeout(arms.timing.beat(), client.ha(self.fleet.epoch(), &request)).await {
            Ok(Ok(HaAnswer::Leases(leases))) => leases,
            Ok(Ok(HaAnswer::Here(_))) | Err(_) => Vec::new(),
            Ok(Err(error)) => {
                tracing::debug!(%reader, %error, "the leases of other hosts cannot be read there");
                Vec::new()
            }
        }
    }

    /// It is armed, and another host has seen the lease of this run of its agent.
    async fn ha_believe(&self, host: HostId, arms: Arms) -> Result<(), StoreError> {
        match self.db.ha_hosts.get(&host).await? {
            None => {
                let record = HaHostRecord { believed: Some(arms), ..HaHostRecord::default() };
                self.db.ha_hosts.insert(&host, &record).await?;
            }
            Some(found) if found.value.fenced.is_none() => {
                let record = HaHostRecord { believed: Some(arms), ..found.value.clone() };
                self.db.ha_hosts.update(&found, &record).await?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The commit point: from here on its VMs may run elsewhere.
    async fn ha_fence(&self, host: HostId, proof: Proof) -> Result<(), StoreError> {
        let written = self.ha_write_fenced(host, proof).await;
        if !matches!(written, Ok(true)) {
            // Waited for anew, and by the record if it was written all the same.
            self.ha.forget(host);
            return written.map(|_| ());
        }
        let Some(known) = self.views.host(host) else { return Ok(()) };
        let how = match proof {
            Proof::Lease => "neither it nor its lease was heard for longer than its watchdog waits",
            Proof::Power => "its power is off",
        };
        let message = format!("{} runs nothing any more: {how}; its VMs are restarted elsewhere", known.name);
        self.ha_event((Severity::Error, "host.fenced"), (host, known.pool), message).await;
        Ok(())
    }

    async fn ha_write_fenced(&self, host: HostId, proof: Proof) -> Result<bool, StoreError> {
        let Some(found) = self.db.ha_hosts.get(&host).await? else { return Ok(false) };
        if found.value.believed.is_none() || found.value.fenced.is_some() {
            return Ok(false);
        }
        let mut record = found.value.clone();
        went_down(&mut record);
        record.fenced = Some(FencedRecord { proof, at: OffsetDateTime::now_utc(), moved: BTreeSet::new() });
        self.db.ha_hosts.update(&found, &record).await?;
        Ok(true)
    }

    pub(super) async fn ha_event(
        &self,
        (severity, kind): (Severity, &'static str),
        (host, pool): (HostId, PoolId),
        message: String,
    ) {
        let subject = format!("host/{host}");
        self.events.note(Happened { severity, kind, subject, message, pool: Some(pool) }).await;
    }
}

/// Whatever ran there is to run again.
fn went_down(record: &mut HaHostRecord) {
    let down = std::mem::take(&mut record.running);
    record.restart.extend(down);
}

fn not_moved(record: &mut HaHostRecord, vm: VmId) {
    if let Some(fenced) = &mut record.fenced {
        fenced.moved.remove(&vm);
    }
}
