//! VMs that went down with their host run again: elsewhere when it is fenced, on the host itself when it is back.
//!
//! What always holds: a VM's record is given another host in the one write that notes it as moved from the fenced host,
//! which that write demands to be fenced still. The start itself is that of any VM ([`VmAct`]). A VM that somebody works on
//! waits for them: that nobody does is in the very records that the write demands ([`still_waits`]). One that cannot be
//! started is told of by its task, and not tried again.

use std::collections::{BTreeMap, BTreeSet};

use xenith_common_ha::Verdict;
use xenith_common_ha::duty::{RestartPriority, Stranded, in_order};
use xenith_common_ids::{HostId, IncarnationId, PoolId, SagaId, VmId};
use xenith_orchestrator_saga::{Meta, SagaError};
use xenith_orchestrator_store::{Record, StoreError, Transaction};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::event::Severity;

use super::App;
use crate::errors::{saga_error, store_error};
use crate::events::Happened;
use crate::fleet::HostState;
use crate::ha::{HaHostRecord, HaPoolRecord};
use crate::model::{SnapshotRecord, VmRecord};
use crate::placement::{HostView, Wish, place};
use crate::sagas::vm_act::{Act, Params, VmAct};
use crate::snapshots;

/// A VM, and the host that it went down with.
type Waiting = (Record<VmId, VmRecord>, Record<HostId, HaHostRecord>);

/// Where it is to run, of those that went down with `from`.
struct Restart {
    found: Record<VmId, VmRecord>,
    from: Record<HostId, HaHostRecord>,
    to: HostId,
}

/// Of a VM that went down with its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Waits,
    /// Until nobody works on it.
    Held,
    /// It has gone, is another host's by now, or stands by for the VM that has taken over from it.
    Over,
}

fn standing(record: Option<&VmRecord>, host: HostId) -> Standing {
    match record {
        Some(record) if record.host != host => Standing::Over,
        Some(record) if record.held_by.is_some() => Standing::Held,
        Some(record) if record.standby_of.is_none() => Standing::Waits,
        Some(_) | None => Standing::Over,
    }
}

/// Many are begun in one round: while others were, somebody may have begun to work on a VM, or have moved it.
fn still_waits((vm, record): (VmId, &VmRecord), (host, kept): (HostId, &HaHostRecord)) -> bool {
    standing(Some(record), host) == Standing::Waits && kept.restart.contains(&vm)
}

impl App {
    pub(super) async fn ha_restarts(&self, pools: &BTreeMap<PoolId, HaPoolRecord>) -> Result<(), StoreError> {
        let (kept, _) = self.db.ha_hosts.all().await?;
        for record in kept.into_iter().filter(|record| !record.value.restart.is_empty()) {
            let host = record.key;
            let Some(known) = self.views.host(host) else { continue };
            let Some(pool) = pools.get(&known.pool) else { continue };
            let waiting = self.ha_stranded(host, &record.value, pool).await?;
            let outcome = if record.value.fenced.is_some() {
                self.restart_elsewhere(host, waiting).await
            } else {
                self.restart_here(host, waiting).await
            };
            if let Err(error) = outcome {
                tracing::warn!(%host, %error, "VMs of a host that died are not restarted yet");
            }
        }
        Ok(())
    }

    /// What waits to run again. What does not any more is struck off.
    async fn ha_stranded(
        &self,
        host: HostId,
        record: &HaHostRecord,
        pool: &HaPoolRecord,
    ) -> Result<Vec<Stranded>, StoreError> {
        let mut waiting = Vec::new();
        let mut over = BTreeSet::new();
        for vm in &record.restart {
            let found = self.db.vms.get(vm).await?.map(|found| found.value);
            let found = match (standing(found.as_ref(), host), found) {
                (Standing::Waits, Some(found)) => found,
                (Standing::Held, _) => continue,
                (Standing::Over | Standing::Waits, _) => {
                    over.insert(*vm);
                    continue;
                }
            };
            if let Some(other) = self.has_too(host, *vm) {
                self.tell_of_other((host, *vm), other, &found).await;
            } else {
                let priority = pool.priorities.get(vm).copied().unwrap_or_default();
                waiting.push(Stranded { vm: *vm, priority, memory: found.spec.memory.target });
            }
        }
        if !over.is_empty() {
            self.db.ha_hosts.modify(&host, |kept| kept.restart.retain(|vm| !over.contains(vm))).await?;
        }
        Ok(waiting)
    }

    /// A host that was heard to have a domain of the VM, beside the one that it belongs to: what an abandoned migration
    /// left, of which nobody knows whether it runs. What a fenced host had is gone.
    fn has_too(&self, host: HostId, vm: VmId) -> Option<HostId> {
        let is_fenced = |host: HostId| matches!(self.ha.verdict(host), Some(Verdict::Fenced(_)));
        let others = self.fleet.states().into_iter();
        let others = others.filter(|(other, _)| *other != host && !is_fenced(*other));
        let having = |state: &HostState| state.vm(vm).is_some_and(|seen| seen.power.has_domain());
        others.into_iter().find(|(_, state)| having(state)).map(|(other, _)| other)
    }

    async fn tell_of_other(&self, (host, vm): (HostId, VmId), other: HostId, record: &VmRecord) {
        if !self.ha.is_news(host, vm) {
            return;
        }
        let name = self.views.host(other).map_or_else(|| other.to_string(), |known| known.name.clone());
        let message = format!(
            "{} is not restarted although its host died: {name} has it, too; see whether it runs there",
            record.spec.name
        );
        self.ha_vm_event((Severity::Error, "vm.not_restarted"), (vm, record), message).await;
    }

    /// What the write is made from that begins its restart, where it waits for one still.
    async fn waiting_still(&self, host: HostId, vm: VmId) -> Result<Option<Waiting>, ApiError> {
        let found = self.db.vms.get(&vm).await.map_err(|e| store_error(&e))?;
        let from = self.db.ha_hosts.get(&host).await.map_err(|e| store_error(&e))?;
        let both = found.zip(from);
        Ok(both.filter(|(found, from)| still_waits((vm, &found.value), (host, &from.value))))
    }

    async fn restart_elsewhere(&self, host: HostId, waiting: Vec<Stranded>) -> Result<(), ApiError> {
        for stranded in in_order(waiting) {
            let vm = stranded.vm;
            let Some((found, from)) = self.waiting_still(host, vm).await? else { continue };
            let wish = Wish {
                memory: found.value.spec.memory.target.mib(),
                vcpus: found.value.spec.vcpus.online.get(),
                pool: Some(found.value.pool),
                bridges: found.value.spec.nics.iter().map(|nic| nic.bridge.clone()).collect(),
                apart_from: found.value.apart_from.iter().copied().collect(),
                together_with: found.value.together_with.iter().copied().collect(),
                srs: self.srs_of(vm, &found.value).await?,
                not: Some(host),
                ..Wish::default()
            };
            let placement = place(&wish, &self.ha_views().await?);
            let stays = !found.value.spec.hardware.pci.is_empty();
            match placement.host.filter(|_| !stays) {
                Some(to) => self.begin_restart(Restart { found, from, to }).await?,
                None if self.ha.is_news(host, vm) => {
                    let reasons = placement.candidates.iter();
                    let reasons = reasons.map(|host| format!("{}: {}", host.name, host.reasons.join(", ")));
                    let reasons = match stays {
                        true => "it has PCI devices of that host".to_owned(),
                        false => reasons.collect::<Vec<_>>().join("; "),
                    };
                    let message =
                        format!("no host takes {}, whose host died: {reasons}", found.value.spec.name);
                    let about = (vm, &found.value);
                    self.ha_vm_event((Severity::Error, "vm.not_restarted"), about, message).await;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The host is back before its VMs were anywhere else.
    async fn restart_here(&self, host: HostId, waiting: Vec<Stranded>) -> Result<(), ApiError> {
        let waits =
            self.ha.said(host).and_then(|state| state.armed).is_none_or(|armed| armed.autostart_waits);
        let seen = self.fleet.state(host).filter(|seen| seen.is_heard());
        let (Some(seen), false) = (seen, waits || self.ha.verdict(host) != Some(Verdict::Heard)) else {
            return Ok(());
        };
        let (mut waiting, off): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|stranded| stranded.priority != RestartPriority::Off);
        waiting = in_order(waiting);
        for Stranded { vm, .. } in waiting.into_iter().chain(off) {
            // The host starts some by itself.
            if seen.vm(vm).is_some_and(|observed| observed.power.has_domain()) {
                let runs = |kept: &mut HaHostRecord| {
                    kept.restart.remove(&vm);
                };
                self.db.ha_hosts.modify(&host, runs).await.map_err(|e| store_error(&e))?;
                continue;
            }
            if let Some((found, from)) = self.waiting_still(host, vm).await? {
                self.begin_restart(Restart { found, from, to: host }).await?;
            }
        }
        Ok(())
    }

    /// Hosts that are armed and heard: one that dies in its turn is fenced in its turn.
    async fn ha_views(&self) -> Result<Vec<HostView>, ApiError> {
        let (kept, _) = self.db.ha_hosts.all().await.map_err(|e| store_error(&e))?;
        let fit: BTreeSet<HostId> = kept
            .into_iter()
            .filter(|kept| kept.value.believed.is_some() && kept.value.fenced.is_none())
            .map(|kept| kept.key)
            .filter(|host| self.ha.verdict(*host) == Some(Verdict::Heard))
            .collect();
        let mut views = self.host_views();
        views.retain(|view| fit.contains(&view.host));
        Ok(views)
    }

    async fn begin_restart(&self, restart: Restart) -> Result<(), ApiError> {
        let commit = self.moves(&restart).await?;
        let Some((saga, commit)) = commit else { return Ok(()) };
        let Restart { found, to, .. } = restart;
        let record = &found.value;
        let params = Params {
            vm: found.key,
            host: to,
            definition: record.definition,
            spec: record.spec.clone(),
            act: Act::Start { incarnation: IncarnationId::new() },
        };
        let name = self.views.host(to).map_or_else(|| to.to_string(), |host| host.name.clone());
        let meta = Meta {
            title: format!("Restart {} on {name}: its host died", record.spec.name),
            who: "high availability".to_owned(),
            subjects: vec![format!("vm/{}", found.key), format!("host/{to}")],
            labels: [("method".to_owned(), "ha.restart".to_owned())].into(),
        };
        self.promise(to, record.spec.memory.target.mib());
        match self.engine.start_with::<VmAct>(saga, &params, meta, commit).await {
            Ok(_) => {
                let message = format!("{} is restarted on {name}: its host died", record.spec.name);
                self.ha_vm_event((Severity::Warning, "vm.restarted"), (found.key, record), message).await;
                Ok(())
            }
            // Somebody was in between: looked at again in the next round.
            Err(SagaError::Store(error)) if error.is_conflict() => Ok(()),
            Err(error) => Err(saga_error(&error)),
        }
    }

    /// The write that gives the VM to its new host, and to the saga. `None`: the old one is not fenced any more.
    async fn moves(&self, restart: &Restart) -> Result<Option<(SagaId, Transaction)>, ApiError> {
        let Restart { found, from, to } = restart;
        let (vm, to, saga) = (found.key, *to, SagaId::new());
        let placed = VmRecord { held_by: Some(saga), host: to, ..found.value.clone() };
        let mut commit = self.db.vms.update_in(Transaction::new(), found, &placed);
        let mut left = from.value.clone();
        left.restart.remove(&vm);
        if to != from.key {
            let Some(fenced) = &mut left.fenced else { return Ok(None) };
            fenced.moved.insert(vm);
            for snapshot in snapshots::of_vm(&self.db, vm).await.map_err(|e| store_error(&e))? {
                let moved = SnapshotRecord { host: to, ..snapshot.value.clone() };
                commit = self.db.snapshots.update_in(commit, &snapshot, &moved);
            }
            for disk in &placed.spec.disks {
                if let Some(vdi) = self.db.vdis.get(&disk.vdi).await.map_err(|e| store_error(&e))? {
                    let mut moved = vdi.value.clone();
                    moved.host = to;
                    commit = self.db.vdis.update_in(commit, &vdi, &moved);
                }
            }
            let there = self.db.ha_hosts.get(&to).await.map_err(|e| store_error(&e))?;
            let Some(there) = there else { return Ok(None) };
            let mut given = there.value.clone();
            // Before anybody sees it there: should that host die now, it goes on to the next.
            given.running.insert(vm);
            commit = self.db.ha_hosts.update_in(commit, &there, &given);
        } else if left.fenced.is_some() {
            return Ok(None);
        }
        Ok(Some((saga, self.db.ha_hosts.update_in(commit, from, &left))))
    }

    async fn ha_vm_event(
        &self,
        (severity, kind): (Severity, &'static str),
        (vm, record): (VmId, &VmRecord),
        message: String,
    ) {
        let (subject, pool) = (format!("vm/{vm}"), Some(record.pool));
        self.events.note(Happened { severity, kind, subject, message, pool }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On this host, and nobody works on it.
    fn record(host: HostId) -> VmRecord {
        let spec = serde_json::json!({
            "name": "web-1", "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
            "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 128, "max": 128 }, "disks": [], "nics": [],
        });
        VmRecord::new(serde_json::from_value(spec).unwrap(), (PoolId::new(), host))
    }

    #[test]
    fn what_somebody_took_up_while_others_were_restarted_is_left_to_them() {
        let (vm, host) = (VmId::new(), HostId::new());
        let record = record(host);
        let kept = HaHostRecord { restart: BTreeSet::from([vm]), ..HaHostRecord::default() };
        assert!(still_waits((vm, &record), (host, &kept)));
        for (case, changed) in [
            ("it is started by hand", VmRecord { held_by: Some(SagaId::new()), ..record.clone() }),
            ("it was moved, and may run there", VmRecord { host: HostId::new(), ..record.clone() }),
            ("it stands by", VmRecord { standby_of: Some(VmId::new()), ..record.clone() }),
        ] {
            assert!(!still_waits((vm, &changed), (host, &kept)), "{case}");
        }
        assert!(!still_waits((vm, &record), (host, &HaHostRecord::default())), "it runs again");
    }

    #[test]
    fn a_vm_that_another_one_has_taken_over_from_is_waited_for_no_more() {
        let host = HostId::new();
        let record = record(host);
        let held = Some(SagaId::new());
        let stands_by = VmRecord { standby_of: Some(VmId::new()), ..record.clone() };
        for (case, record, expected) in [
            ("it went down", Some(record.clone()), Standing::Waits),
            (
                "another one is taking over",
                Some(VmRecord { held_by: held, ..stands_by.clone() }),
                Standing::Held,
            ),
            ("that runs instead", Some(stands_by), Standing::Over),
            ("it is another host's", Some(VmRecord { host: HostId::new(), ..record }), Standing::Over),
            ("it was deleted", None, Standing::Over),
        ] {
            assert_eq!(standing(record.as_ref(), host), expected, "{case}");
        }
    }
}
