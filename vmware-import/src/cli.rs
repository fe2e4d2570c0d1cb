//! The command line of `xenith-import`: arguments in, library calls, text or JSON out.
//!
//! Results go to standard output, progress and errors to standard error. Exit codes are those of
//! `ImportError::exit_code`, and 7 for a conversion that finished with losses (`--salvage`).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use xenith_vmware_import::bytes::check_plain;
use xenith_vmware_import::convert::block::Hashing;
use xenith_vmware_import::convert::journal::Durability;
use xenith_vmware_import::convert::{self, Check, ConvertOptions, Progress, Report, verify};
use xenith_vmware_import::digest::DigestKind;
use xenith_vmware_import::error::{ImportError, Result};
use xenith_vmware_import::info::{describe, describe_stream};
use xenith_vmware_import::ovf::{OvaOutcome, OvaPackage, StreamedDisk, convert_ova_stream};
use xenith_vmware_import::plan::{self, Settings};
use xenith_vmware_import::source::{
    Opened, PackageKind, SourceOptions, open_any, open_input, open_target, package_kind, read_vmx,
};
use xenith_vmware_import::target::TargetFormat;
use xenith_vmware_import::vmdk::{Plain, Salvage};

use crate::guest_tool::{Deed, guest};
use crate::live::{self, Login, WarmStep};
use crate::output::{Show, info_text, package_text, plan_text, print, report_error, report_text};

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
        /// A VMDK (descriptor, sparse file or -flat), qcow2, VHD or raw image
        source: PathBuf,
        #[command(flatten)]
        open: OpenArgs,
    },
    /// Copy a disk into a new image
    Convert {
        /// As for info; - reads a streamOptimized VMDK from standard input
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
struct ConvertArgs {
    /// Format of the target; by default its name tells (.qcow2, .vhd), else raw
    #[arg(long, value_enum)]
    to: Option<Format>,
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
enum Hash {
    #[default]
    Fast,
    Strong,
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
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
    fn options(&self, target: &Path) -> ConvertOptions {
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
            Ok(code_of(&[&report]))
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
                Opened::Package(_) => {
                    return Err(ImportError::Usage(
                        "an OVA from a stream cannot be compared: save it first".into(),
                    ));
                }
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
        Command::Ova { source, folder, convert } => ova(cli, source, folder.as_deref(), convert),
    }
}

fn info(cli: &Cli, source: &Path, open: &OpenArgs) -> Result<ExitCode> {
    let from_pipe = source.as_os_str() == "-";
    if !from_pipe && open.disk.is_none() {
        match package_kind(source)? {
            Some(PackageKind::Ovf) => return ova(cli, source, None, &ConvertArgs::default()),
            Some(PackageKind::Vmx) => {
                let vm = read_vmx(source)?;
                print(cli.output, &vm, || {
                    format!("{}: {} disks, {} NICs", vm.name, vm.disks.len(), vm.nics.len())
                });
                return Ok(ExitCode::SUCCESS);
            }
            None => {}
        }
    }
    let info = match open_source(source, &open.options())? {
        Opened::Image(image) => describe(&image)?,
        Opened::Stream(mut stream) => describe_stream(&mut stream)?,
        Opened::Package(_) => {
            return Err(ImportError::Usage("an OVA from a stream can only be converted".into()));
        }
    };
    print(cli.output, &info, || info_text(&info));
    Ok(ExitCode::SUCCESS)
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
        Live::Warm { login, vm, folder, datacenter, cut_over } => {
            let step = cut_over.map_or(WarmStep::Pass, |s| WarmStep::CutOver(Duration::from_secs(s)));
            live::warm(cli.output, &login.login(), (vm, folder, datacenter), step)
        }
        Live::Rollback { login, vm, folder } => {
            live::warm(cli.output, &login.login(), (vm, folder, ""), WarmStep::RollBack)
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

/// Describes a package, and with a folder brings all its disks there.
fn ova(cli: &Cli, source: &Path, folder: Option<&Path>, convert: &ConvertArgs) -> Result<ExitCode> {
    let mut show = Show::new(cli.progress);
    if source.as_os_str() == "-" {
        let Some(folder) = folder else {
            return Err(ImportError::Usage("name a folder for the disks of the stream".into()));
        };
        let options = convert.options(Path::new("disk"));
        let Opened::Package(input) = open_source(source, &SourceOptions::default())? else {
            return Err(ImportError::Usage("standard input holds no OVA".into()));
        };
        let outcome = streamed_package(input, folder, &options, &mut |p| show.progress(p))?;
        show.end();
        return Ok(print_outcome(cli.output, &outcome));
    }
    let package = OvaPackage::open(source)?;
    let Some(folder) = folder else {
        print(cli.output, &package.envelope, || package_text(&package.envelope));
        return Ok(ExitCode::SUCCESS);
    };
    let checked = package.check_manifest()?;
    let mut outcome =
        OvaOutcome { checked, package: Some(package.envelope.clone()), ..OvaOutcome::default() };
    for (_, _, file) in package.envelope.disk_files() {
        let path = disk_path(folder, &file.href, convert)?;
        let options = convert.options(&path);
        let progress = &mut |p| show.progress(p);
        let report = match package.disk(file, options.salvage)? {
            Opened::Image(image) => convert::convert_image(&image, &path, &options, progress)?,
            Opened::Stream(mut stream) => convert::convert_stream(&mut stream, &path, &options, progress)?,
            Opened::Package(_) => return Err(ImportError::Usage("a package inside a package".into())),
        };
        outcome.disks.push(StreamedDisk { href: file.href.clone(), report });
    }
    show.end();
    Ok(print_outcome(cli.output, &outcome))
}

/// Converts what comes: into `target` when there is one disk, into a folder by the disks' names.
fn streamed_package(
    input: Box<dyn Read>,
    target: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<OvaOutcome> {
    let format = ConvertArgs { to: Some(options.format.into()), ..ConvertArgs::default() };
    let mut used = false;
    let mut place = |href: &str| {
        if target.is_dir() {
            return disk_path(target, href, &format);
        }
        if std::mem::replace(&mut used, true) {
            return Err(ImportError::Usage(format!(
                "the package has more than one disk: make {} a folder",
                target.display()
            )));
        }
        Ok(target.to_owned())
    };
    convert_ova_stream(("standard input", input), options, &mut place, progress)
}

fn disk_path(folder: &Path, href: &str, convert: &ConvertArgs) -> Result<PathBuf> {
    check_plain("the package", "file", href)?;
    let format = convert.to.map_or(TargetFormat::Raw, TargetFormat::from);
    let stem = href.strip_suffix(".gz").unwrap_or(href);
    let stem = stem.strip_suffix(".vmdk").unwrap_or(stem);
    Ok(folder.join(format!("{stem}.{}", format.name())))
}

fn print_outcome(output: Output, outcome: &OvaOutcome) -> ExitCode {
    print(output, outcome, || {
        let mut text: Vec<String> = outcome.disks.iter().map(|disk| report_text(&disk.report)).collect();
        text.push(format!("{} files agree with the manifest", outcome.checked.len()));
        text.extend(outcome.warnings.iter().map(|warning| format!("warning: {warning}")));
        text.join("\n")
    });
    code_of(&outcome.disks.iter().map(|disk| &disk.report).collect::<Vec<_>>())
}

fn code_of(reports: &[&Report]) -> ExitCode {
    let lost = reports.iter().any(|report| !report.lost.is_empty());
    if lost { ExitCode::from(7) } else { ExitCode::SUCCESS }
}

fn open_source(source: &Path, options: &SourceOptions) -> Result<Opened> {
    if source.as_os_str() == "-" {
        return open_input("standard input", Box::new(std::io::stdin()));
    }
    open_any(source, options)
}
