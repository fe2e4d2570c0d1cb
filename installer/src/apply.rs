//! Carrying out a plan: the only code that writes to disks.
//!
//! What always holds: a failure names the step and its target, and what a program said stands in the log. After a
//! failure the same plan can be applied again from its beginning: each disk is released and partitioned anew. Nothing is
//! written before every byte of the image was compared with its hash, and before each disk was seen to be the one that was
//! chosen. One plan at a time is applied on a machine.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::disks::{self, Disk, Holder};
use crate::facts::FactsError;
use crate::image::{Image, ImageError, Verified};
use crate::plan::{Action, Plan};

/// The log of this installation, on the live system; the plan copies it to the installed one.
pub const LOG: &str = "/run/xenith/install.log";
/// Two consoles ask questions, and an agent fills slots: who has this file locked is the one that writes.
const LOCK: &str = "/run/xenith/installing.lock";
/// How often the progress of unpacking is told.
const PROGRESS: Duration = Duration::from_secs(2);
/// Of what a program said, as much as fits on a screen.
const SAID_LINES: usize = 12;

#[derive(Debug, thiserror::Error)]
#[error("{step} failed on {target}: {cause}")]
pub struct ApplyError {
    pub step: String,
    pub target: String,
    pub cause: Box<Cause>,
}

#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: io::Error },
    #[error("`{command}` ended with {status}: {said}")]
    Program { command: String, status: String, said: String },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error("{0}; nothing was written to it. Begin anew, and look at the list of disks")]
    OtherDisk(String),
    #[error("the plan unpacks an image, and there is none")]
    NoImage,
    #[error("another installation or upgrade is being written on this machine; wait until it is over")]
    Busy,
}

fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Cause {
    let doing = what.into();
    move |source| Cause::Io { doing, source }
}

/// What whoever watches is told.
pub trait Watch {
    /// Step `number` of `of` begins.
    fn step(&mut self, number: usize, of: usize, title: &str);
    /// How far the step is that takes long.
    fn percent(&mut self, what: &str, percent: u64);
}

fn failed(step: &str, target: &str) -> impl FnOnce(Cause) -> ApplyError + use<> {
    let (step, target) = (step.to_owned(), target.to_owned());
    move |cause| ApplyError { step, target, cause: Box::new(cause) }
}

/// Does it, unless somebody else does.
pub fn apply(plan: &Plan, image: &Image, watch: &mut dyn Watch) -> Result<(), ApplyError> {
    let _alone = alone(Path::new(LOCK)).map_err(failed("the beginning", "this machine"))?;
    carry_out(plan, Some(image), watch)
}

/// The same for a plan that unpacks nothing.
pub fn apply_without_image(plan: &Plan, watch: &mut dyn Watch) -> Result<(), ApplyError> {
    let _alone = alone(Path::new(LOCK)).map_err(failed("the beginning", "this machine"))?;
    carry_out(plan, None, watch)
}

/// `image` is compared with its hash first, and read again when the plan unpacks it.
fn carry_out(plan: &Plan, image: Option<&Image>, watch: &mut dyn Watch) -> Result<(), ApplyError> {
    let log = open_log();
    let mut work = Work { image, verified: None, watch, log };
    let of = plan.steps.len();
    let mut actions = plan.steps.iter().flat_map(|step| &step.actions);
    if actions.any(|action| matches!(action, Action::Unpack { .. })) {
        work.note("== check the image");
        let name = image.map(|image| image.squashfs.to_string_lossy()).unwrap_or_default();
        let verified = work.verify().map_err(failed("check the image", &name));
        work.verified = Some(verified.inspect_err(|error| work.note(&format!("FAILED {error}")))?);
    }
    for (index, step) in plan.steps.iter().enumerate() {
        work.watch.step(index + 1, of, &step.title);
        work.note(&format!("== {} ({})", step.title, step.target));
        for action in &step.actions {
            work.note(&format!("   {action}"));
            let done = work.act(action).map_err(failed(&step.title, &step.target));
            done.inspect_err(|error| work.note(&format!("FAILED {error}")))?;
        }
    }
    work.note("done");
    Ok(())
}

/// Until the file is dropped.
fn alone(path: &Path) -> Result<File, Cause> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(doing(format!("make the folder {}", folder.display())))?;
    }
    let file = File::create(path).map_err(doing(format!("open {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Cause::Busy),
        Err(TryLockError::Error(error)) => Err(doing(format!("lock {}", path.display()))(error)),
    }
}

/// Without a log there is still an installation; what fails is told on the screen too.
fn open_log() -> Option<File> {
    let path = Path::new(LOG);
    fs::create_dir_all(path.parent()?).ok()?;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).ok()
}

struct Work<'a> {
    image: Option<&'a Image>,
    verified: Option<Verified>,
    watch: &'a mut dyn Watch,
    log: Option<File>,
}

impl Work<'_> {
    fn note(&mut self, line: &str) {
        if let Some(log) = &mut self.log {
            // A full /run must not end an installation.
            let _lost = writeln!(log, "{line}");
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), Cause> {
        match action {
            Action::Recognise { disk } => still_here(disk, &disks::list()?).map(|_| ()),
            Action::Release { disk } => self.release(disk),
            Action::Run { program, args, stdin } => self.run(program, args, stdin),
            Action::Mount { device, at } => {
                self.unmount(at)?;
                self.run("mount", &[device.clone(), at.clone()], "")
            }
            Action::Unmount { at } => self.unmount(at),
            Action::Unpack { to } => self.unpack(to),
            Action::MakeDir { path, mode } => make_dir(path, *mode),
            Action::Write { path, mode, content } => write(path, *mode, content),
            Action::Copy { from, to } => {
                // -T: a folder that is there already is filled, not filled with another folder of its name.
                self.run("cp", &["-rT".into(), from.clone(), to.clone()], "")
            }
            Action::Link { path, to } => link(path, to),
        }
    }

    fn run(&mut self, program: &str, args: &[String], stdin: &str) -> Result<(), Cause> {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(doing(format!("start {program}")))?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that has already failed closes the pipe; its status tells more.
            let _closed = pipe.write_all(stdin.as_bytes());
        }
        let output = child.wait_with_output().map_err(doing(format!("wait for {program}")))?;
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        for line in text.lines() {
            self.note(&format!("     {line}"));
        }
        if output.status.success() {
            return Ok(());
        }
        Err(Cause::Program {
            command: format!("{program} {}", args.join(" ")),
            status: output.status.to_string(),
            said: tail(&text),
        })
    }

    /// Everything below `at` too.
    fn unmount(&mut self, at: &str) -> Result<(), Cause> {
        while fs::read_to_string("/proc/self/mounts").is_ok_and(|mounts| is_mounted(&mounts, at)) {
            self.run("umount", &["--recursive".into(), at.into()], "")?;
        }
        Ok(())
    }

    fn release(&mut self, disk: &Disk) -> Result<(), Cause> {
        // As the disk is now, not as it was when the plan was made: a retry finds its own arrays.
        let now = still_here(disk, &disks::list()?)?.clone();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let devices = |device: &str| {
            disk.has_partition(device) || now.holders.iter().any(|holder| holder.path == device)
        };
        let mut points = mounted_from(&mounts, devices);
        // The inner ones first.
        points.reverse();
        for at in points {
            self.unmount(&at)?;
        }
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        for swap in
            swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).filter(|d| devices(d))
        {
            self.run("swapoff", &[swap.to_owned()], "")?;
        }
        for Holder { path, kind } in now.holders {
            match kind.as_str() {
                "lvm" => self.run("dmsetup", &["remove".into(), "--retry".into(), path], "")?,
                "crypt" => self.run("dmsetup", &["remove".into(), path], "")?,
                kind if kind.starts_with("raid") || path.starts_with("/dev/md") => {
                    self.run("mdadm", &["--stop".into(), path], "")?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<Verified, Cause> {
        let image = self.image.ok_or(Cause::NoImage)?;
        let total = image.description.bytes.max(1);
        let watch = &mut *self.watch;
        let mut told = 0;
        let progress = |bytes| {
            let percent = bytes * 100 / total;
            if percent >= told + 20 {
                told = percent;
                watch.percent("checking the image", percent);
            }
        };
        image.clone().verify(progress).map_err(Cause::Image)
    }

    fn unpack(&mut self, to: &str) -> Result<(), Cause> {
        let verified = match self.verified.take() {
            Some(verified) => verified,
            None => self.verify()?,
        };
        let image = verified.image();
        let before = used(to);
        let mut child = Command::new("unsquashfs")
            .args(["-force", "-no-progress", "-quiet", "-dest", to])
            .arg(&image.squashfs)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(doing("start unsquashfs"))?;
        // Read all the time: a program whose pipe is full waits for ever.
        let pipe = child.stderr.take();
        let reader = thread::spawn(move || {
            let mut said = Vec::new();
            // What cannot be read is missing in a message.
            let _cut_off = pipe.map(|mut pipe| pipe.read_to_end(&mut said));
            String::from_utf8_lossy(&said).into_owned()
        });
        let expected = image.description.unpacked_bytes.max(1);
        let status = loop {
            if let Some(status) = child.try_wait().map_err(doing("wait for unsquashfs"))? {
                break status;
            }
            let done = used(to).saturating_sub(before);
            self.watch.percent("unpacking", (done * 100 / expected).min(99));
            thread::sleep(PROGRESS);
        };
        let said = reader.join().unwrap_or_default();
        if status.success() {
            self.watch.percent("unpacking", 100);
            return Ok(());
        }
        let command = format!("unsquashfs -dest {to} {}", image.squashfs.display());
        Err(Cause::Program { command, status: status.to_string(), said: tail(&said) })
    }
}

/// The disk as it is now, if it is the one that was chosen: disks that come and go while somebody thinks take each other's
/// paths.
fn still_here<'a>(chosen: &Disk, now: &'a [Disk]) -> Result<&'a Disk, Cause> {
    let path = &chosen.path;
    let Some(disk) = now.iter().find(|disk| disk.path == *path) else {
        return Err(Cause::OtherDisk(format!("{path} ({}) is not there any more", chosen.title())));
    };
    if !disk.is_same_as(chosen) {
        let (was, is) = (chosen.title(), disk.title());
        return Err(Cause::OtherDisk(format!(
            "another disk has this path now: chosen was {was}, and here is {is}"
        )));
    }
    match disk.unusable {
        Some(reason) => Err(Cause::OtherDisk(format!("{path} cannot be used any more: {reason}"))),
        None => Ok(disk),
    }
}

/// Bytes in use on the file system of `path`.
fn used(path: &str) -> u64 {
    nix::sys::statvfs::statvfs(path)
        .map_or(0, |stat| (stat.blocks() - stat.blocks_free()) * stat.fragment_size())
}

fn make_dir(path: &str, mode: u32) -> Result<(), Cause> {
    let make = || {
        fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    make().map_err(doing(format!("make the folder {path}")))
}

fn write(path: &str, mode: u32, content: &[u8]) -> Result<(), Cause> {
    let write = || {
        // Not through a link that the tree brought: the file itself is replaced.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    };
    write().map_err(doing(format!("write {path}")))
}

fn link(path: &str, to: &str) -> Result<(), Cause> {
    let partial = PathBuf::from(format!("{path}.new"));
    let link = || {
        let _left_over = fs::remove_file(&partial);
        std::os::unix::fs::symlink(to, &partial)?;
        fs::rename(&partial, path)
    };
    link().map_err(doing(format!("link {path}")))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "it said nothing".to_owned();
    }
    lines[lines.len().saturating_sub(SAID_LINES)..].join("; ")
}

fn is_mounted(mounts: &str, at: &str) -> bool {
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(at))
}

fn mounted_from(mounts: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let rows = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, at) = (words.next()?, words.next()?);
        wanted(device).then(|| at.replace("\\040", " "))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::After;
    use crate::image::Description;
    use crate::plan::Step;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl Watch for Seen {
        fn step(&mut self, number: usize, of: usize, title: &str) {
            self.0.push(format!("{number}/{of} {title}"));
        }
        fn percent(&mut self, _: &str, _: u64) {}
    }

    fn image() -> Image {
        let description = Description {
            version: "1".into(),
            sha256: "00".into(),
            bytes: 0,
            unpacked_bytes: 0,
            source_date: 0,
        };
        Image { squashfs: "/nonexistent".into(), description }
    }

    fn plan(actions: Vec<Action>) -> Plan {
        let step = Step { title: "try".into(), target: "/dev/sdx".into(), actions };
        Plan { summary: Vec::new(), steps: vec![step], after: After::Reboot }
    }

    #[test]
    fn files_folders_and_links_can_be_made_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let actions = vec![
            Action::MakeDir { path: path("a/b"), mode: 0o700 },
            Action::Write { path: path("a/b/secret"), mode: 0o600, content: b"one".to_vec() },
            Action::Link { path: path("a/link"), to: "b/secret".into() },
            Action::Copy { from: path("a/b"), to: path("a/c") },
        ];
        let mut seen = Seen::default();
        for _ in 0..2 {
            carry_out(&plan(actions.clone()), None, &mut seen).unwrap();
        }
        assert_eq!(seen.0, ["1/1 try", "1/1 try"]);
        assert_eq!(fs::read(dir.path().join("a/link")).unwrap(), b"one");
        assert_eq!(fs::read(dir.path().join("a/c/secret")).unwrap(), b"one");
        let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a/b"), mode("a/b/secret")), (0o700, 0o600));
    }

    #[test]
    fn a_failure_names_the_step_the_target_and_what_was_said() {
        let args = ["-c", "echo no room >&2; exit 5"].map(str::to_owned).to_vec();
        let error = carry_out(
            &plan(vec![Action::Run { program: "sh", args, stdin: String::new() }]),
            None,
            &mut Seen::default(),
        )
        .unwrap_err()
        .to_string();
        for part in ["try failed on /dev/sdx", "exit status: 5", "no room"] {
            assert!(error.contains(part), "{error}");
        }
        let error = carry_out(
            &plan(vec![Action::Unpack { to: "/tmp".into() }]),
            Some(&image()),
            &mut Seen::default(),
        )
        .unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
    }

    #[test]
    fn nothing_is_written_before_the_image_was_compared_with_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("written").to_string_lossy().into_owned();
        let actions = vec![
            Action::Write { path: path.clone(), mode: 0o600, content: b"one".to_vec() },
            Action::Unpack { to: "/nonexistent".into() },
        ];
        let mut image = image();
        image.squashfs = dir.path().join("damaged.squashfs");
        fs::write(&image.squashfs, b"not what was signed").unwrap();
        let error = carry_out(&plan(actions), Some(&image), &mut Seen::default()).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert!(!Path::new(&path).exists());
    }

    #[test]
    fn a_disk_that_took_the_path_of_the_chosen_one_is_left_alone() {
        let disk = |path: &str, serial: &str| Disk {
            path: path.into(),
            bytes: 64 << 30,
            model: "Disk".into(),
            serial: serial.into(),
            wwn: String::new(),
            kind: crate::disks::DiskKind::Ssd,
            contents: Vec::new(),
            unusable: None,
            holders: Vec::new(),
            health: crate::disks::Health::Unknown,
        };
        let chosen = disk("/dev/sda", "1");
        assert_eq!(still_here(&chosen, &[disk("/dev/sdb", "2"), chosen.clone()]).unwrap(), &chosen);
        let larger = Disk { bytes: 65 << 30, ..chosen.clone() };
        let medium = Disk { unusable: Some("the installer runs from it"), ..chosen.clone() };
        for (now, part) in [
            (vec![disk("/dev/sdb", "1")], "not there any more"),
            (vec![disk("/dev/sda", "2"), disk("/dev/sdb", "1")], "another disk has this path"),
            (vec![larger], "another disk has this path"),
            (vec![medium], "the installer runs from it"),
        ] {
            let error = still_here(&chosen, &now).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("nothing was written"), "{error}");
        }
    }

    #[test]
    fn one_plan_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/lock");
        let first = alone(&path).unwrap();
        assert!(matches!(alone(&path), Err(Cause::Busy)));
        drop(first);
        alone(&path).unwrap();
    }

    #[test]
    fn mounts_of_a_disk_are_found_and_no_others() {
        let mounts = "/dev/sda1 /mnt ext4 rw 0 0\n/dev/sdb1 /mnt/in\\040ner ext4 rw 0 0\n/dev/sda2 /mnt/x vfat rw 0 0\n";
        assert_eq!(mounted_from(mounts, |device| device.starts_with("/dev/sda")), ["/mnt", "/mnt/x"]);
        assert_eq!(mounted_from(mounts, |device| device == "/dev/sdb1"), ["/mnt/in ner"]);
        assert!(is_mounted(mounts, "/mnt") && !is_mounted(mounts, "/mn"));
    }
}
