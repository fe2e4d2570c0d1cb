//! The agents, and the records that the orchestrator has of them and of their VMs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use time::OffsetDateTime;
use xenith_common_ids::{DomId, HostId, IncarnationId, NetworkId, SrId, VdiId, VmId};
use xenith_common_pki::KeyAndRequest;
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent::agent::Agent;
use xenith_hypervisor_agent::backends::over;
use xenith_hypervisor_agent::config::Config;
use xenith_hypervisor_agent::identity::Identity;
use xenith_hypervisor_agent::journal::{By, Journal, Phase, Run, VmRecord as Journaled};
use xenith_hypervisor_agent::vm::registry::Settings;
use xenith_hypervisor_agent_backend::{Hypervisor, Start};
use xenith_hypervisor_agent_sim::{SimConfig, SimHypervisor};
use xenith_hypervisor_agent_types::{
    DirectBoot, DiskDevice, DiskSpec, DomainIdentity, DomainNic, DomainSpec, Firmware, Graphics, MemorySpec,
    NicSpec, Platform, PlatformKind, ValidVmSpec, VcpuSpec, VmSpec,
};
use xenith_orchestrator::db::Db;
use xenith_orchestrator::model::{HostRecord, VmRecord};
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::vdi::Vdi;

use crate::orchestrator::Filling;

/// One VM of so many does not run, has no disk, and is there to be started.
const STOPPED: usize = 20;

/// Bytes of each disk, none of which takes space.
const DISK: u64 = 10 << 30;

/// A VM that runs.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    pub vm: VmId,
    pub domid: DomId,
}

pub struct Host {
    pub sim: Arc<SimHypervisor>,
    pub guests: Vec<Guest>,
    pub stopped: Vec<VmId>,
    /// Held: it serves until the process ends.
    _agent: Agent,
}

/// What all hosts have in common.
pub struct Plan<'a> {
    pub folder: &'a Path,
    pub vms: usize,
    pub sample: Duration,
    pub network: NetworkId,
    pub config: Arc<SimConfig>,
}

const TAGS: [&str; 8] = ["prod", "test", "billing", "web", "database", "team-a", "team-b", "batch"];
/// One VM of so many has another one, which rules name.
const GATEWAYS: usize = 200;
const GATEWAY: &str = "gateway";
const ROLES: [&str; 6] = ["web", "db", "cache", "billing", "queue", "desktop"];

fn mib(mib: u64) -> Result<MemoryMiB> {
    Ok(MemoryMiB::new(mib)?)
}

/// `index` counts over the fleet.
fn spec(plan: &Plan<'_>, index: usize, vdi: Option<VdiId>) -> Result<VmSpec> {
    let memory = mib([128, 256, 512][index % 3])?;
    let boot = DirectBoot { kernel: "vmlinuz".into(), ramdisk: None, cmdline: String::new() };
    let block = u32::try_from(index)?.to_be_bytes();
    let device = DiskDevice::nth(0).context("there is a first device")?;
    Ok(VmSpec {
        name: format!("{}-{index}", ROLES[index % ROLES.len()]).parse()?,
        platform: Platform::Pvh { boot },
        vcpus: VcpuSpec { online: VcpuCount::ONE, max: VcpuCount::new(4)? },
        memory: MemorySpec { target: memory, max: memory },
        disks: vdi.map(|vdi| DiskSpec { device, vdi, access: Default::default() }).into_iter().collect(),
        nics: vec![NicSpec {
            mac: MacAddr::from_xen_block([block[1], block[2], block[3]]),
            network: plan.network,
            bridge: "xenbr0".into(),
        }],
        graphics: Default::default(),
        on_crash: Default::default(),
        on_reboot: Default::default(),
        autostart: None,
        hardware: Default::default(),
    })
}

fn domain(spec: &VmSpec, identity: DomainIdentity) -> DomainSpec {
    let kernel = DirectBoot { kernel: "/boot/vmlinuz".into(), ramdisk: None, cmdline: String::new() };
    DomainSpec {
        identity,
        name: spec.name.clone(),
        kind: PlatformKind::Pvh,
        direct_boot: Some(kernel),
        firmware: Firmware::Bios,
        boot_order: vec![],
        vcpus: spec.vcpus,
        memory: spec.memory,
        disks: vec![],
        nics: spec.nics.iter().map(|nic| DomainNic { mac: nic.mac, bridge: nic.bridge.clone() }).collect(),
        graphics: Graphics::None,
        hardware: Default::default(),
    }
}

impl Host {
    /// Makes the host with everything on it, lets its agent adopt that, and writes the orchestrator's records.
    pub async fn start(plan: &Plan<'_>, number: usize, filling: &Filling) -> Result<Self> {
        let folder = plan.folder.join(number.to_string());
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            boot: plan.folder.join("boot"),
            storage: folder.join("sr"),
            state: folder.join("state"),
            join_token: folder.join("token"),
            ..Config::default()
        };
        let host = HostId::new();
        let key = KeyAndRequest::generate()?;
        let issued = filling.certificates.issue_for_host(&key.request_pem, host)?;
        let authority = filling.certificates.authority().certificate_pem().to_owned();
        let identity = Identity::enrol(&config.state, host, &key, issued.certificate_pem, authority)?;
        let sim = SimHypervisor::builder()
            .config(Arc::clone(&plan.config))
            .seed(crate::SEED + number as u64)
            .hostname(format!("xen{number}"))
            .build();
        let vms = populate(plan, number, (&sim, &Journal::open(&config.state)?)).await?;
        images(&config.storage, &vms)?;
        let settings = Settings { sample: plan.sample, ..Settings::default() };
        let agent = Agent::start(&config, Arc::new(identity), over(&sim, settings, "boot")).await?;
        let record = HostRecord {
            name: format!("xen{number}"),
            pool: filling.pool,
            address: agent.address.to_string(),
            peer_address: None,
            maintenance: false,
            joined: OffsetDateTime::now_utc(),
            local_sr: Journal::open(&config.state)?.load_host()?.map(|host| host.local_sr),
            certificate_serial: issued.details.serial,
            certificate_expires: issued.details.not_after,
            issued: vec![],
            previous_serial: None,
            any_certificate: false,
            held_by: None,
            disarmed: false,
            power: None,
        };
        write_records(&filling.db, (host, &record), &vms).await?;
        let guests = vms.iter().filter_map(|vm| Some(Guest { vm: vm.id, domid: vm.domid? })).collect();
        let stopped = vms.iter().filter(|vm| vm.domid.is_none()).map(|vm| vm.id).collect();
        Ok(Self { sim, guests, stopped, _agent: agent })
    }
}

struct Made {
    id: VmId,
    index: usize,
    spec: VmSpec,
    domid: Option<DomId>,
}

/// Domains on the host, and the agent's journal of them.
async fn populate(
    plan: &Plan<'_>,
    number: usize,
    (sim, journal): (&SimHypervisor, &Journal),
) -> Result<Vec<Made>> {
    let mut made = Vec::with_capacity(plan.vms);
    for index in number * plan.vms..(number + 1) * plan.vms {
        let (id, runs) = (VmId::new(), index % STOPPED != 0);
        let spec = spec(plan, index, runs.then(VdiId::new))?;
        let mut journaled = Journaled::new(id, 1, ValidVmSpec::try_from(spec.clone())?);
        let mut domid = None;
        if runs {
            let incarnation = IncarnationId::new();
            let identity = DomainIdentity { vm: id, incarnation };
            domid = Some(sim.create(&domain(&spec, identity), Start::Running).await?);
            journaled.run = Some(Run {
                incarnation,
                phase: Phase::Running,
                applied: spec.clone(),
                by: By::Orchestrator,
                started: OffsetDateTime::now_utc(),
                asked: None,
                attaching: None,
                cpu_given: None,
                leased: false,
                domid,
            });
        }
        journal.save(&journaled)?;
        made.push(Made { id, index, spec, domid });
    }
    Ok(made)
}

/// Their disks in the host's SR: where they were missing, the orchestrator would find each of them missing.
fn images(sr: &Path, vms: &[Made]) -> Result<()> {
    std::fs::create_dir_all(sr)?;
    for disk in vms.iter().flat_map(|vm| &vm.spec.disks) {
        std::fs::File::create(sr.join(format!("{}.raw", disk.vdi)))?.set_len(DISK)?;
    }
    Ok(())
}

async fn write_records(db: &Db, (host, record): (HostId, &HostRecord), vms: &[Made]) -> Result<()> {
    let commit = db.hosts.insert_in(Transaction::new(), &host, record);
    db.store.commit(db.host_names.insert_in(commit, &record.name, &host)).await?;
    let sr = record.local_sr.unwrap_or_else(SrId::new);
    // A transaction holds 128 operations; a VM is eight.
    for chunk in vms.chunks(15) {
        let mut commit = Transaction::new();
        for Made { id, index, spec, .. } in chunk {
            let tags = [index % TAGS.len(), index / TAGS.len() % TAGS.len()].map(|tag| TAGS[tag]);
            let gateway = (index % GATEWAYS == 3).then_some(GATEWAY);
            let vm = VmRecord {
                description: format!("{} of team {}", ROLES[index % ROLES.len()], index % 97),
                tags: tags.into_iter().chain(gateway).map(str::to_owned).collect::<BTreeSet<_>>(),
                ..VmRecord::new(spec.clone(), (record.pool, host))
            };
            commit = db.vms.insert_in(commit, id, &vm);
            commit = db.vm_names.insert_in(commit, &(spec.name.to_string(), record.pool), id);
            for nic in &spec.nics {
                commit = db.macs.insert_in(commit, &nic.mac.to_string(), id);
            }
            for disk in &spec.disks {
                let name = format!("{}-{}", spec.name, disk.device);
                let size = DISK.try_into()?;
                let (attached_to, held_by, leased_to) = (Some(*id), None, None);
                let vdi = Vdi { id: disk.vdi, name, size, sr, host, attached_to, held_by, leased_to };
                commit = db.vdis.insert_in(commit, &disk.vdi, &vdi);
            }
        }
        db.store.commit(commit).await?;
    }
    Ok(())
}
