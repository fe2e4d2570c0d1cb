//! What a standby VM is to be: its definition follows that of the VM that it stands by for, its disks that one's backups.
//!
//! A disk of the one belongs to the disk of the other that is at the same device; so a VDI of either may be moved. What is
//! the standby's own: its name, its MAC addresses, its VDIs. What it does not have: devices of a host, autostart.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use xenith_common_ids::{HostId, IncarnationId, NetworkId, PoolId, SagaId, VdiId, VmId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::{CdDrive, DiskSpec, NicSpec, VdiSize, VmName, VmSpec};
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::vm_spec::validated;
use crate::catalogue;
use crate::errors::store_error;
use crate::model::{BackupRecord, StandbyRecord, VmRecord};
use crate::records;
use crate::sagas::NewVdi;
use crate::sagas::standby_act::Change;
use crate::sagas::standby_follow::{Disk, Follow, Target};
use crate::sagas::standby_switch::{Falling, Switch};

/// With up to so much to copy, a checkpoint is worth it where the SR cannot share blocks, too.
const LITTLE: u64 = 1 << 30;

/// A network card whose network the standby's pool does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmapped {
    /// Somebody is there to say what is meant.
    Refused,
    LeftOut,
}

/// What is followed: a definition, and of its disks those that are in the backup, with their sizes in bytes.
pub(super) struct Followed<'a> {
    pub spec: &'a VmSpec,
    pub disks: Vec<(VdiId, u64)>,
    pub target: Option<Target>,
}

/// Where a standby is, and what it has.
pub(super) struct Place<'a> {
    pub name: VmName,
    pub host: HostId,
    pub pool: PoolId,
    pub record: &'a StandbyRecord,
    pub disks: &'a [DiskSpec],
    pub nics: &'a [NicSpec],
}

/// What becomes of it.
pub(super) struct Shape {
    pub spec: VmSpec,
    pub new_vdis: Vec<NewVdi>,
    /// VDIs of the other with their sizes, and its own.
    pub pairs: Vec<((VdiId, u64), VdiId)>,
}

impl<'a> Followed<'a> {
    /// A backup of a VM.
    pub fn backup(record: &'a BackupRecord) -> Option<Self> {
        let definition = record.definition.as_ref()?;
        let size =
            |name: &str| record.facts.disks.iter().find(|disk| disk.name == name).map(|disk| disk.size);
        let disks = definition.disks.iter().filter_map(|(vdi, name)| Some((*vdi, size(name)?))).collect();
        let target = Target {
            backup: record.facts.id.clone(),
            created: record.created,
            names: definition.disks.clone(),
        };
        Some(Self { spec: &definition.spec, disks, target: Some(target) })
    }
}

fn rounded(bytes: u64) -> Result<VdiSize, ApiError> {
    VdiSize::holding(bytes).map_err(ApiError::internal)
}

impl App {
    /// The network that stands in `pool` for one of a VM elsewhere: what `mapped` says, itself in its own pool, or the one
    /// of the same name. `None`: without that card, or the network is gone.
    pub(super) async fn network_in(
        &self,
        pool: PoolId,
        mapped: &[(NetworkId, Option<NetworkId>)],
        (theirs, unmapped): (NetworkId, Unmapped),
    ) -> Result<Option<Network>, ApiError> {
        let get = async |id: NetworkId| {
            let found = self.db.networks.get(&id).await.map_err(|e| store_error(&e))?;
            Ok::<_, ApiError>(found.map(|found| found.value))
        };
        if let Some((_, ours)) = mapped.iter().find(|(from, _)| *from == theirs) {
            let Some(ours) = ours else { return Ok(None) };
            let ours = get(*ours).await?;
            return match ours.filter(|network| network.pool == pool) {
                None if unmapped == Unmapped::Refused => Err(ApiError::invalid(
                    "networks",
                    "what is to stand for a network is none of that host's pool",
                )),
                ours => Ok(ours),
            };
        }
        let Some(network) = get(theirs).await? else { return Ok(None) };
        if network.pool == pool {
            return Ok(Some(network));
        }
        let (all, _) = self.db.networks.all().await.map_err(|e| store_error(&e))?;
        let mut all = all.into_iter().map(|found| found.value);
        let same = all.find(|other| other.pool == pool && other.name == network.name);
        if same.is_none() && unmapped == Unmapped::Refused {
            let name = network.name;
            let message = format_args!(
                "the pool of that host has no network {name}; say which one stands for it, or an empty one for none"
            );
            return Err(ApiError::invalid("networks", message));
        }
        Ok(same)
    }

    async fn standby_nics(
        &self,
        place: &Place<'_>,
        theirs: &[NicSpec],
        unmapped: Unmapped,
    ) -> Result<Vec<NicSpec>, ApiError> {
        let mut nics = Vec::new();
        for nic in theirs {
            let mapped = &place.record.networks;
            let network = self.network_in(place.pool, mapped, (nic.network, unmapped)).await?;
            let Some(network) = network else { continue };
            let mac: MacAddr = match place.nics.get(nics.len()) {
                Some(own) => own.mac,
                None => self.free_mac().await?,
            };
            nics.push(NicSpec { mac, network: network.id, bridge: network.bridge });
        }
        Ok(nics)
    }

    pub(super) async fn standby_shape(
        &self,
        place: &Place<'_>,
        followed: &Followed<'_>,
        unmapped: Unmapped,
    ) -> Result<Shape, ApiError> {
        let mut spec = VmSpec { name: place.name.clone(), autostart: None, ..followed.spec.clone() };
        spec.hardware.pci.clear();
        spec.hardware.cd = spec.hardware.cd.map(|_| CdDrive::default());
        spec.nics = self.standby_nics(place, &followed.spec.nics, unmapped).await?;
        let (mut new_vdis, mut pairs) = (Vec::new(), Vec::new());
        spec.disks.clear();
        for theirs in &followed.spec.disks {
            let Some(&(of, size)) = followed.disks.iter().find(|(vdi, _)| *vdi == theirs.vdi) else {
                continue;
            };
            let own = place.disks.iter().find(|own| own.device == theirs.device).map(|own| own.vdi);
            let vdi = own.unwrap_or_default();
            if own.is_none() {
                let name: String = format!("{}-{}", place.name, theirs.device).chars().take(128).collect();
                let (sr, size) = (place.record.sr, rounded(size)?);
                new_vdis.push(NewVdi { vdi, sr, size, name, from: None, seed: None });
            }
            pairs.push(((of, size), vdi));
            spec.disks.push(DiskSpec { vdi, ..theirs.clone() });
        }
        if pairs.is_empty() {
            return Err(ApiError::new(Reason::WrongState, "there is no disk to follow"));
        }
        Ok(Shape { spec: validated(spec)?, new_vdis, pairs })
    }

    /// What brings a standby to `followed`, what its VM becomes, and what has to be written for it.
    pub(super) async fn plan_follow(
        &self,
        (vm, standby): (&Record<VmId, VmRecord>, &Record<VmId, StandbyRecord>),
        followed: &Followed<'_>,
        saga: SagaId,
    ) -> Result<(Follow, VmRecord, Transaction), ApiError> {
        let (own, record) = (&vm.value, &standby.value);
        let place = Place {
            name: own.spec.name.clone(),
            host: own.host,
            pool: own.pool,
            record,
            disks: &own.spec.disks,
            nics: &own.spec.nics,
        };
        let shape = self.standby_shape(&place, followed, Unmapped::LeftOut).await?;
        let disks = self.follow_disks(&place, &shape).await?;
        let checkpoint = record.holds.is_some() && self.checkpoint_is_cheap(own.host, &disks);
        let is_changed = shape.spec != own.spec;
        let on_host = self.fleet.vm(vm.key).map_or(0, |(_, seen)| seen.definition);
        let definition = own.definition.max(on_host) + u64::from(is_changed || on_host > own.definition);
        let new = VmRecord { spec: shape.spec.clone(), definition, held_by: Some(saga), ..own.clone() };
        let made: BTreeSet<VdiId> = shape.new_vdis.iter().map(|new| new.vdi).collect();
        let mut commit = self.db.vms.update_in(Transaction::new(), vm, &new);
        let change = (Some(own), Some(&new));
        commit =
            records::follow(&self.db, commit, vm.key, change, &made).await.map_err(|e| store_error(&e))?;
        for vdi in &shape.new_vdis {
            commit = self.insert_vdi(commit, vdi, own.host, super::vdi::MadeFor::Vm(vm.key));
        }
        let nothing = StandbyRecord { holds: None, automatic: true, ..record.clone() };
        commit = self.db.standbys.update_in(commit, standby, &nothing);
        let follow = Follow {
            target: followed.target.clone(),
            disks,
            new_vdis: shape.new_vdis,
            checkpoint,
            before: record.clone(),
            change: Change { old: own.spec.clone(), new: shape.spec, definition },
        };
        Ok((follow, new, commit))
    }

    async fn follow_disks(&self, place: &Place<'_>, shape: &Shape) -> Result<Vec<Disk>, ApiError> {
        let mut disks = Vec::new();
        for ((of, size), vdi) in &shape.pairs {
            let mut size = rounded(*size)?;
            let mut sr = place.record.sr;
            if let Some(found) = self.db.vdis.get(vdi).await.map_err(|e| store_error(&e))? {
                size = size.max(found.value.size);
                sr = found.value.sr;
            }
            let base =
                self.db.bases.get(&(*vdi, place.record.repository)).await.map_err(|e| store_error(&e))?;
            let base = base.map(|base| base.value).filter(|base| base.host == place.host);
            disks.push(Disk { of: *of, vdi: *vdi, sr, size, snapshot: VdiId::new(), base });
        }
        Ok(disks)
    }

    fn checkpoint_is_cheap(&self, host: HostId, disks: &[Disk]) -> bool {
        let state = self.fleet.state(host);
        let shares = |disk: &Disk| {
            let seen = state.as_ref().and_then(|state| state.sr(disk.sr));
            matches!(seen, Some(Ok(seen)) if seen.copy_on_write)
        };
        let to_copy = disks.iter().filter(|disk| !shares(disk)).map(|disk| disk.size.bytes()).sum::<u64>();
        to_copy <= LITTLE
    }

    /// What lets a standby, whose VM is `rising` now, take over.
    pub(super) async fn plan_switch(
        &self,
        (id, rising): (VmId, &VmRecord),
        before: &StandbyRecord,
        falling: Option<&Record<VmId, VmRecord>>,
    ) -> Result<Switch, ApiError> {
        let mut spec = rising.spec.clone();
        let mut other = None;
        if let Some(falling) = falling {
            let mut falls = falling.value.spec.clone();
            spec.autostart = falls.autostart.take();
            if before.keep_macs {
                let left_out = |nic: &NicSpec| before.networks.contains(&(nic.network, None));
                let paired = falls.nics.iter_mut().filter(|nic| !left_out(nic));
                for (risen, fallen) in spec.nics.iter_mut().zip(paired) {
                    std::mem::swap(&mut risen.mac, &mut fallen.mac);
                }
            }
            let sr = match falling.value.spec.disks.first() {
                Some(disk) => self.db.vdis.get(&disk.vdi).await.map_err(|e| store_error(&e))?,
                None => None,
            };
            let back = |(theirs, ours): &(NetworkId, Option<NetworkId>)| Some(((*ours)?, Some(*theirs)));
            let standby = StandbyRecord {
                of: id,
                sr: sr.map_or(before.sr, |vdi| vdi.value.sr),
                networks: before.networks.iter().filter_map(back).collect(),
                // What it wrote since its last backup is gone when it follows: that is for a person to say.
                automatic: false,
                holds: None,
                ..before.clone()
            };
            let on_host = self.fleet.vm(falling.key).map_or(0, |(_, seen)| seen.definition);
            let definition = falling.value.definition.max(on_host) + 1;
            let change = Change { old: falling.value.spec.clone(), new: validated(falls)?, definition };
            other = Some(Falling { vm: falling.key, host: falling.value.host, change, standby });
        }
        let on_host = self.fleet.vm(id).map_or(0, |(_, seen)| seen.definition);
        let definition = rising.definition.max(on_host) + 1;
        let change = Change { old: rising.spec.clone(), new: validated(spec)?, definition };
        let incarnation = IncarnationId::new();
        Ok(Switch { rising: change, falling: other, incarnation, before: before.clone() })
    }

    /// The newest backup that a standby could be brought to. One that is dated ahead would be that until its date has passed.
    pub(crate) async fn newest_for(&self, record: &StandbyRecord) -> Result<Option<BackupRecord>, ApiError> {
        let found = catalogue::of_vm(&self.db, record.of, &[record.repository], catalogue::DATED_AHEAD).await;
        let (found, now) = (found.map_err(|e| store_error(&e))?, OffsetDateTime::now_utc());
        Ok(found.into_iter().find(|backup| catalogue::is_past(backup.created, now)))
    }

    /// How much would be lost if a standby took over now, as far as is known.
    pub(super) fn behind(record: &StandbyRecord, now: OffsetDateTime) -> Option<time::Duration> {
        record.holds.as_ref().map(|holds| now - holds.created)
    }
}
