//! The helper VM for real, on virtio disks in QEMU without Xen, and with a `kill -9` of it where that is worst. Takes
//! minutes under emulation, so it has to be asked for: with XENITH_HELPER_DISK (a raw disk of a Linux guest that lacks
//! Xen's drivers, such as the lab's), XENITH_HELPER_KERNEL and XENITH_HELPER_MODULES (a kernel with virtio and the
//! folder of its modules).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use xenith_vmware_import::guest::helper::machine::{Kit, Machine};
use xenith_vmware_import::guest::helper::report::{self, Phase, Report};
use xenith_vmware_import::guest::helper::{Job, work_size};

const LIMIT: Duration = Duration::from_secs(20 * 60);

struct Scene {
    folder: tempfile::TempDir,
    machine: Machine,
}

impl Scene {
    fn set() -> Option<Self> {
        let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let (disk, kernel, modules) =
            (path("XENITH_HELPER_DISK")?, path("XENITH_HELPER_KERNEL")?, path("XENITH_HELPER_MODULES")?);
        let folder = tempfile::tempdir().unwrap();
        let copied =
            Command::new("cp").arg("--sparse=always").arg(disk).arg(folder.path().join("disk")).status();
        assert!(copied.unwrap().success());
        let program = PathBuf::from(env!("CARGO_BIN_EXE_xenith-import"));
        let kit = Kit { kernel, modules, program, tools: Kit::tools_of_this_host().unwrap() };
        let job = Job {
            disks: vec!["vda".to_owned()],
            work: "vdb".to_owned(),
            macs: vec!["00:50:56:aa:bb:01".to_owned()],
        };
        let machine = kit.make(&job, &folder.path().join("initramfs")).unwrap();
        let this = Self { folder, machine };
        this.new_work();
        Some(this)
    }

    fn new_work(&self) {
        let capacity = std::fs::metadata(self.path("disk")).unwrap().len();
        File::create(self.path("work")).unwrap().set_len(work_size(&[capacity])).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Child {
        let drive =
            |name: &str| format!("file={},if=virtio,format=raw,cache=writeback", self.path(name).display());
        let console = File::options().create(true).append(true).open(self.path("console")).unwrap();
        Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-no-reboot",
                "-display",
                "none",
                "-serial",
                "stdio",
                "-cpu",
                "max",
                "-smp",
                "1",
            ])
            .args(["-m", &self.machine.memory_mib.to_string()])
            .arg("-kernel")
            .arg(&self.machine.kernel)
            .arg("-initrd")
            .arg(&self.machine.initramfs)
            .args(["-append", &self.machine.command_line.replace("hvc0", "ttyS0")])
            .args(["-drive", &drive("disk"), "-drive", &drive("work")])
            .stdin(Stdio::null())
            .stdout(console)
            .spawn()
            .expect("install qemu-system-x86")
    }

    /// Until it ends, or is killed because `enough` was seen.
    fn run(&self, mut enough: impl FnMut(&Report) -> bool) -> Report {
        let mut child = self.start();
        let deadline = Instant::now() + LIMIT;
        loop {
            let ended = child.try_wait().unwrap().is_some();
            let report = self.report();
            if ended {
                return report;
            }
            if enough(&report) || Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                assert!(Instant::now() < deadline, "{}", self.console());
                return self.report();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn report(&self) -> Report {
        report::read(&File::open(self.path("work")).unwrap())
            .unwrap()
            .map(|(_, report)| report)
            .unwrap_or_default()
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("console")).unwrap_or_default()).into_owned()
    }

    fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        std::io::copy(&mut File::open(self.path("disk")).unwrap(), &mut hasher).unwrap();
        hasher.finalize()
    }

    /// Of the root filesystem in the first partition.
    fn file(&self, path: &str) -> String {
        let (disk, root) = (self.path("disk"), self.path("root"));
        cut(&disk, &root);
        let said = Command::new("debugfs").args(["-R", &format!("cat {path}")]).arg(&root).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }
}

fn cut(disk: &Path, root: &Path) {
    let (from, to) = (format!("if={}", disk.display()), format!("of={}", root.display()));
    let done =
        Command::new("dd").args([&from, &to]).args(["bs=1M", "skip=1", "conv=sparse"]).output().unwrap();
    assert!(done.status.success());
}

#[test]
fn a_guest_is_prepared_in_a_helper_that_may_die_anywhere() {
    let Some(scene) = Scene::set() else {
        eprintln!("XENITH_HELPER_DISK, _KERNEL and _MODULES are not set: this is not tested");
        return;
    };
    let copied = scene.hash();
    let killed = scene.run(|report| report.doing.starts_with("prepares") && report.log.len() > 8);
    assert_eq!(killed.phase, Phase::Working, "{killed:?}\n{}", scene.console());
    assert_eq!(scene.hash(), copied, "killed at work: the disk is as it was copied");

    scene.new_work();
    let killed = scene.run(|report| report.phase == Phase::Merging);
    assert!(matches!(killed.phase, Phase::Merging | Phase::Done), "{killed:?}\n{}", scene.console());
    // The same work disk: it goes on.
    let done = if killed.phase == Phase::Merging { scene.run(|_| false) } else { killed };
    assert_eq!(done.phase, Phase::Done, "{done:?}\n{}", scene.console());
    println!("{:#?}", done);
    assert!(done.os.contains("Debian"), "{done:?}");
    assert!(done.changes.iter().any(|change| change.contains("update-initramfs")), "{done:?}");
    assert_ne!(scene.hash(), copied);
    let fstab = scene.file("/etc/fstab");
    assert!(fstab.starts_with("UUID=") && !fstab.contains("/dev/sda"), "{fstab}");
    let menu = scene.file("/boot/grub/grub.cfg");
    assert!(menu.contains("root=UUID=") && !menu.contains("root=/dev/sda"), "{menu}");
    let link = scene.file("/etc/systemd/network/10-xenith-ens192.link");
    assert!(link.contains("MACAddress=00:50:56:aa:bb:01"), "{link}");
    let checked = Command::new("e2fsck").args(["-fn"]).arg(scene.path("root")).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    scene.new_work();
    let prepared = scene.hash();
    let again = scene.run(|_| false);
    assert_eq!((again.phase, again.changes.len()), (Phase::Done, 0), "{again:?}\n{}", scene.console());
    assert_eq!(scene.hash(), prepared, "nothing to do, nothing written");
}
