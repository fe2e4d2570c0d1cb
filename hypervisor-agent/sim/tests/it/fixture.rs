//! What tests of the simulator share: specs, and the suite's fixture.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use xenith_common_ids::{DomId, IncarnationId, VmId};
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_backend::conformance::{Ability, Backend, Fixture, Lack};
use xenith_hypervisor_agent_sim::{Foreign, SimHypervisor};
use xenith_hypervisor_agent_types::{
    BootDevice, CpuShare, DirectBoot, DomainIdentity, DomainNic, DomainSpec, Firmware, Graphics, MemorySpec,
    PlatformKind, VcpuSpec,
};

pub fn mib(mib: u64) -> MemoryMiB {
    MemoryMiB::new(mib).unwrap()
}

pub fn mac(last: u8) -> MacAddr {
    MacAddr::from_xen_block([0, 0, last])
}

/// A PVH guest with 256 of at most 512 MiB and one of at most four virtual CPUs.
pub fn spec(name: &str) -> DomainSpec {
    DomainSpec {
        identity: DomainIdentity { vm: VmId::new(), incarnation: IncarnationId::new() },
        name: name.parse().unwrap(),
        kind: PlatformKind::Pvh,
        direct_boot: Some(DirectBoot {
            kernel: "/boot/vmlinuz".to_owned(),
            ramdisk: None,
            cmdline: String::new(),
        }),
        firmware: Firmware::Bios,
        boot_order: vec![],
        vcpus: VcpuSpec { online: VcpuCount::ONE, max: VcpuCount::new(4).unwrap() },
        memory: MemorySpec { target: mib(256), max: mib(512) },
        disks: vec![],
        nics: vec![],
        graphics: Graphics::None,
        hardware: Default::default(),
    }
}

pub fn nic(last: u8) -> DomainNic {
    DomainNic { mac: mac(last), bridge: "xenbr0".to_owned() }
}

/// Polls real time; for conditions that other threads bring about.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "waited 20 s for {what}");
        tokio::task::yield_now().await;
    }
}

/// The suite's fixture over one simulated host, which checks files and knows one bridge.
pub struct SimFixture {
    pub sim: Arc<SimHypervisor>,
    pub kind: PlatformKind,
    pub patience: Duration,
    pub pace: Duration,
    folder: TempDir,
    made: AtomicU32,
}

impl SimFixture {
    pub fn new(sim: Arc<SimHypervisor>, kind: PlatformKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vmlinuz"), b"kernel").unwrap();
        let patience = Duration::from_secs(20);
        Self { sim, kind, patience, pace: Duration::from_millis(1), folder, made: AtomicU32::new(0) }
    }

    fn fresh(&self, noun: &str) -> String {
        format!("{noun}-{}", self.made.fetch_add(1, Ordering::Relaxed))
    }
}

#[async_trait]
impl Fixture for SimFixture {
    fn hypervisor(&self) -> Arc<dyn Hypervisor> {
        self.sim.clone()
    }

    fn backend(&self) -> Backend {
        Backend::Simulated
    }

    fn spec(&self) -> DomainSpec {
        let mut spec = spec(&self.fresh("guest"));
        spec.kind = self.kind;
        let kernel = self.folder.path().join("vmlinuz").to_string_lossy().into_owned();
        match self.kind {
            PlatformKind::Hvm => {
                spec.direct_boot = None;
                spec.boot_order = vec![BootDevice::Disk];
                spec.graphics = Graphics::Vnc;
            }
            PlatformKind::Pv | PlatformKind::Pvh => {
                spec.direct_boot = Some(DirectBoot { kernel, ramdisk: None, cmdline: String::new() });
            }
        }
        spec
    }

    async fn booted(&self, domid: DomId) -> Ability<()> {
        let deadline = tokio::time::Instant::now() + self.patience;
        while !self.sim.is_up(domid) {
            if tokio::time::Instant::now() > deadline {
                return Err(Lack::Broke(format!("domain {domid} did not boot")));
            }
            tokio::time::sleep(self.pace).await;
        }
        Ok(())
    }

    async fn crash_guest(&self, domid: DomId) -> Ability<()> {
        self.sim.crash(domid).map_err(|error| Lack::Broke(error.to_string()))
    }

    async fn foreign_domain(&self) -> Ability<(DomId, String)> {
        let name = self.fresh("foreign");
        let domid = self.sim.make_foreign(&Foreign::named(&name)).map_err(|e| Lack::Broke(e.to_string()))?;
        Ok((domid, name))
    }

    async fn disk(&self, bytes: u64) -> Ability<PathBuf> {
        let path = self.folder.path().join(self.fresh("disk"));
        let made = std::fs::File::create(&path).and_then(|file| file.set_len(bytes));
        made.map_err(|error| Lack::Broke(error.to_string()))?;
        Ok(path)
    }

    async fn scheduling(&self, domid: DomId) -> Ability<(u16, u16)> {
        let share = self.sim.hardware_of(domid).map_err(|error| Lack::Broke(error.to_string()))?.cpu;
        Ok((share.weight.unwrap_or(CpuShare::WEIGHT), share.cap.unwrap_or(0)))
    }

    async fn medium(&self, domid: DomId) -> Ability<Option<PathBuf>> {
        let hardware = self.sim.hardware_of(domid).map_err(|error| Lack::Broke(error.to_string()))?;
        Ok(hardware.cd.and_then(|drive| drive.path))
    }

    fn bridge(&self) -> Ability<String> {
        Ok("xenbr0".to_owned())
    }

    fn scratch(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn pace(&self) -> Duration {
        self.pace
    }
}
