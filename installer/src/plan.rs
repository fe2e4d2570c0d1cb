//! From answers and facts to ordered steps: pure, so that what the summary shows is what is done.
//!
//! ```text
//!  release -> partition -> file systems -> mount -> copy -> settings -> boot loader -> finish
//! ```
//!
//! Each step can be repeated, and the list can be repeated from its beginning on a disk in any state. The commit point
//! is the boot loader: before it the disk starts nothing, after it the whole system is there. A power cut before it
//! leaves a disk that installs again, like any other with data on it.

mod boot;
mod files;
mod network;

use std::fmt;

use xenith_common_text::counted;

pub use self::boot::{ENV_FILE, ENV_SIZE, env_block, slot_menu};
pub use self::network::{BRIDGE, units as network_units};

use crate::answers::{After, Answers, Role, SrKind};
use crate::disks::{self, Disk, Health};
use crate::facts::{Facts, Firmware};
use crate::layout::{Layout, number};
use crate::nics;

/// Where the new system is put together.
pub const TARGET: &str = "/run/xenith/target";
/// Where its EFI system partitions are mounted, one a disk.
pub const ESP: &str = "/run/xenith/esp";

/// What will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For a person, before anything is done.
    pub summary: Vec<String>,
    pub steps: Vec<Step>,
    pub after: After,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub title: String,
    /// The device or folder that a failure names.
    pub target: String,
    pub actions: Vec<Action>,
}

/// In a host that an answers file installed: the hash of that file.
pub const ANSWERED: &str = "etc/xenith/answers.sha256";

impl Plan {
    /// Writes down, when all else is there, which answers these are.
    pub fn note_answers(&mut self, hash: &str) {
        let path = format!("{TARGET}/{ANSWERED}");
        let note = Action::Write { path, mode: 0o644, content: format!("{hash}\n").into_bytes() };
        if let Some(last) = self.steps.last_mut() {
            last.actions.insert(0, note);
        }
    }
}

/// The few things a step is made of.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// The disk is still the one that the plan was made for.
    Recognise {
        disk: Disk,
    },
    /// Nothing uses the disk any more: what is mounted is unmounted, arrays and volume groups are stopped.
    Release {
        disk: Disk,
    },
    Run {
        program: &'static str,
        args: Vec<String>,
        stdin: String,
    },
    /// Whatever was mounted there is unmounted first.
    Mount {
        device: String,
        at: String,
    },
    Unmount {
        at: String,
    },
    /// Checks the image of the medium, then unpacks it.
    Unpack {
        to: String,
    },
    MakeDir {
        path: String,
        mode: u32,
    },
    Write {
        path: String,
        mode: u32,
        content: Vec<u8>,
    },
    Copy {
        from: String,
        to: String,
    },
    Link {
        path: String,
        to: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recognise { disk } => write!(f, "look at {}", disk.path),
            Self::Release { disk } => write!(f, "release {}", disk.path),
            Self::Run { program, args, .. } => write!(f, "{program} {}", args.join(" ")),
            Self::Mount { device, at } => write!(f, "mount {device} {at}"),
            Self::Unmount { at } => write!(f, "umount {at}"),
            Self::Unpack { to } => write!(f, "unpack the system to {to}"),
            Self::MakeDir { path, mode } => write!(f, "mkdir {path} ({mode:o})"),
            // Never the content: it may be the join token.
            Self::Write { path, mode, content } => {
                write!(f, "write {path} ({} bytes, {mode:o})", content.len())
            }
            Self::Copy { from, to } => write!(f, "copy {from} {to}"),
            Self::Link { path, to } => write!(f, "link {path} -> {to}"),
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What chance decides, given from outside so that a plan is a pure value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// UUIDs of slot A, slot B, state and SR.
    pub slots: [String; 2],
    pub state: String,
    pub sr: String,
    /// Serial number of the ESP's FAT, eight hex digits; one per disk.
    pub esp: Vec<String>,
}

impl Chosen {
    /// Of the thin pool. Another disk of this machine may have been a host's once: no two groups may have one name.
    fn group(&self) -> String {
        format!("xenith_{}", self.sr.chars().take(8).collect::<String>())
    }

    /// New ones. The kernel's generator needs no library and is seeded by the time we run.
    pub fn random() -> std::io::Result<Self> {
        let uuid =
            || std::fs::read_to_string("/proc/sys/kernel/random/uuid").map(|text| text.trim().to_owned());
        let serial = || uuid().map(|text| text[..8].to_ascii_uppercase());
        Ok(Self { slots: [uuid()?, uuid()?], state: uuid()?, sr: uuid()?, esp: vec![serial()?, serial()?] })
    }
}

/// Why these answers do not fit this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PlanError {
    /// As in the answers file.
    pub field: &'static str,
    pub problem: String,
}

fn unfit(field: &'static str) -> impl Fn(String) -> PlanError {
    move |problem| PlanError { field, problem }
}

/// One disk, or the two of a mirror, and the devices on them.
struct Devices<'a> {
    disks: Vec<&'a Disk>,
    layout: Layout,
    /// Ends the names of arrays.
    ending: String,
}

impl<'a> Devices<'a> {
    fn choose(answers: &Answers, facts: &'a Facts, chosen: &Chosen) -> Result<Self, PlanError> {
        let wrong = unfit("target.disks");
        let mut disks = Vec::new();
        for wanted in &answers.target.disks {
            let disk = disks::find(&facts.disks, wanted).map_err(&wrong)?;
            if let Some(reason) = disk.unusable {
                return Err(wrong(format!("{} cannot be used: {reason}", disk.path)));
            }
            disks.push(disk);
        }
        if let [one, two] = disks.as_slice()
            && one.path == two.path
        {
            return Err(wrong(format!("both names mean {}; a mirror needs two disks", one.path)));
        }
        if let [one, two] = disks.as_slice()
            && one.has_a_name()
            && one.is_same_as(two)
        {
            let (one, two) = (&one.path, &two.path);
            let problem = format!(
                "{one} and {two} are two ways to the same disk; a mirror needs two disks. Take one of them alone"
            );
            return Err(wrong(problem));
        }
        let smallest = disks.iter().min_by_key(|disk| disk.bytes);
        let Some(smallest) = smallest else { return Err(wrong("no disk is named".to_owned())) };
        let layout = Layout::for_size(smallest.bytes)
            .map_err(|problem| wrong(format!("{} is too small: {problem}", smallest.path)))?;
        let ending = chosen.state.chars().take(8).collect();
        Ok(Self { disks, layout, ending })
    }

    fn is_mirror(&self) -> bool {
        self.disks.len() > 1
    }

    fn names(&self) -> String {
        self.disks.iter().map(|disk| disk.path.as_str()).collect::<Vec<_>>().join(" and ")
    }

    /// What a file system is made on: the partition, or the array of both.
    fn volume(&self, partition: u32) -> String {
        if self.is_mirror() {
            return format!("/dev/md/{}", self.array(partition));
        }
        self.disks[0].partition(partition)
    }

    /// Other disks of this machine may have been a host's once: mdadm makes no second array of one name.
    fn array(&self, partition: u32) -> String {
        format!("{}-{}", self.layout.partitions()[partition as usize - 1].name, self.ending)
    }
}

/// The whole plan, or the first answer that does not fit the machine.
pub fn make(answers: &Answers, facts: &Facts, chosen: &Chosen, version: &str) -> Result<Plan, PlanError> {
    if facts.firmware == Firmware::UefiSecureBoot {
        let problem = "Secure Boot is on, and it does not start Xen: nobody has signed it. Switch Secure Boot off in \
                       the firmware's settings; nothing was written";
        return Err(unfit("firmware")(problem.to_owned()));
    }
    let devices = Devices::choose(answers, facts, chosen)?;
    let cards = nics::choose(&facts.nics, &answers.network.nics).map_err(unfit("network.nics"))?;
    let units = network::units(&answers.network, &cards);
    let dom0_mib = boot::dom0_mib(facts.memory_mib).map_err(unfit("memory"))?;
    let mut steps = prepare(&devices);
    steps.push(file_systems(answers, &devices, chosen));
    steps.push(mount(answers, &devices));
    steps.push(Step {
        title: "copy the system".to_owned(),
        target: devices.volume(number::SLOT_A),
        actions: vec![Action::Unpack { to: TARGET.to_owned() }],
    });
    steps.push(Step {
        title: "write the settings".to_owned(),
        target: TARGET.to_owned(),
        actions: files::actions(
            answers,
            &files::Place { chosen, units: &units, dom0_mib, mirror: devices.is_mirror() },
        ),
    });
    // What the boot loader starts is on the disk before the boot loader is.
    let mut loader = vec![run("sync", &["--file-system", TARGET, &format!("{TARGET}/var/lib/xenith")])];
    loader.extend(boot::actions(&devices.disks, chosen));
    steps.push(Step {
        title: "install the boot loader".to_owned(),
        target: devices.names(),
        actions: loader,
    });
    steps.push(finish(answers, &devices, chosen));
    let mut more = vec![format!("Xenith {version}, dom0 gets {dom0_mib} MiB")];
    if answers.target.sr == SrKind::LvmThin {
        let (host, group) = (&answers.system.name, chosen.group());
        more.push(format!("later: `xenith sr create NAME --host {host} --thin-pool {group}/pool`"));
    }
    let summary = summary(answers, &devices, &cards, &more);
    Ok(Plan { summary, steps, after: answers.target.after })
}

pub(crate) fn run(program: &'static str, args: &[&str]) -> Action {
    Action::Run { program, args: args.iter().map(|arg| (*arg).to_owned()).collect(), stdin: String::new() }
}

/// Release and partition, disk by disk; then the arrays of a mirror.
fn prepare(devices: &Devices<'_>) -> Vec<Step> {
    // All of them before the first is written.
    let mut steps = vec![Step {
        title: "look at the disks once more".to_owned(),
        target: devices.names(),
        actions: devices.disks.iter().map(|disk| Action::Recognise { disk: (*disk).clone() }).collect(),
    }];
    steps.extend(devices.disks.iter().map(|disk| Step {
        title: format!("partition {}", disk.path),
        target: disk.path.clone(),
        actions: vec![
            Action::Unmount { at: TARGET.to_owned() },
            Action::Release { disk: (*disk).clone() },
            Action::Run {
                program: "sfdisk",
                args: ["--quiet", "--lock=yes", "--wipe=always", "--wipe-partitions=always", &disk.path]
                    .map(str::to_owned)
                    .to_vec(),
                stdin: devices.layout.sfdisk(),
            },
            run("udevadm", &["settle", "--timeout=30"]),
        ],
    }));
    if let [one, two] = devices.disks.as_slice() {
        let mut actions = Vec::new();
        for partition in [number::SLOT_A, number::SLOT_B, number::STATE, number::SR] {
            let (first, second) = (one.partition(partition), two.partition(partition));
            actions.push(run("mdadm", &["--zero-superblock", "--force", &first, &second]));
            actions.push(run(
                "mdadm",
                &[
                    "--create",
                    &devices.volume(partition),
                    "--run",
                    "--level=1",
                    "--raid-devices=2",
                    "--metadata=1.2",
                    "--bitmap=internal",
                    "--homehost=any",
                    &format!("--name={}", devices.array(partition)),
                    &first,
                    &second,
                ],
            ));
        }
        actions.push(run("udevadm", &["settle", "--timeout=30"]));
        steps.push(Step { title: "make the mirror".to_owned(), target: devices.names(), actions });
    }
    steps
}

fn file_systems(answers: &Answers, devices: &Devices<'_>, chosen: &Chosen) -> Step {
    let mut actions = Vec::new();
    for (disk, serial) in devices.disks.iter().zip(&chosen.esp) {
        actions.push(run(
            "mkfs.vfat",
            &["-F", "32", "-n", "XENITH-ESP", "-i", serial, &disk.partition(number::ESP)],
        ));
    }
    let ext4 = |label: &str, uuid: &str, device: &str| {
        run("mkfs.ext4", &["-q", "-F", "-m", "1", "-L", label, "-U", uuid, device])
    };
    actions.push(ext4("xenith-a", &chosen.slots[0], &devices.volume(number::SLOT_A)));
    actions.push(ext4("xenith-state", &chosen.state, &devices.volume(number::STATE)));
    match answers.target.sr {
        SrKind::Xfs => {
            let uuid = format!("uuid={}", chosen.sr);
            let args =
                ["-q", "-f", "-L", "xenith-sr", "-m", "reflink=1", "-m", &uuid, &devices.volume(number::SR)];
            actions.push(run("mkfs.xfs", &args));
        }
        SrKind::LvmThin => actions.extend(thin_pool(devices, chosen)),
        SrKind::None => {}
    }
    // A boot menu of an older installation would start what is no longer there.
    actions.push(run("udevadm", &["settle", "--timeout=30"]));
    Step { title: "make file systems".to_owned(), target: devices.names(), actions }
}

/// A thin pool as the agent makes one of empty disks (docs/adr/0072): extents of a MiB, new blocks zeroed, writes wait where
/// it is full. A hundredth stays free for more metadata, besides what these and their spare take now.
fn thin_pool(devices: &Devices<'_>, chosen: &Chosen) -> Vec<Action> {
    // 64 bytes of metadata for a block, of which there can be 15.8 GiB: beyond this the blocks have to be larger.
    const SMALL_BLOCKS_MIB: u64 = 7 << 20;
    let device = devices.volume(number::SR);
    let mib = devices.layout.partitions()[number::SR as usize - 1].mib;
    let block = if mib < SMALL_BLOCKS_MIB { "64k" } else { "1m" };
    let group = chosen.group();
    let pool =
        ["--yes", "--type=thin-pool", "--zero=y", "--discards=passdown", "--extents=98%FREE", "--name=pool"];
    let mut pool = pool.to_vec();
    let block = format!("--chunksize={block}");
    pool.extend([block.as_str(), group.as_str()]);
    vec![
        run("pvcreate", &["--yes", "-ff", &device]),
        run("vgcreate", &["--yes", "--physicalextentsize=1m", &group, &device]),
        run("lvcreate", &pool),
    ]
}

fn mount(answers: &Answers, devices: &Devices<'_>) -> Step {
    let state = format!("{TARGET}/var/lib/xenith");
    let mut actions = vec![
        Action::MakeDir { path: TARGET.to_owned(), mode: 0o755 },
        Action::Mount { device: devices.volume(number::SLOT_A), at: TARGET.to_owned() },
        Action::MakeDir { path: state.clone(), mode: 0o700 },
        Action::Mount { device: devices.volume(number::STATE), at: state.clone() },
        Action::MakeDir { path: format!("{state}/log"), mode: 0o755 },
        Action::MakeDir { path: format!("{state}/sr"), mode: 0o700 },
    ];
    if answers.target.sr == SrKind::Xfs {
        // Where the SR cannot be mounted, disks of VMs must not be written into the state's file system instead: it is
        // small, and what is in the folder cannot be seen when the SR is there again.
        actions.push(run("chattr", &["+i", &format!("{state}/sr")]));
        actions.push(Action::Mount { device: devices.volume(number::SR), at: format!("{state}/sr") });
    }
    for (place, disk) in devices.disks.iter().enumerate() {
        let at = format!("{ESP}{place}");
        actions.push(Action::MakeDir { path: at.clone(), mode: 0o755 });
        actions.push(Action::Mount { device: disk.partition(number::ESP), at });
    }
    Step { title: "mount them".to_owned(), target: devices.names(), actions }
}

fn finish(answers: &Answers, devices: &Devices<'_>, chosen: &Chosen) -> Step {
    let log = format!("{TARGET}/var/lib/xenith/log/install.log");
    let mut actions = vec![Action::Copy { from: crate::apply::LOG.to_owned(), to: log }];
    actions.extend((0..devices.disks.len()).map(|place| Action::Unmount { at: format!("{ESP}{place}") }));
    if answers.target.sr == SrKind::Xfs {
        actions.push(Action::Unmount { at: format!("{TARGET}/var/lib/xenith/sr") });
    }
    actions.push(Action::Unmount { at: format!("{TARGET}/var/lib/xenith") });
    actions.push(Action::Unmount { at: TARGET.to_owned() });
    if answers.target.sr == SrKind::LvmThin {
        actions.push(run("vgchange", &["--activate=n", &chosen.group()]));
    }
    Step { title: "write everything out".to_owned(), target: devices.names(), actions }
}

fn summary(answers: &Answers, devices: &Devices<'_>, cards: &[&nics::Nic], more: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for disk in &devices.disks {
        lines.push(format!("ERASED      {}", disk.title()));
        if disk.health == Health::Failing {
            lines.push("            this disk says of itself that it is failing: replace it".to_owned());
        }
        if disk.contents.is_empty() {
            lines.push("            nothing known is on it".to_owned());
        }
        lines.extend(disk.contents.iter().map(|line| format!("            lost: {line}")));
    }
    let partitions: Vec<String> = devices
        .layout
        .partitions()
        .iter()
        .map(|p| format!("{} {} MiB", p.name.trim_start_matches("xenith-"), p.mib))
        .collect();
    lines.push(format!("layout      {}", partitions.join(", ")));
    if devices.is_mirror() {
        lines.push("mirror      both disks carry everything".to_owned());
    }
    let sr = match answers.target.sr {
        SrKind::Xfs => "XFS with shared blocks",
        SrKind::LvmThin => "a thin pool of LVM",
        SrKind::None => "none, the partition stays empty",
    };
    lines.push(format!("SR          {sr}"));
    lines.push(format!("host        {}, time zone {}", answers.system.name, answers.system.timezone));
    lines.extend(network::describe(&answers.network, cards));
    let keys = counted(answers.access.ssh_keys.len(), "key");
    let password = if answers.access.root_password_hash.is_some() { "with the password" } else { "nobody" };
    lines.push(format!("root        SSH with {keys}, at the console {password}"));
    lines.push(match &answers.join {
        Some(join) => format!("joins       {}, authority {}", join.token.address, join.token.fingerprint),
        None if answers.system.role == Role::HostAndOrchestrator => {
            "joins       the orchestrator that starts on this host".to_owned()
        }
        None => "joins       no orchestrator yet: `xenith-agent join TOKEN` later".to_owned(),
    });
    lines.extend(more.iter().map(|line| format!("system      {line}")));
    lines
}

#[cfg(test)]
mod tests;
