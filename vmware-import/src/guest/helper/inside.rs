//! The helper's first process, and the one that it starts in the guest's root.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::ExitCode;

use nix::mount::MsFlags;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xenith_common_text::chain;

use super::disks::{Begin, Overlays, link_by_uuid, merge};
use super::report::{self, Phase, Report};
use super::root::{self, ROOT};
use super::system::{failed, load_modules, mount_at, open_device, unmount_below, wait_for_devices};
use super::{INIT_COMMAND, JOB, Job, MODULES, ROOT_COMMAND};

/// Whether this process was started to be a helper, or in one: then it is that and nothing else. For the start of a
/// `main`, before anything else is begun.
#[must_use]
pub fn asked() -> Option<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).take(3).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [INIT_COMMAND, ..] => Some(init()),
        [ROOT_COMMAND, root, facts] => Some(inside_root(Path::new(root), Path::new(facts))),
        _ => None,
    }
}

/// Never returns in a helper: at the end the machine is off.
fn init() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("this is for the first process of a helper VM only");
        return ExitCode::from(2);
    }
    if let Err(error) = work() {
        // There is no work disk to say it on; the console is all.
        eprintln!("XENITH-HELPER {error}");
    }
    nix::unistd::sync();
    let Err(errno) = reboot(RebootMode::RB_POWER_OFF);
    eprintln!("XENITH-HELPER cannot power off: {errno}");
    ExitCode::FAILURE
}

/// The process in the guest's root.
fn inside_root(root: &Path, facts: &Path) -> ExitCode {
    match root::work_inside(root, facts) {
        Ok(prepared) => {
            println!("{}", serde_json::to_string(&prepared).expect("lists of texts"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The report, written whenever it changes by something that matters.
struct Teller {
    disk: File,
    number: u64,
    report: Report,
}

impl Teller {
    fn tell(&mut self) -> io::Result<()> {
        self.number = report::write(&self.disk, self.number, &self.report)?;
        Ok(())
    }

    fn doing(&mut self, what: &str) -> io::Result<()> {
        self.say(what);
        what.clone_into(&mut self.report.doing);
        self.tell()
    }

    fn say(&mut self, line: &str) {
        println!("XENITH-HELPER {line}");
        self.report.say(line);
    }
}

fn work() -> io::Result<()> {
    for (kind, at) in
        [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run"), ("tmpfs", "/tmp")]
    {
        // devtmpfs may be there already, if the kernel does that by itself.
        let mounted = mount_at(kind, Path::new(at), kind, (MsFlags::empty(), ""));
        if let Err(error) = mounted
            && kind != "devtmpfs"
        {
            return Err(error);
        }
    }
    let mut lost = Vec::new();
    load_modules(Path::new(MODULES), &mut |line| lost.push(line));
    let job: Job = serde_json::from_slice(&fs::read(JOB)?).map_err(failed)?;
    wait_for_devices(&[job.work.as_str()])?;
    let disk = open_device(&job.work)?;
    let (number, mut report) = report::read(&disk)?.unwrap_or_default();
    let begin = if report.phase == Phase::Merging { Begin::Again } else { Begin::Anew };
    if begin == Begin::Anew {
        report = Report::default();
    }
    let mut teller = Teller { disk, number, report };
    lost.iter().for_each(|line| teller.say(line));
    let done = match begin {
        Begin::Again => Ok(()),
        Begin::Anew => prepare_on_overlays(&job, &mut teller),
    };
    match done.and_then(|()| commit(&job, &mut teller, begin)) {
        Ok(()) => teller.report.phase = Phase::Done,
        // From the commit point on only merging again helps: the host is told by the phase.
        Err(error) if teller.report.phase == Phase::Merging => teller.report.error = error.to_string(),
        Err(error) => {
            teller.report.phase = Phase::Failed;
            teller.report.error = error.to_string();
        }
    }
    teller.tell()
}

fn prepare_on_overlays(job: &Job, teller: &mut Teller) -> io::Result<()> {
    teller.doing("opens the disks")?;
    let disks: Vec<&str> = job.disks.iter().map(String::as_str).collect();
    wait_for_devices(&disks)?;
    let mut lines = Vec::new();
    let overlays = Overlays::new(job, &mut |line| lines.push(line))?;
    lines.iter().for_each(|line| teller.say(line));
    let devices = overlays.devices()?;
    link_by_uuid(&devices)?;
    for found in &devices {
        teller.say(&format!("{} has {}", found.names[0], found.kind));
    }
    teller.doing("looks for the root of a system")?;
    let mut lines = Vec::new();
    let roots = root::find(&devices, &mut |line| lines.push(line));
    for line in &lines {
        teller.say(line);
        teller.report.warnings.push(line.clone());
    }
    if let Some(root) = roots.first() {
        if roots.len() > 1 {
            let text = format!(
                "{} systems are on the disks; only the one on {} is prepared",
                roots.len(),
                root.at.names[0]
            );
            teller.report.warnings.push(text);
        }
        teller.doing(&format!("prepares the system on {}", root.at.names[0]))?;
        root.mount(&devices, &mut |line| teller.say(&line))?;
        let prepared = root.prepare(job, &devices, &mut |line| teller.say(&line));
        // What the guest's programs have left running keeps its filesystems open. We are the first process: all means
        // all others.
        let _none_left = kill(Pid::from_raw(-1), Signal::SIGKILL);
        nix::unistd::sync();
        unmount_below(Path::new(ROOT))?;
        let mut prepared = prepared?;
        root::prepare_firmware(&devices, &mut prepared)?;
        teller.report.os = prepared.os;
        teller.report.changes.extend(prepared.changes);
        teller.report.warnings.extend(prepared.warnings);
    } else {
        teller
            .report
            .warnings
            .push("no root of a system that is known was found: nothing was changed".to_owned());
    }
    overlays.close(job)
}

fn commit(job: &Job, teller: &mut Teller, begin: Begin) -> io::Result<()> {
    if begin == Begin::Anew && teller.report.changes.is_empty() {
        // Mounting alone has written into the overlays: it is not worth a write to the disks.
        return Ok(());
    }
    let disks: Vec<&str> = job.disks.iter().map(String::as_str).collect();
    wait_for_devices(&disks)?;
    teller.report.phase = Phase::Merging;
    teller.doing("writes the changes to the disks")?;
    merge(job, begin)
}
