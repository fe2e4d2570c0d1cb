//! The guest on copied disks is made ready to boot here, in a helper VM of this host.
//!
//! What a helper is and what always holds for the disks stands in [`xenith_vmware_import::guest::helper`]. Here it is
//! built, watched and ended. Its domain carries an identity that follows from the import, so that after a crash of the
//! agent the same command finds it, ends it and goes on: from the commit point with the work disk that is there, before
//! it with a new one. To everybody else it is an unmanaged domain whose name says what it is.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_common_ids::{DomId, ImportId, IncarnationId, SrId, VdiId, VmId};
use xenith_common_units::{MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_api::{GuestPrepared, PrepareGuest, PrepareOutcome};
use xenith_hypervisor_agent_backend::{DomainEventKind, Hypervisor, HypervisorError, Start};
use xenith_hypervisor_agent_types::{
    DirectBoot, DiskAccess, DiskDevice, DomainDisk, DomainHardware, DomainIdentity, DomainSpec, DomainStatus,
    Fault, FaultReason, Firmware, Graphics, LeasedTo, MemorySpec, PlatformKind, VcpuSpec, VmName,
};
use xenith_vmware_import::guest::helper::machine::{Kit, Machine};
use xenith_vmware_import::guest::helper::report::{self, Phase, Report};
use xenith_vmware_import::guest::helper::{Job, work_size};

use super::{Imports, blocking, fault};
use crate::disk::Lent;

/// A helper that says nothing new for so long hangs. Making an initramfs is the longest step, and says its lines.
const SILENT: Duration = Duration::from_secs(20 * 60);
/// How often the report is read for progress; its end is an event.
const LOOK: Duration = Duration::from_secs(2);

/// How this host runs helpers.
#[derive(Clone)]
pub struct Helpers {
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Or why it does not.
    pub kit: Result<Kit, String>,
}

/// The files of one preparation.
struct Files {
    work: PathBuf,
    initramfs: PathBuf,
}

impl Imports {
    fn helper_files(&self, import: ImportId) -> Files {
        let path = |end: &str| self.folder.join(format!("{import}.{end}"));
        Files { work: path("work"), initramfs: path("initramfs") }
    }

    pub(super) async fn prepare(self: &Arc<Self>, prepare: PrepareGuest) -> Result<GuestPrepared, Fault> {
        let lane = self.lane(prepare.import);
        let _turn = lane.turn.lock().await;
        lane.ensure_goes_on()?;
        let kit = match &self.helpers.kit {
            Ok(kit) => kit.clone(),
            Err(why) => return Ok(skipped(why)),
        };
        self.end_helper(prepare.import).await?;
        // Nobody writes, deletes or starts on these while a helper has them.
        let (storage, wanted) = (self.storage.clone(), prepare.clone());
        let lent = blocking(move || {
            let to = leased_to_helper(wanted.import);
            let lend = |(vdi, sr): &(VdiId, SrId)| storage.lend(*sr, *vdi, "being prepared", &to);
            wanted.disks.iter().map(lend).collect::<Result<Vec<_>, Fault>>()
        })
        .await?;
        let prepared = self.run_helper(&prepare, kit, &lane, &lent).await;
        if prepared.is_err()
            && let Err(fault) = self.end_helper(prepare.import).await
        {
            tracing::warn!(import = %prepare.import, %fault, "a helper VM may be left");
        }
        let this = Arc::clone(self);
        blocking(move || {
            // Here, whatever came of it: their leases are given up in an SR that may not answer.
            drop(lent);
            let prepared = prepared?;
            // The work disk of one that goes on stays.
            if prepared.outcome != PrepareOutcome::HalfWritten {
                this.forget_helper(prepare.import)?;
            }
            Ok(prepared)
        })
        .await
    }

    /// Until the helper has ended, and is gone.
    async fn run_helper(
        self: &Arc<Self>,
        prepare: &PrepareGuest,
        kit: Kit,
        lane: &super::pass::Lane,
        lent: &[Lent],
    ) -> Result<GuestPrepared, Fault> {
        let files = self.helper_files(prepare.import);
        let (this, wanted) = (Arc::clone(self), prepare.clone());
        let capacities: Vec<u64> = lent.iter().map(|lent| lent.size).collect();
        let (machine, work) = blocking(move || {
            let files = this.helper_files(wanted.import);
            let work = ensure_work(&this.folder, &files.work, &capacities)
                .map_err(|error| internal("make", &files.work, &error))?;
            let job = job(&wanted)?;
            let machine = kit.make(&job, &files.initramfs).map_err(|error| fault(&error))?;
            Ok((machine, work))
        })
        .await?;
        let mut disks: Vec<PathBuf> = lent.iter().map(|lent| lent.path.clone()).collect();
        disks.push(files.work.clone());
        let domid = self.start_helper(prepare, &machine, &disks).await?;
        let watched = self.watch_helper(domid, lane, &work).await;
        self.end_helper(prepare.import).await?;
        let report = blocking(move || report_of(&work, &files.work)).await?;
        watched?;
        Ok(match report.phase {
            Phase::Merging => {
                // The same command goes on merging.
                let text =
                    "the helper VM ended while it wrote the changes to the disks; try again, and it goes on";
                answer(PrepareOutcome::HalfWritten, report, text)
            }
            Phase::Done if report.changes.is_empty() => answer(PrepareOutcome::Unchanged, report, ""),
            Phase::Done => answer(PrepareOutcome::Prepared, report, ""),
            Phase::Failed => answer(PrepareOutcome::Failed, report, ""),
            Phase::Working => {
                answer(PrepareOutcome::Failed, report, "the helper VM ended before it was done")
            }
        })
    }

    fn spec(
        &self,
        prepare: &PrepareGuest,
        machine: &Machine,
        disks: &[PathBuf],
    ) -> Result<DomainSpec, Fault> {
        let disk = |(index, path): (usize, &PathBuf)| {
            let device = u8::try_from(index).ok().and_then(DiskDevice::nth).ok_or_else(too_many)?;
            Ok(DomainDisk { device, path: path.clone(), access: DiskAccess::ReadWrite })
        };
        let invalid = |error: &dyn std::fmt::Display| Fault::new(FaultReason::Internal, error.to_string());
        let memory = MemoryMiB::new(machine.memory_mib).map_err(|error| invalid(&error))?;
        let one = VcpuCount::new(1).map_err(|error| invalid(&error))?;
        let name = helper_name(prepare.import);
        Ok(DomainSpec {
            identity: DomainIdentity { vm: helper_vm(prepare.import), incarnation: IncarnationId::new() },
            name: name.parse::<VmName>().map_err(|error| invalid(&error))?,
            kind: PlatformKind::Pvh,
            direct_boot: Some(DirectBoot {
                kernel: machine.kernel.display().to_string(),
                ramdisk: Some(machine.initramfs.display().to_string()),
                cmdline: machine.command_line.clone(),
            }),
            firmware: Firmware::Bios,
            boot_order: Vec::new(),
            vcpus: VcpuSpec { online: one, max: one },
            memory: MemorySpec { target: memory, max: memory },
            disks: disks.iter().enumerate().map(disk).collect::<Result<_, Fault>>()?,
            // No network: what runs in there is a stranger's.
            nics: Vec::new(),
            graphics: Graphics::None,
            hardware: DomainHardware::default(),
        })
    }

    async fn start_helper(
        &self,
        prepare: &PrepareGuest,
        machine: &Machine,
        disks: &[PathBuf],
    ) -> Result<DomId, Fault> {
        let spec = self.spec(prepare, machine, disks)?;
        tracing::info!(import = %prepare.import, memory = machine.memory_mib, "a helper VM is started");
        let domid = self.helpers.hypervisor.create(&spec, Start::Running).await;
        domid.map_err(|error| helper_fault("start", &error))
    }

    /// Until it has ended, hangs, or somebody stops the import.
    async fn watch_helper(
        &self,
        domid: DomId,
        lane: &super::pass::Lane,
        work: &Arc<File>,
    ) -> Result<(), Fault> {
        let mut events = self.helpers.hypervisor.events();
        let (mut heard, mut last) = (Instant::now(), 0);
        loop {
            match self.helpers.hypervisor.domain(domid).await {
                Ok(info) if matches!(info.status, DomainStatus::Running | DomainStatus::Paused) => {}
                Ok(_) | Err(HypervisorError::NoSuchDomain(_)) => return Ok(()),
                Err(error) => return Err(helper_fault("look at", &error)),
            }
            let read = Arc::clone(work);
            let now = tokio::task::spawn_blocking(move || report::read(&read)).await;
            if let Ok(Ok(Some((number, report)))) = now
                && number != last
            {
                (heard, last) = (Instant::now(), number);
                tracing::info!(doing = report.doing, "the helper VM works");
            }
            if lane.is_stopped() {
                return Err(Fault::new(FaultReason::WrongState, "the import was stopped"));
            }
            if heard.elapsed() > SILENT {
                let text =
                    format_args!("the helper VM said nothing new for {} minutes", SILENT.as_secs() / 60);
                return Err(Fault::new(FaultReason::NotReady, text));
            }
            let ended = async {
                loop {
                    let Some(event) = events.next().await else { return };
                    let ours = event.domid == domid && event.kind != DomainEventKind::Appeared;
                    if ours || event.kind == DomainEventKind::Resync {
                        return;
                    }
                }
            };
            // An event says when to look; the report is looked at besides.
            let _either = tokio::time::timeout(LOOK, ended).await;
        }
    }

    /// Makes sure that the import has no helper.
    pub(super) async fn end_helper(&self, import: ImportId) -> Result<(), Fault> {
        if self.helpers.kit.is_err() {
            return Ok(());
        }
        let domains =
            self.helpers.hypervisor.domains().await.map_err(|error| helper_fault("list", &error))?;
        for domain in domains {
            if domain.is_of(helper_vm(import)) {
                let ended = self.helpers.hypervisor.destroy(domain.domid).await;
                match ended {
                    Ok(()) | Err(HypervisorError::NoSuchDomain(_)) => {}
                    Err(error) => return Err(helper_fault("end", &error)),
                }
            }
        }
        Ok(())
    }

    /// Its files.
    pub(super) fn forget_helper(&self, import: ImportId) -> Result<(), Fault> {
        let files = self.helper_files(import);
        for path in [&files.work, &files.initramfs] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(internal("remove", path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Of no VM: nobody defines or adopts one of this id.
fn helper_vm(import: ImportId) -> VmId {
    VmId::from_uuid(*import.as_uuid())
}

fn helper_name(import: ImportId) -> String {
    let short = import.to_string();
    format!("xenith-prepare-{}", &short[short.len().saturating_sub(12)..])
}

/// What its leases say. A helper goes on writing when its agent is killed.
fn leased_to_helper(import: ImportId) -> LeasedTo {
    let (vm, name) = (helper_vm(import), helper_name(import));
    LeasedTo { vm, name, run: IncarnationId::new(), sent: false }
}

fn job(prepare: &PrepareGuest) -> Result<Job, Fault> {
    let device = |index: usize| {
        let device = u8::try_from(index).ok().and_then(DiskDevice::nth);
        device.map(|device| device.to_string()).ok_or_else(too_many)
    };
    Ok(Job {
        disks: (0..prepare.disks.len()).map(device).collect::<Result<_, Fault>>()?,
        work: device(prepare.disks.len())?,
        macs: prepare.macs.iter().map(|mac| mac.to_string().to_ascii_lowercase()).collect(),
    })
}

fn too_many() -> Fault {
    Fault::new(
        FaultReason::Unsupported,
        "a helper VM takes at most 25 disks; go on without preparing the guest",
    )
}

/// A new work disk, or the one of a helper that came to its commit point and died.
fn ensure_work(folder: &Path, path: &Path, capacities: &[u64]) -> io::Result<Arc<File>> {
    fs::create_dir_all(folder)?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let merging = report::read(&file)?.is_some_and(|(_, report)| report.phase == Phase::Merging);
    if !merging {
        file.set_len(0)?;
        file.set_len(work_size(capacities))?;
        file.sync_all()?;
    }
    Ok(Arc::new(file))
}

fn report_of(work: &Arc<File>, path: &Path) -> Result<Report, Fault> {
    let read = report::read(work).map_err(|error| internal("read", path, &error))?;
    Ok(read.map(|(_, report)| report).unwrap_or_default())
}

fn answer(outcome: PrepareOutcome, report: Report, message: &str) -> GuestPrepared {
    let Report { os, changes, warnings, error, log, doing, .. } = report;
    let message = match (message, error.as_str()) {
        ("", error) => error.to_owned(),
        (message, "") if doing.is_empty() => message.to_owned(),
        (message, "") => format!("{message}; the last it said was: {doing}"),
        (message, error) => format!("{message}: {error}"),
    };
    GuestPrepared { outcome, os, changes, warnings, message, log }
}

fn skipped(why: &str) -> GuestPrepared {
    answer(PrepareOutcome::Skipped, Report { error: why.to_owned(), ..Report::default() }, "")
}

fn internal(action: &str, path: &Path, error: &io::Error) -> Fault {
    let full = error.kind() == io::ErrorKind::StorageFull;
    let reason = if full { FaultReason::StorageFull } else { FaultReason::Internal };
    Fault::new(reason, format_args!("cannot {action} {}: {error}", path.display()))
}

fn helper_fault(action: &str, error: &HypervisorError) -> Fault {
    let reason = match error {
        HypervisorError::NoMemory { .. } => FaultReason::NoMemory,
        _ => FaultReason::NotReady,
    };
    Fault::new(reason, format_args!("cannot {action} the helper VM: {error}"))
}
