//! Making a running domain agree with its definition, change by change.
//!
//! Each change is noted when it is made, so that an error or a crash half way is continued by the next apply.
//! All but one can be made twice. A device that is plugged in is not plugged in once more, so which one it is to
//! be is written before ([`Run::attaching`]): after a crash between the plug and the note, the next apply knows
//! that what it finds there is that one, and not somebody else's of the same name.
//!
//! [`Run::attaching`]: crate::journal::Run::attaching

use std::sync::Arc;

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_types::{DiskAccess, Fault, FaultReason};

use crate::fault::from_hypervisor;
use crate::journal::{Attaching, VmRecord};
use crate::vm::apply::{self, Change};
use crate::vm::domain_spec;
use crate::vm::driver::{Done, Driver, Finished};
use crate::vm::snapshot::blocking;
use crate::vm::state::{Settled, Up};

impl Driver {
    pub async fn apply(self: Arc<Self>, mut record: VmRecord, up: Up) -> Finished {
        let result = self.apply_all(&mut record, up.domid).await;
        let result = result.map(|after_restart| Done::Applied { after_restart });
        Finished { record, settled: Settled::Up(up), result }
    }

    async fn apply_all(&self, record: &mut VmRecord, domid: DomId) -> Result<Vec<String>, Fault> {
        self.finish_attaching(record, domid).await?;
        let Some(run) = &record.run else {
            return Err(Fault::new(FaultReason::Internal, "a running VM has no run in the journal"));
        };
        let plan = apply::plan(&run.applied, record.spec.get());
        for change in plan.changes {
            match attaching(&change) {
                Some(device) => self.attach(record, domid, device).await?,
                None => {
                    self.change(domid, &change).await?;
                    self.note(record, &change).await?;
                }
            }
        }
        Ok(plan.after_restart)
    }

    async fn note(&self, record: &mut VmRecord, change: &Change) -> Result<(), Fault> {
        if let Some(run) = &mut record.run {
            run.attaching = None;
            apply::note(&mut run.applied, change);
        }
        self.save(record).await
    }

    async fn set_attaching(&self, record: &mut VmRecord, device: Option<Attaching>) -> Result<(), Fault> {
        let mut written = record.clone();
        if let Some(run) = &mut written.run {
            run.attaching = device;
        }
        self.save(&written).await?;
        *record = written;
        Ok(())
    }

    async fn attach(&self, record: &mut VmRecord, domid: DomId, device: Attaching) -> Result<(), Fault> {
        self.set_attaching(record, Some(device.clone())).await?;
        let error = match self.lease_and_plug_in(record, domid, &device).await {
            Ok(()) => return self.note(record, &device.into()).await,
            Err(error) => error,
        };
        // The guest may have it all the same. As long as that is not known, it stays noted: it is in use, and its lease ours.
        if may_be_there(&error)
            && let Err(also) = self.change(domid, &detaching(&device)).await
        {
            tracing::warn!(vm = %record.vm, %also, "a device that was not attached may be there; the next change looks");
            return Err(error.into());
        }
        if let Err(also) = self.set_attaching(record, None).await {
            tracing::warn!(vm = %record.vm, %also, "a device that was not attached stays noted");
        }
        Err(error.into())
    }

    /// What an agent that was killed was attaching is attached, or taken out again where that is not possible.
    async fn finish_attaching(&self, record: &mut VmRecord, domid: DomId) -> Result<(), Fault> {
        let Some(device) = record.run.as_ref().and_then(|run| run.attaching.clone()) else { return Ok(()) };
        match self.lease_and_plug_in(record, domid, &device).await {
            Ok(()) => self.note(record, &device.into()).await,
            // Perhaps half of it: nobody was told of it, so it is taken out and plugged in anew.
            Err(Unplugged::Hypervisor(HypervisorError::AlreadyAttached { .. })) => {
                self.change(domid, &detaching(&device)).await?;
                self.plug_in(domid, &device).await?;
                self.note(record, &device.into()).await
            }
            Err(_) => {
                self.change(domid, &detaching(&device)).await?;
                self.set_attaching(record, None).await
            }
        }
    }

    async fn lease_and_plug_in(
        &self,
        record: &VmRecord,
        domid: DomId,
        device: &Attaching,
    ) -> Result<(), Unplugged> {
        if let Attaching::Disk(disk) = device {
            self.take_lease(record, disk).await.map_err(Unplugged::Unknown)?;
        }
        self.plug_in(domid, device).await
    }

    async fn plug_in(&self, domid: DomId, device: &Attaching) -> Result<(), Unplugged> {
        let plugged_in = match device {
            Attaching::Disk(disk) => {
                let (resolver, disk) = (self.resolver.clone(), disk.clone());
                let disk = blocking(move || resolver.disk(&disk)).await.map_err(Unplugged::Unknown)?;
                self.hypervisor.attach_disk(domid, &disk).await
            }
            Attaching::Nic(nic) => self.hypervisor.attach_nic(domid, &domain_spec::nic(nic)).await,
        };
        plugged_in.map_err(Unplugged::Hypervisor)
    }

    async fn change(&self, domid: DomId, change: &Change) -> Result<(), Fault> {
        let hypervisor = &self.hypervisor;
        let result = match change {
            Change::SetMemory(target) => hypervisor.set_memory(domid, *target).await,
            Change::SetVcpus(online) => hypervisor.set_vcpus(domid, *online).await,
            Change::SetCpuShare(share) => hypervisor.set_cpu_share(domid, share).await,
            Change::ChangeCd(vdi) => {
                let (resolver, vdi) = (self.resolver.clone(), *vdi);
                let find = move || {
                    vdi.map(|vdi| resolver.image("hardware.cd", vdi, DiskAccess::ReadOnly)).transpose()
                };
                hypervisor.change_cd(domid, blocking(find).await?.as_deref()).await
            }
            Change::DetachDisk(device) => gone_is_fine(hypervisor.detach_disk(domid, *device).await),
            Change::DetachNic(mac) => gone_is_fine(hypervisor.detach_nic(domid, *mac).await),
            Change::AttachDisk(disk) => {
                return self.plug_in(domid, &Attaching::Disk(disk.clone())).await.map_err(Fault::from);
            }
            Change::AttachNic(nic) => {
                return self.plug_in(domid, &Attaching::Nic(nic.clone())).await.map_err(Fault::from);
            }
        };
        result.map_err(|error| from_hypervisor(&error))
    }
}

/// Why a device is not plugged in.
enum Unplugged {
    /// What it is made of is not there.
    Unknown(Fault),
    Hypervisor(HypervisorError),
}

impl From<Unplugged> for Fault {
    fn from(why: Unplugged) -> Self {
        match why {
            Unplugged::Unknown(fault) => fault,
            Unplugged::Hypervisor(error) => from_hypervisor(&error),
        }
    }
}

/// Of a device whose plugging in failed. One of its name that was there before is somebody else's.
const fn may_be_there(why: &Unplugged) -> bool {
    match why {
        Unplugged::Unknown(_) | Unplugged::Hypervisor(HypervisorError::AlreadyAttached { .. }) => false,
        Unplugged::Hypervisor(_) => true,
    }
}

fn attaching(change: &Change) -> Option<Attaching> {
    match change {
        Change::AttachDisk(disk) => Some(Attaching::Disk(disk.clone())),
        Change::AttachNic(nic) => Some(Attaching::Nic(nic.clone())),
        _ => None,
    }
}

fn detaching(device: &Attaching) -> Change {
    match device {
        Attaching::Disk(disk) => Change::DetachDisk(disk.device),
        Attaching::Nic(nic) => Change::DetachNic(nic.mac),
    }
}

impl From<Attaching> for Change {
    fn from(device: Attaching) -> Self {
        match device {
            Attaching::Disk(disk) => Self::AttachDisk(disk),
            Attaching::Nic(nic) => Self::AttachNic(nic),
        }
    }
}

fn gone_is_fine(result: Result<(), HypervisorError>) -> Result<(), HypervisorError> {
    match result {
        Err(HypervisorError::NoSuchDevice { .. }) => Ok(()),
        other => other,
    }
}
