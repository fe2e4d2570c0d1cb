//! From a request to a whole definition: devices chosen, networks and disks found, MACs made.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::rand;
use xenith_common_ids::{HostId, PoolId, SrId, VdiId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::{
    DiskDevice, DiskSpec, NicSpec, SpecErrors, ValidVmSpec, VdiSize, VmSpec,
};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_types::sr::SrContent;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::vm::{NewDisk, NewNic};
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use crate::errors::store_error;
use crate::placement::NeededSr;
use crate::sagas::NewVdi;

/// Disks that a request names, before the host is known.
#[derive(Debug, Default)]
pub(super) struct Disks {
    pub specs: Vec<DiskSpec>,
    /// VDIs to make.
    pub new: Vec<WantedVdi>,
    /// Where they are, and will be; without those that are made wherever the VM goes.
    pub srs: Vec<NeededSr>,
}

#[derive(Debug)]
pub(super) struct WantedVdi {
    vdi: VdiId,
    size: VdiSize,
    name: String,
    /// Without one, the local SR of the VM's host.
    sr: Option<SrId>,
}

impl Disks {
    pub fn need(&mut self, sr: NeededSr) {
        if !self.srs.contains(&sr) {
            self.srs.push(sr);
        }
    }

    /// An SR among them that the host does not reach.
    pub fn out_of_reach(&self, host: HostId) -> Option<&NeededSr> {
        self.srs.iter().find(|sr| !sr.hosts.contains(&host))
    }

    /// Whether there is no host that reaches them all.
    fn are_apart(&self) -> bool {
        let mut hosts = self.srs.iter().flat_map(|sr| sr.hosts.iter());
        hosts.all(|host| self.out_of_reach(*host).is_some())
    }

    /// `local` is the SR for those that name none.
    pub fn new_vdis(&self, local: SrId) -> Vec<NewVdi> {
        let make = |wanted: &WantedVdi| NewVdi {
            vdi: wanted.vdi,
            sr: wanted.sr.unwrap_or(local),
            size: wanted.size,
            name: wanted.name.clone(),
            from: None,
            seed: None,
        };
        self.new.iter().map(make).collect()
    }
}

pub(super) fn validated(spec: VmSpec) -> Result<VmSpec, ApiError> {
    ValidVmSpec::try_from(spec).map(ValidVmSpec::into_inner).map_err(|SpecErrors(errors)| {
        let lines: Vec<String> =
            errors.iter().map(|error| format!("{}: {}", error.field, error.problem)).collect();
        let mut told = ApiError::new(Reason::Invalid, lines.join("; "));
        told.data.field = errors.first().map(|error| error.field.clone());
        told.data.detail = lines;
        told
    })
}

impl App {
    /// `used` are the devices that the VM has already.
    pub(super) async fn disks(
        &self,
        call: &Call,
        vm_name: &str,
        wanted: &[NewDisk],
        mut used: BTreeSet<DiskDevice>,
    ) -> Result<Disks, ApiError> {
        let mut disks = Disks::default();
        used.extend(wanted.iter().filter_map(|disk| disk.device));
        for (index, disk) in wanted.iter().enumerate() {
            let device = match disk.device {
                Some(device) => device,
                None => (0..DiskDevice::COUNT)
                    .filter_map(DiskDevice::nth)
                    .find(|device| !used.contains(device))
                    .ok_or_else(|| {
                        ApiError::invalid(format!("disks[{index}]"), "all disk devices are in use")
                    })?,
            };
            used.insert(device);
            let vdi = match (&disk.vdi, disk.size) {
                (None, Some(size)) => {
                    let vdi = VdiId::new();
                    let sr = self.sr_of_new_disk(call, index, disk, &mut disks).await?;
                    disks.new.push(WantedVdi { vdi, size, name: format!("{vm_name}-{device}"), sr });
                    vdi
                }
                (Some(reference), None) => {
                    let found = self.find_vdi(call, reference).await?;
                    // Who may only look at it reads nothing of it, nor through a VM of theirs.
                    self.may_provision(call, &found.value)?;
                    super::vdi::whole(&found)?;
                    if let Some(vm) = found.value.attached_to {
                        return Err(ApiError::new(
                            Reason::Conflict,
                            format_args!("VDI {reference:?} is attached to VM {vm}; detach it there first"),
                        ));
                    }
                    let alone = disks.srs.is_empty();
                    disks.need(self.reach_of(&found.value).await?);
                    if !alone && disks.are_apart() {
                        return Err(ApiError::invalid(
                            format!("disks[{index}].vdi"),
                            "no host reaches it and the disks before it; a VM needs one that reaches all",
                        ));
                    }
                    found.key
                }
                _ => {
                    return Err(ApiError::invalid(
                        format!("disks[{index}]"),
                        "give either size, for a new VDI, or vdi, for one that is there",
                    ));
                }
            };
            disks.specs.push(DiskSpec { device, vdi, access: disk.access });
        }
        Ok(disks)
    }

    async fn sr_of_new_disk(
        &self,
        call: &Call,
        index: usize,
        disk: &NewDisk,
        disks: &mut Disks,
    ) -> Result<Option<SrId>, ApiError> {
        let Some(reference) = &disk.sr else { return Ok(None) };
        let sr = self.find_sr(call, reference).await?;
        if sr.record.content == SrContent::Iso {
            let problem = "is a library of ISO images; disks go into another SR";
            return Err(ApiError::invalid(format!("disks[{index}].sr"), problem));
        }
        disks.need(NeededSr { name: sr.record.name, hosts: Arc::new(sr.record.hosts) });
        Ok(Some(sr.id))
    }

    /// The SR of a VDI, and who reaches it.
    pub(super) async fn reach_of(&self, vdi: &Vdi) -> Result<NeededSr, ApiError> {
        Ok(match self.sr_record(vdi.sr).await? {
            Some(record) => NeededSr { name: record.name, hosts: Arc::new(record.hosts) },
            // A local one of a host that has not told of it yet.
            None => NeededSr { name: vdi.sr.to_string(), hosts: Arc::new(BTreeSet::from([vdi.host])) },
        })
    }

    pub(super) async fn nics(&self, call: &Call, wanted: &[NewNic]) -> Result<Vec<NicSpec>, ApiError> {
        let mut nics = Vec::with_capacity(wanted.len());
        for (index, nic) in wanted.iter().enumerate() {
            let network = self.find_network(call, &nic.network).await?;
            let mac = match nic.mac {
                Some(mac) => {
                    let taken = self.db.macs.get(&mac.to_string()).await.map_err(|e| store_error(&e))?;
                    if let Some(vm) = taken {
                        // That it is taken has to be told; by whom is for who may see that VM.
                        let sees = call.caller.sight(Permission::View);
                        let vm = self.views.vm(vm.value).filter(|vm| sees.covers(Some(vm.pool), &*vm.tags));
                        let whose = vm.map_or_else(|| "another VM".to_owned(), |vm| vm.name.to_string());
                        let mut error = ApiError::invalid(
                            format!("nics[{index}].mac"),
                            format_args!("{mac} belongs to {whose}"),
                        );
                        error.data.reason = Reason::Conflict;
                        return Err(error);
                    }
                    mac
                }
                None => self.free_mac().await?,
            };
            nics.push(NicSpec { mac, network: network.key, bridge: network.value.bridge });
        }
        Ok(nics)
    }

    /// Refuses a network of another pool. Hosts have bridges of one name everywhere: who declares networks in one pool would
    /// open a bridge of another, whose admin never gave it to anybody.
    pub(super) async fn networks_are_of(&self, pool: PoolId, nics: &[NicSpec]) -> Result<(), ApiError> {
        for (index, nic) in nics.iter().enumerate() {
            let network = self.db.networks.get(&nic.network).await.map_err(|e| store_error(&e))?;
            if let Some(network) = network.filter(|network| network.value.pool != pool) {
                let problem = format!("{} is a network of another pool than the VM", network.value.name);
                return Err(ApiError::invalid(format!("nics[{index}].network"), problem));
            }
        }
        Ok(())
    }

    pub(super) async fn free_mac(&self) -> Result<MacAddr, ApiError> {
        // 16 million addresses: the second try is rare, the eighth a sign of something else.
        for _ in 0..8 {
            let mut random = [0; 3];
            rand::fill(&mut random).map_err(|_| ApiError::internal("the system has no randomness"))?;
            let mac = MacAddr::from_xen_block(random);
            if self.db.macs.get(&mac.to_string()).await.map_err(|e| store_error(&e))?.is_none() {
                return Ok(mac);
            }
        }
        Err(ApiError::internal("no free MAC address was found"))
    }
}
