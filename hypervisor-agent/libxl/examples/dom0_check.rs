//! The conformance suite of the [`Hypervisor`] trait on a real Xen host: copy this program into dom0 and run
//! it there as root.
//!
//! `dom0_check <kernel> <ramdisk> <scratch folder> <bridge> <arguments> [kinds] [case…]`: `arguments` are the
//! kernel's, `kinds` is a comma-separated list of pv, pvh and hvm; without cases all are run. The guest is that of the
//! lab (`lab/guest/init`), which obeys orders in xenstore: who answers one is up, also after a resume. Exits with 1 when
//! a promise is broken, or a case was skipped that applies to such guests. `cargo xtask lab-test conformance` does all of
//! it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use async_trait::async_trait;
use tokio::process::Command;
use xenith_common_ids::{DomId, IncarnationId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_common_units::{MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_backend::conformance::{
    Ability, Backend, Fixture, Lack, Verdict, cases, may_skip, run,
};
use xenith_hypervisor_agent_libxl::{Libxl, Options};
use xenith_hypervisor_agent_types::{
    BootDevice, DirectBoot, DomainIdentity, DomainSpec, Firmware, Graphics, MemorySpec, PlatformKind,
    VcpuSpec,
};
use xenith_hypervisor_agent_xenstore::Xenstore;

struct Dom0 {
    xen: Arc<Libxl>,
    store: Xenstore,
    kind: PlatformKind,
    kernel: String,
    ramdisk: String,
    scratch: PathBuf,
    bridge: String,
    cmdline: String,
    count: AtomicU32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next();
    let (Some(kernel), Some(ramdisk), Some(scratch), Some(bridge), Some(cmdline)) =
        (next(), next(), next(), next(), next())
    else {
        bail!("usage: dom0_check <kernel> <ramdisk> <scratch folder> <bridge> <arguments> [kinds] [case…]");
    };
    let kinds = next().unwrap_or_else(|| "pvh,pv".to_owned());
    let wanted: Vec<String> = arguments.collect();
    let tasks = TaskSet::new();
    let store = Xenstore::connect(Default::default(), &tasks).await?;
    let options = Options { scripts: Some(PathBuf::from(&scratch)), ..Options::default() };
    let xen = Arc::new(Libxl::open(options, store.clone(), &tasks).await?);
    println!("{} on {:?}", xen.library_name(), xen.host().await?);
    let mut broken = 0;
    for kind in kinds.split(',') {
        let kind = kind.parse().map_err(anyhow::Error::msg)?;
        let (kernel, ramdisk, scratch, bridge, cmdline) =
            (kernel.clone(), ramdisk.clone(), PathBuf::from(&scratch), bridge.clone(), cmdline.clone());
        let (xen, store, count) = (Arc::clone(&xen), store.clone(), AtomicU32::new(0));
        let fixture = Dom0 { xen, store, kind, kernel, ramdisk, scratch, bridge, cmdline, count };
        for case in
            cases().into_iter().filter(|case| wanted.is_empty() || wanted.iter().any(|w| w == case.name))
        {
            let report = run(case, &fixture).await;
            println!("{kind} {report}");
            broken += u32::from(match report.verdict {
                Verdict::Kept => false,
                Verdict::Skipped(_) => !may_skip(case.name, fixture.backend(), kind),
                Verdict::Broken(_) => true,
            });
        }
    }
    xen.close().await;
    tasks.shut_down(Duration::from_secs(10)).await?;
    if broken > 0 {
        bail!("{broken} promises are broken, or were skipped and should not have been");
    }
    println!("every promise is kept");
    Ok(())
}

fn broke(error: impl std::fmt::Display) -> Lack {
    Lack::Broke(error.to_string())
}

impl Dom0 {
    fn fresh_name(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        format!("check-{}-{}-{number}", self.kind, std::process::id())
    }
}

#[async_trait]
impl Fixture for Dom0 {
    fn hypervisor(&self) -> Arc<dyn Hypervisor> {
        Arc::clone(&self.xen) as Arc<dyn Hypervisor>
    }

    fn backend(&self) -> Backend {
        Backend::Real
    }

    fn spec(&self) -> DomainSpec {
        let hvm = self.kind == PlatformKind::Hvm;
        let boot = DirectBoot {
            kernel: self.kernel.clone(),
            ramdisk: Some(self.ramdisk.clone()),
            cmdline: self.cmdline.clone(),
        };
        let mib = |mib| MemoryMiB::new(mib).expect("it is below 16 TiB");
        DomainSpec {
            identity: DomainIdentity { vm: VmId::new(), incarnation: IncarnationId::new() },
            name: self.fresh_name().parse().expect("letters, digits and hyphens"),
            kind: self.kind,
            direct_boot: (!hvm).then_some(boot),
            firmware: Firmware::Bios,
            boot_order: vec![BootDevice::Disk],
            vcpus: VcpuSpec {
                online: VcpuCount::ONE,
                max: VcpuCount::new(2).expect("2 is between 1 and 512"),
            },
            memory: MemorySpec { target: mib(160), max: mib(192) },
            disks: Vec::new(),
            nics: Vec::new(),
            graphics: if hvm { Graphics::Vnc } else { Graphics::None },
            hardware: Default::default(),
        }
    }

    async fn booted(&self, domid: DomId) -> Ability<()> {
        if self.kind == PlatformKind::Hvm {
            return Err(Lack::Cannot("there is no disk that boots".to_owned()));
        }
        let deadline = Instant::now() + self.patience();
        let path = |node: &str| format!("/local/domain/{domid}/{node}");
        // A number that no order had before, so that no old answer is taken for this one's.
        let number = 1000 + self.count.fetch_add(1, Ordering::Relaxed);
        let answer = format!("{number} ");
        let mut given = false;
        while Instant::now() < deadline {
            // The kernel makes no watch fire for what was written before it looked: so not before it has looked.
            if !given && self.store.read(&path("data/xenith/ready")).await.is_ok() {
                self.store
                    .write(&path("xenith/command"), &format!("{number} uptime"))
                    .await
                    .map_err(broke)?;
                given = true;
            }
            if self.store.read(&path("data/xenith/result")).await.is_ok_and(|said| said.starts_with(&answer))
            {
                return Ok(());
            }
            tokio::time::sleep(self.pace()).await;
        }
        Err(Lack::Broke(format!("the guest of domain {domid} does not answer an order (given: {given})")))
    }

    async fn crash_guest(&self, domid: DomId) -> Ability<()> {
        // Debian's kernel takes no crash from dom0's own order, control/sysrq.
        let number = 1000 + self.count.fetch_add(1, Ordering::Relaxed);
        let path = format!("/local/domain/{domid}/xenith/command");
        self.store.write(&path, &format!("{number} crash")).await.map_err(broke)
    }

    async fn foreign_domain(&self) -> Ability<(DomId, String)> {
        let name = self.fresh_name();
        let path = self.scratch.join(format!("{name}.cfg"));
        let config = format!(
            "name={name:?}\ntype=\"pvh\"\nkernel={:?}\nramdisk={:?}\nextra={:?}\nmemory=128\n",
            self.kernel, self.ramdisk, self.cmdline
        );
        std::fs::write(&path, config).map_err(broke)?;
        let created = Command::new("xl").arg("create").arg("-q").arg(&path).output().await.map_err(broke)?;
        if !created.status.success() {
            return Err(Lack::Broke(String::from_utf8_lossy(&created.stderr).into_owned()));
        }
        let domid = Command::new("xl").args(["domid", &name]).output().await.map_err(broke)?;
        let domid = String::from_utf8_lossy(&domid.stdout).trim().parse().map_err(broke)?;
        Ok((DomId(domid), name))
    }

    async fn disk(&self, bytes: u64) -> Ability<PathBuf> {
        let path = self.scratch.join(format!("{}.img", self.fresh_name()));
        File::create(&path).and_then(|file| file.set_len(bytes)).map_err(broke)?;
        Ok(path)
    }

    async fn scheduling(&self, domid: DomId) -> Ability<(u16, u16)> {
        let scheduler = self.xen.host().await.map_err(broke)?.scheduler;
        if !["credit", "credit2"].contains(&scheduler.as_str()) {
            return Err(Lack::Cannot(format!("the scheduler {scheduler} knows no weight")));
        }
        let domid = domid.to_string();
        let asked = Command::new("xl").arg(format!("sched-{scheduler}")).args(["-d", &domid]).output().await;
        let said = String::from_utf8_lossy(&asked.map_err(broke)?.stdout).into_owned();
        // A line of headings, then name, number, weight and cap; names have no blanks.
        let mut rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.get(1) == Some(&domid.as_str()));
        let number = |at: usize| row.as_ref()?.get(at)?.parse::<u16>().ok();
        number(2).zip(number(3)).ok_or_else(|| Lack::Broke(format!("xl sched-{scheduler} said {said:?}")))
    }

    async fn medium(&self, domid: DomId) -> Ability<Option<PathBuf>> {
        // hdd as the number of a virtual block device (xen-vbd-interface(7)): the second channel's second.
        const HDD: u32 = (22 << 8) | 64;
        let path = format!("/local/domain/0/backend/qdisk/{domid}/{HDD}/params");
        // "aio:" and the path; nothing, or nothing behind the colon, when it is empty.
        let params = self.store.read(&path).await.map_err(broke)?;
        let image = params.split_once(':').map(|(_, image)| image).filter(|image| !image.is_empty());
        Ok(image.map(PathBuf::from))
    }

    fn bridge(&self) -> Ability<String> {
        Ok(self.bridge.clone())
    }

    fn scratch(&self) -> PathBuf {
        self.scratch.clone()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(300)
    }

    fn pace(&self) -> Duration {
        Duration::from_millis(250)
    }
}
