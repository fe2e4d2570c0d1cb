//! A disk of a running VM goes to another SR of its host.

use serde_json::{Value, json};
use xenith_common_ids::{SagaId, SrId, TaskId, VdiId, VmId};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::begin::About;
use super::vdi::MadeFor;
use crate::model::VmRecord;
use crate::sagas::NewVdi;
use crate::sagas::mirror::{Mirror, Mirrored, Rest, passes};
use crate::sagas::vdi_move::{Params, VdiMove};

impl App {
    /// What speaks against it was looked at as for a VM that is off; this is what a running one adds.
    pub(super) async fn move_running(
        &self,
        call: &Call,
        (found, vm): (Record<VdiId, Vdi>, Record<VmId, VmRecord>),
        (to, bandwidth): (NewVdi, u64),
    ) -> Result<TaskStarted, ApiError> {
        let record = &vm.value;
        let name = &record.spec.name;
        if !record.spec.hardware.pci.is_empty() {
            let message = format_args!(
                "{name} has PCI devices of its host, so its memory cannot be saved; shut it down first"
            );
            return Err(ApiError::new(Reason::WrongState, message));
        }
        self.nothing_comes_in(&vm).await?;
        let title = format!("Move VDI {} of {name} while it runs", found.value.name);
        if call.dry_run {
            let between = (found.value.sr, to.sr);
            let copied = self.told_of_copies(&[(between, to.size.bytes())], bandwidth);
            let memory = record.spec.memory.target.mib();
            return Err(call.planned(json!({
                "title": title,
                "size": to.size,
                "from": { "host": found.value.host, "sr": found.value.sr, "vdi": found.key },
                "to": { "host": found.value.host, "sr": to.sr },
                "vm": format!("{name}: its disk is the new VDI then"),
                "copy": copied,
                "stands": format!(
                    "while {memory} MiB of memory are written to the disk of its host and read again, and what it wrote \
                     last is copied ({} s at most, or it stays as it is)",
                    passes::STANDS.as_secs()
                ),
                "made": ["a VDI with a new id, which has the name and the contents of this one"],
                "lost": ["this VDI and its id, once the VM runs with the new one"],
            })));
        }
        let saga = SagaId::new();
        // A host may have a newer one than an orchestrator that was restored from a backup.
        let on_host = self.fleet.vm(vm.key).map_or(0, |(_, seen)| seen.definition);
        let definition = record.definition.max(on_host);
        let held = VmRecord { held_by: Some(saga), definition, ..record.clone() };
        let commit = self.insert_vdi(Transaction::new(), &to, found.value.host, MadeFor::Itself(saga));
        let mut commit = self.hold_vdi(commit, &found, saga);
        commit = self.db.vms.update_in(commit, &vm, &held);
        let id = to.vdi.to_string();
        let host = found.value.host;
        let subjects = vec![
            format!("vdi/{}", found.key),
            format!("vdi/{id}"),
            format!("host/{host}"),
            format!("vm/{}", vm.key),
        ];
        let about = About { method: "vdi.migrate", title, subjects, object: Some(&id) };
        let mirror = Mirror {
            vm: vm.key,
            from: host,
            to: host,
            disks: vec![Mirrored::new(found.value, to)],
            rest: Rest::Saved,
            memory: 0,
            authority_pem: self.certificates.authority().certificate_pem().to_owned(),
            bandwidth,
        };
        let params = Params { mirror, definition, spec: record.spec.clone() };
        self.begin::<VdiMove>(call, (saga, &params), about, commit).await
    }

    /// Nobody makes it larger, copies or deletes it while a saga moves it.
    pub(super) fn hold_vdi(
        &self,
        commit: Transaction,
        found: &Record<VdiId, Vdi>,
        saga: SagaId,
    ) -> Transaction {
        let held = Vdi { held_by: Some(TaskId::from(saga)), ..found.value.clone() };
        self.db.vdis.update_in(commit, found, &held)
    }

    /// What a plan says of disks that are copied: how much, and how long that takes at the rate of the last copy.
    pub(super) fn told_of_copies(&self, disks: &[((SrId, SrId), u64)], bandwidth: u64) -> Value {
        let bytes: u64 = disks.iter().map(|(_, bytes)| bytes).sum();
        let limited = |rate: u64| if bandwidth == 0 { rate } else { rate.min(bandwidth) };
        let took = |(between, bytes): &((SrId, SrId), u64)| {
            let measured = self.imports.copy_rate(*between).map(limited);
            let rate = measured.or((bandwidth > 0).then_some(bandwidth))?;
            Some(bytes / rate.max(1))
        };
        let seconds: Option<u64> = disks.iter().map(took).sum();
        let expected = seconds.map_or_else(
            || "not known: nothing was copied between these SRs since the orchestrator started".to_owned(),
            |seconds| {
                format!("about {seconds} s, at the rate of the last copy between these SRs or the limit")
            },
        );
        json!({
            "at_most_bytes": bytes,
            "expected": expected,
            "then": format!("what the VM writes meanwhile, in {} passes at most", passes::MOST),
        })
    }
}
