//! The command line of `xenith-import`: arguments in, library calls, text or JSON out.
//!
//! Results go to standard output, progress and errors to standard error. Exit codes are those of
//! `ImportError::exit_code`, and 7 for a conversion that finished with losses (`--salvage`).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::fcntl::{FcntlArg, fcntl};
use serde::Serialize;
use xenith_common_text::counted;
use xenith_vmware_import::convert::block::Hashing;
use xenith_vmware_import::convert::journal::Durability;
use xenith_vmware_import::convert::{self, Check, ConvertOptions, Progress, verify};
use xenith_vmware_import::digest::DigestKind;
use xenith_vmware_import::error::{ImportError, Result};
use xenith_vmware_import::info::{describe, describe_stream};
use xenith_vmware_import::plan::{self, Settings};
use xenith_vmware_import::source::{
    Opened, PackageKind, SourceOptions, check_promise, open_any, open_input, open_target, package_kind,
    read_snapshots, read_vmx,
};
use xenith_vmware_import::target::TargetFormat;
use xenith_vmware_import::vmdk::{Plain, Salvage};
use xenith_vmware_import::vmx::{VmsdSnapshot, VmxVm};
use xenith_vmware_import::vsphere::route::Mounts;

use crate::guest_tool::{Deed, guest};
use crate::live::{self, Login, WarmStep};
use crate::output::{Show, info_text, plan_text, print, report_error, report_text};
use crate::package_tool::{self, ova, print_outcome, streamed_package};

/// What fits into the pipe that a disk comes through, in bytes. By itself 64 KiB do: who writes and we would wait for each other
/// twice for each grain or two. What anybody may have is 1 MiB (`/proc/sys/fs/pipe-max-size`).
const PIPE: i32 = 1 << 20;

#[derive(Parser)]
#[command(name = "xenith-import", version, about = "Reads disks and VMs of VMware")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// How progress is shown on standard error
    #[arg(long, global = true, value_enum, default_value_t = ProgressKind::Auto)]
    progress: ProgressKind,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// A line that is rewritten, on a terminal; else nothing
    Auto,
    Json,
    None,
}

#[derive(Subcommand)]
enum Command {
    /// What a disk is: format, size, data, chain
    Info {
        /// A VMDK (descriptor, sparse or -flat file), qcow2, VHD, raw image, OVA, OVF or .vmx; - reads a streamOptimized
        /// VMDK or an OVA from standard input
        source: PathBuf,
        #[command(flatten)]
        open: OpenArgs,
    },
    /// Copy a disk into a new image
    Convert {
        /// As for info
        source: PathBuf,
        /// The new image (replaced when it exists, once the new one is whole) or a block device
        target: PathBuf,
        #[command(flatten)]
        open: OpenArgs,
        #[command(flatten)]
        convert: ConvertArgs,
    },
    /// What is in an OVA or OVF; with a folder, bring all its disks there
    Ova {
        /// An .ova or .ovf; - reads an OVA from standard input
        source: PathBuf,
        folder: Option<PathBuf>,
        #[command(flatten)]
        convert: ConvertArgs,
    },
    /// Assess all VMs of an RVTools export, cut waves, see which hosts come free
    Plan {
        /// The export: an .xlsx, a vInfo .csv or a folder of .csv files
        export: PathBuf,
        /// Mappings, rates and wishes, as TOML
        #[arg(long)]
        settings: Option<PathBuf>,
    },
    /// A live ESXi host or vCenter
    Vsphere {
        #[command(subcommand)]
        command: Live,
    },
    /// What has to change in a guest's root so that it boots on Xen
    Guest {
        /// A mounted root, in a machine made for this: never on a host
        root: PathBuf,
        /// Devices, MAC addresses and ready kernels, as JSON
        #[arg(long)]
        facts: Option<PathBuf>,
        /// Do it, with the root as our own (needs root)
        #[arg(long)]
        apply: bool,
    },
    /// Compare a disk with an image made from it
    Verify {
        source: PathBuf,
        target: PathBuf,
        /// The target's format; by default its name or its contents tell
        #[arg(long, value_enum)]
        to: Option<Format>,
        #[command(flatten)]
        open: OpenArgs,
    },
}

#[derive(Subcommand)]
enum Live {
    /// All VMs, hosts and datastores
    Inventory(LoginArgs),
    /// The plan of the live inventory
    Plan {
        #[command(flatten)]
        login: LoginArgs,
        /// Mappings, rates and wishes, as TOML
        #[arg(long)]
        settings: Option<PathBuf>,
    },
    /// Bring the disks of a VM that is off, by NFC export
    Export {
        #[command(flatten)]
        login: LoginArgs,
        vm: String,
        folder: PathBuf,
        #[arg(long, value_enum, default_value_t = Format::Raw)]
        to: Format,
    },
    /// One pass of a warm migration into a folder; the first copies, later ones bring what changed
    Warm {
        #[command(flatten)]
        login: LoginArgs,
        vm: String,
        folder: PathBuf,
        /// The datacenter's name, for a vCenter
        #[arg(long, default_value = "")]
        datacenter: String,
        /// Shut the guest down and make the last pass; the seconds it may take to stop
        #[arg(long, value_name = "SECONDS")]
        cut_over: Option<u64>,
        /// Switch changed-block tracking on where it is off; rollback switches it off again
        #[arg(long)]
        track: bool,
        /// A datastore that is mounted here, such as an NFS one: its files are read there. More than once
        #[arg(long = "mount", value_name = "DATASTORE=FOLDER", value_parser = mount)]
        mounts: Vec<(String, PathBuf)>,
    },
    /// Remove our snapshots and start the source again if we stopped it
    Rollback {
        #[command(flatten)]
        login: LoginArgs,
        vm: String,
        folder: PathBuf,
    },
}

#[derive(Args)]
struct LoginArgs {
    /// Name or address, with :port when it is not 443
    host: String,
    #[arg(long)]
    user: String,
    /// A file with the password in its first line
    #[arg(long)]
    password_file: PathBuf,
    /// SHA-256 of the server's certificate; without it the first connection shows it
    #[arg(long)]
    fingerprint: Option<String>,
}

fn mount(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let (datastore, folder) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not DATASTORE=FOLDER"))?;
    Ok((datastore.to_owned(), PathBuf::from(folder)))
}

impl LoginArgs {
    fn login(&self) -> Login {
        Login {
            host: self.host.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            fingerprint: self.fingerprint.clone(),
        }
    }
}

#[derive(Args)]
struct OpenArgs {
    /// Take the source as a plain image whatever it begins with
    #[arg(long, value_enum)]
    from: Option<From>,
    /// The parent of the snapshot, when it is not beside it under its own name
    #[arg(long)]
    parent: Option<PathBuf>,
    /// Which disk of an OVA, OVF or VMX is meant, counted from 0
    #[arg(long)]
    disk: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Raw,
}

#[derive(Args, Default)]
pub struct ConvertArgs {
    /// Format of the target; by default its name tells (.qcow2, .vhd), else raw
    #[arg(long, value_enum)]
    pub to: Option<Format>,
    /// Read the target again and compare its digest
    #[arg(long)]
    verify: bool,
    /// Step over what cannot be read, list it, and end with code 7
    #[arg(long)]
    salvage: bool,
    /// Return when the target would survive a power cut
    #[arg(long)]
    sync: bool,
    /// Digest of what flows through: fast notices accidents, strong (BLAKE3) also forgeries
    #[arg(long, value_enum, default_value_t)]
    hash: Hash,
    /// Read at most this many MiB of data per second
    #[arg(long, value_name = "MIB")]
    max_rate: Option<u64>,
    /// Threads that read, inflate, hash and write
    #[arg(long)]
    workers: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Hash {
    #[default]
    Fast,
    Strong,
    None,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    Raw,
    Qcow2,
    Vhd,
}

impl std::convert::From<Format> for TargetFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Raw => Self::Raw,
            Format::Qcow2 => Self::Qcow2,
            Format::Vhd => Self::Vhd,
        }
    }
}

impl std::convert::From<TargetFormat> for Format {
    fn from(format: TargetFormat) -> Self {
        match format {
            TargetFormat::Raw => Self::Raw,
            TargetFormat::Qcow2 => Self::Qcow2,
            TargetFormat::Vhd => Self::Vhd,
        }
    }
}

impl OpenArgs {
    fn options(&self) -> SourceOptions {
        let plain = if self.from.is_some() { Plain::Yes } else { Plain::ByName };
        SourceOptions { plain, parent: self.parent.clone(), salvage: Salvage::Refuse, disk: self.disk }
    }
}

impl ConvertArgs {
    pub fn options(&self, target: &Path) -> ConvertOptions {
        let format = self.to.map_or_else(|| TargetFormat::of_name(target), TargetFormat::from);
        let mut options = ConvertOptions::new(format);
        if let Some(workers) = self.workers {
            options.workers = workers.clamp(1, 64);
        }
        options.hashing = match self.hash {
            Hash::Fast => Hashing::On(DigestKind::Fast),
            Hash::Strong => Hashing::On(DigestKind::Strong),
            Hash::None => Hashing::Off,
        };
        options.max_rate = self.max_rate.map(|mib| mib << 20);
        if self.salvage {
            options.salvage = Salvage::NoteLosses;
        }
        if self.sync {
            options.durability = Durability::PowerCut;
        }
        if self.verify {
            // Without a digest there is nothing to compare with.
            options.check = Check::ReadBack;
            if options.hashing == Hashing::Off {
                options.hashing = Hashing::default();
            }
        }
        options
    }
}

/// Parses the arguments and does what they say.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match execute(&cli) {
        Ok(code) => code,
        Err(error) => {
            report_error(cli.output, &error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn execute(cli: &Cli) -> Result<ExitCode> {
    let mut show = Show::new(cli.progress);
    match &cli.command {
        Command::Info { source, open } => info(cli, source, open),
        Command::Convert { source, target, open, convert } => {
            let options = convert.options(target);
            let source_options = SourceOptions { salvage: options.salvage, ..open.options() };
            // Who accepts losses has a damaged file.
            if options.salvage == Salvage::Refuse {
                check_promise(source, &source_options)?;
            }
            let progress = &mut |p| show.progress(p);
            let report = match open_source(source, &source_options)? {
                Opened::Image(image) => convert::convert_image(&image, target, &options, progress)?,
                Opened::Stream(mut stream) => {
                    convert::convert_stream(&mut stream, target, &options, progress)?
                }
                Opened::Package(input) => {
                    let outcome = streamed_package(input, target, &options, progress)?;
                    show.end();
                    return Ok(print_outcome(cli.output, &outcome));
                }
            };
            show.end();
            print(cli.output, &report, || report_text(&report));
            Ok(package_tool::code_of(&[&report]))
        }
        Command::Verify { source, target, to, open } => {
            let format = to.map(TargetFormat::from);
            let result = match open_source(source, &open.options())? {
                Opened::Image(origin) => {
                    let total = origin.virtual_size();
                    let image = open_target(target, format, total)?;
                    verify::compare(&origin, &image, &mut |done| show.progress(Progress { done, total }))?
                }
                Opened::Stream(mut stream) => {
                    let image = open_target(target, format, stream.header.capacity)?;
                    verify::compare_stream(&mut stream, &image, 2)?
                }
                Opened::Package(input) => return package_tool::compare(cli.output, input, target, format),
            };
            show.end();
            print(cli.output, &result, || result.detail.clone());
            Ok(if result.identical { ExitCode::SUCCESS } else { ExitCode::from(6) })
        }
        Command::Vsphere { command } => live(cli, command, &mut show),
        Command::Guest { root, facts, apply } => {
            let deed = if *apply { Deed::Apply } else { Deed::Show };
            guest(cli.output, root, facts.as_deref(), deed)
        }
        Command::Plan { export, settings } => plan(cli, export, settings.as_deref()),
        Command::Ova { source, folder, convert } => {
            ova(cli.output, show, (source, folder.as_deref()), convert)
        }
    }
}

fn info(cli: &Cli, source: &Path, open: &OpenArgs) -> Result<ExitCode> {
    let from_pipe = source.as_os_str() == "-";
    if !from_pipe && open.disk.is_none() {
        match package_kind(source)? {
            Some(PackageKind::Ovf) => {
                return ova(cli.output, Show::new(cli.progress), (source, None), &ConvertArgs::default());
            }
            Some(PackageKind::Vmx) => {
                let found = Folder { vm: read_vmx(source)?, snapshots: read_snapshots(source)? };
                print(cli.output, &found, || found.text());
                return Ok(ExitCode::SUCCESS);
            }
            None => {}
        }
    }
    let info = match open_source(source, &open.options())? {
        Opened::Image(image) => describe(&image)?,
        Opened::Stream(mut stream) => describe_stream(&mut stream)?,
        Opened::Package(input) => return package_tool::describe(cli.output, input),
    };
    print(cli.output, &info, || info_text(&info));
    Ok(ExitCode::SUCCESS)
}

/// What `info` says of a `.vmx`, and of the `.vmsd` beside it.
#[derive(Serialize)]
struct Folder {
    #[serde(flatten)]
    vm: VmxVm,
    snapshots: Vec<VmsdSnapshot>,
}

impl Folder {
    fn text(&self) -> String {
        let (disks, nics) = (counted(self.vm.disks.len(), "disk"), counted(self.vm.nics.len(), "NIC"));
        let mut text = format!("{}: {disks}, {nics}", self.vm.name);
        for snapshot in &self.snapshots {
            let now = if snapshot.current { ", the newest" } else { "" };
            text.push_str(&format!("\n  snapshot {:?}{now}", snapshot.name));
        }
        text
    }
}

fn live(cli: &Cli, command: &Live, show: &mut Show) -> Result<ExitCode> {
    match command {
        Live::Inventory(login) => live::list(cli.output, &login.login()),
        Live::Plan { login, settings } => {
            live::assess(cli.output, &login.login(), &read_settings(settings.as_deref())?)
        }
        Live::Export { login, vm, folder, to } => {
            live::export(cli.output, &login.login(), (vm, folder, (*to).into()), show)
        }
        Live::Warm { login, vm, folder, datacenter, cut_over, track, mounts } => {
            let step = match cut_over {
                Some(seconds) => WarmStep::CutOver(Duration::from_secs(*seconds)),
                None if *track => WarmStep::TrackedPass,
                None => WarmStep::Pass,
            };
            let mounts = mounts.iter().cloned().collect();
            live::warm(cli.output, &login.login(), (vm, folder, datacenter, mounts), step)
        }
        Live::Rollback { login, vm, folder } => {
            let target = (vm.as_str(), folder.as_path(), "", Mounts::new());
            live::warm(cli.output, &login.login(), target, WarmStep::RollBack)
        }
    }
}

fn read_settings(path: Option<&Path>) -> Result<Settings> {
    let Some(path) = path else { return Ok(Settings::default()) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| ImportError::io("read", &name, error))?;
    Settings::parse(&name, &text)
}

fn plan(cli: &Cli, export: &Path, settings: Option<&Path>) -> Result<ExitCode> {
    let settings = read_settings(settings)?;
    let plan = plan::make(&plan::rvtools::read(export)?, &settings);
    print(cli.output, &plan, || plan_text(&plan));
    Ok(ExitCode::SUCCESS)
}

pub fn open_source(source: &Path, options: &SourceOptions) -> Result<Opened> {
    if source.as_os_str() == "-" {
        let input = std::io::stdin();
        // Of no pipe, or above what the system lets us have, it stays as it is.
        let _as_it_was = fcntl(&input, FcntlArg::F_SETPIPE_SZ(PIPE));
        return open_input("standard input", Box::new(input));
    }
    open_any(source, options)
}
