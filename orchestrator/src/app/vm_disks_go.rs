//! Which disks of a VM go along to another host, and where to.

use serde_json::{Value, json};
use xenith_common_ids::{HostId, SagaId, VdiId, VmId};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::vm::MigrateVm;
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::vdi::{MadeFor, whole};
use crate::errors::store_error;
use crate::model::VmRecord;
use crate::placement::NeededSr;
use crate::sagas::NewVdi;
use crate::sagas::mirror::{Mirror, Mirrored, Rest, passes};

/// What becomes of disks that the other host does not reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DisksGo {
    /// They rule it out.
    No,
    Yes {
        /// Without one, the local SR of the host.
        sr: Option<String>,
        bandwidth: u64,
    },
}

impl From<&MigrateVm> for DisksGo {
    fn from(request: &MigrateVm) -> Self {
        match request.move_disks || request.sr.is_some() {
            true => Self::Yes { sr: request.sr.clone(), bandwidth: request.bandwidth },
            false => Self::No,
        }
    }
}

/// The disks that go, each with what it becomes.
pub(super) type Going = Vec<(Record<VdiId, Vdi>, NewVdi)>;

impl App {
    /// What a host must reach for a VM whose disks may go: the SR that they go to, and the ISO in its drive.
    pub(super) async fn srs_without_disks(
        &self,
        call: &Call,
        found: &Record<VmId, VmRecord>,
        sr: Option<&str>,
    ) -> Result<Vec<NeededSr>, ApiError> {
        let record = &found.value;
        if let Some(snapshot) = self.snapshots_of(found.key).await?.first() {
            let message = format_args!(
                "the snapshot {} of {} keeps its disks where they are; delete its snapshots first, or leave it there",
                snapshot.value.name, record.spec.name
            );
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let mut disks = super::vm_spec::Disks::default();
        if let Some(iso) = record.spec.hardware.cd.and_then(|cd| cd.vdi)
            && let Some(vdi) = self.db.vdis.get(&iso).await.map_err(|e| store_error(&e))?
        {
            disks.need(self.reach_of(&vdi.value).await?);
        }
        if let Some(sr) = sr {
            let sr = self.find_sr(call, sr).await?;
            disks.need(NeededSr { name: sr.record.name, hosts: std::sync::Arc::new(sr.record.hosts) });
        }
        Ok(disks.srs)
    }

    /// Those that the host does not reach.
    pub(super) async fn disks_that_go(
        &self,
        call: &Call,
        record: &VmRecord,
        (to, sr): (HostId, Option<&str>),
    ) -> Result<Going, ApiError> {
        let mut going = Vec::new();
        for disk in &record.spec.disks {
            let Some(vdi) = self.db.vdis.get(&disk.vdi).await.map_err(|e| store_error(&e))? else { continue };
            if self.reach_of(&vdi.value).await?.hosts.contains(&to) {
                continue;
            }
            whole(&vdi)?;
            self.within_reach(&vdi.value).await?;
            let sr = self.sr_on(call, to, sr).await?;
            self.not_a_library(sr).await?;
            let Vdi { name, size, .. } = &vdi.value;
            let new =
                NewVdi { vdi: VdiId::new(), sr, size: *size, name: name.clone(), from: None, seed: None };
            going.push((vdi, new));
        }
        Ok(going)
    }

    /// Adds to the transaction that starts the saga: the records of the copies, and that the disks are held.
    pub(super) fn with_copies(
        &self,
        mut commit: Transaction,
        going: &Going,
        (to, saga): (HostId, SagaId),
    ) -> Transaction {
        for (found, new) in going {
            commit = self.insert_vdi(commit, new, to, MadeFor::Itself(saga));
            commit = self.hold_vdi(commit, found, saga);
        }
        commit
    }

    /// `None`: no disk goes.
    pub(super) fn mirror_of(
        &self,
        (vm, record): (VmId, &VmRecord),
        going: Going,
        (to, rest): (HostId, Rest),
        bandwidth: u64,
    ) -> Option<Mirror> {
        if going.is_empty() {
            return None;
        }
        Some(Mirror {
            vm,
            from: record.host,
            to,
            disks: going.into_iter().map(|(found, new)| Mirrored::new(found.value, new)).collect(),
            rest,
            memory: if rest == Rest::Sent { record.spec.memory.target.bytes() } else { 0 },
            authority_pem: self.certificates.authority().certificate_pem().to_owned(),
            bandwidth,
        })
    }

    /// What a plan says of them; nothing where none goes.
    pub(super) fn told_of_going(&self, going: &Going, bandwidth: u64) -> Value {
        if going.is_empty() {
            return Value::Null;
        }
        let disk = |(found, new): &(Record<VdiId, Vdi>, NewVdi)| json!({ "name": found.value.name, "size": new.size, "from_sr": found.value.sr, "to_sr": new.sr });
        let sizes: Vec<_> =
            going.iter().map(|(found, new)| ((found.value.sr, new.sr), new.size.bytes())).collect();
        json!({
            "disks": going.iter().map(disk).collect::<Vec<_>>(),
            "copy": self.told_of_copies(&sizes, bandwidth),
            "stands": format!(
                "while what a running VM wrote last goes to the disks and the memory: about {} s at most for the disks, \
                 or it stays where it is",
                passes::STANDS_WITH_MEMORY.as_secs()
            ),
            "lost": ["the disks here, with their ids, once the VM is there"],
        })
    }
}
