//! The command line of `xenith-import`: arguments in, library calls, text or JSON out.
//!
//! Results go to standard output, progress and errors to standard error. Exit codes are those of
//! `ImportError::exit_code`, and 7 for a conversion that finished with losses (`--salvage`).

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use xenith_vmware_import::convert::block::Hashing;
use xenith_vmware_import::convert::journal::Durability;
use xenith_vmware_import::convert::{self, Check, ConvertOptions, Progress, Report, verify};
use xenith_vmware_import::digest::DigestKind;
use xenith_vmware_import::error::{ImportError, Result};
use xenith_vmware_import::info::{DiskInfo, describe, describe_stream};
use xenith_vmware_import::source::{Opened, SourceOptions, open_any, open_stream, open_target};
use xenith_vmware_import::target::TargetFormat;
use xenith_vmware_import::vmdk::{Plain, Salvage};

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
enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProgressKind {
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

#[derive(Args)]
struct OpenArgs {
    /// Take the source as a plain image whatever it begins with
    #[arg(long, value_enum)]
    from: Option<From>,
    /// The parent of the snapshot, when it is not beside it under its own name
    #[arg(long)]
    parent: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Raw,
}

#[derive(Args)]
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
    #[arg(long, value_enum, default_value_t = Hash::Fast)]
    hash: Hash,
    /// Read at most this many MiB of data per second
    #[arg(long, value_name = "MIB")]
    max_rate: Option<u64>,
    /// Threads that read, inflate, hash and write
    #[arg(long)]
    workers: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Hash {
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

impl OpenArgs {
    fn options(&self) -> SourceOptions {
        let plain = if self.from.is_some() { Plain::Yes } else { Plain::ByName };
        SourceOptions { plain, parent: self.parent.clone(), salvage: Salvage::Refuse }
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
    match &cli.command {
        Command::Info { source, open } => {
            let info = match open_source(source, &open.options())? {
                Opened::Image(image) => describe(&image)?,
                Opened::Stream(mut stream) => describe_stream(&mut stream)?,
            };
            print(cli.output, &info, || info_text(&info));
            Ok(ExitCode::SUCCESS)
        }
        Command::Convert { source, target, open, convert } => {
            let options = convert.options(target);
            let source_options = SourceOptions { salvage: options.salvage, ..open.options() };
            let mut show = Show::new(cli.progress);
            let progress = &mut |p| show.progress(p);
            let report = match open_source(source, &source_options)? {
                Opened::Image(image) => convert::convert_image(&image, target, &options, progress)?,
                Opened::Stream(mut stream) => {
                    convert::convert_stream(&mut stream, target, &options, progress)?
                }
            };
            show.end();
            print(cli.output, &report, || report_text(&report));
            Ok(if report.lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(7) })
        }
        Command::Verify { source, target, to, open } => {
            let format = to.map(TargetFormat::from);
            let mut show = Show::new(cli.progress);
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
            };
            show.end();
            print(cli.output, &result, || result.detail.clone());
            Ok(if result.identical { ExitCode::SUCCESS } else { ExitCode::from(6) })
        }
    }
}

fn open_source(source: &Path, options: &SourceOptions) -> Result<Opened> {
    if source.as_os_str() == "-" {
        return open_stream("standard input", Box::new(std::io::stdin()));
    }
    open_any(source, options)
}

fn print<T: Serialize>(output: Output, value: &T, text: impl FnOnce() -> String) {
    let line = match output {
        Output::Text => text(),
        Output::Json => serde_json::to_string_pretty(value).expect("results are plain data"),
    };
    // A reader that went away (head, a closed pipe) is no error of ours.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn report_error(output: Output, error: &ImportError) {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if output == Output::Json {
        let value = serde_json::json!({ "error": text, "code": error.exit_code() });
        let _ = writeln!(std::io::stdout(), "{value}");
    }
    let _ = writeln!(std::io::stderr(), "xenith-import: {text}");
}

fn info_text(info: &DiskInfo) -> String {
    let kind = if info.create_type.is_empty() { info.format } else { &info.create_type };
    let mut text = format!(
        "{}\n  type       {kind}\n  size       {}\n  data       {} in {} runs\n  files      {}\n",
        info.name,
        bytes(info.virtual_size),
        bytes(info.allocated),
        info.data_runs,
        bytes(info.file_size)
    );
    if let Some(cid) = &info.cid {
        text.push_str(&format!("  content id {cid}\n"));
    }
    for (depth, layer) in info.chain.iter().enumerate() {
        let word = if depth == 0 { "disk" } else { "parent" };
        text.push_str(&format!("  {word:<10} {}\n", layer.name));
        for extent in &layer.extents {
            let file = extent.file.as_deref().unwrap_or("(zeros)");
            text.push_str(&format!("    {:<10} {} {}\n", extent.kind, bytes(extent.length), file));
        }
    }
    for warning in &info.warnings {
        text.push_str(&format!("  warning: {warning}\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

fn report_text(report: &Report) -> String {
    let mut text = format!(
        "{}: {} ({}), {} stored in {:.1} s",
        report.target,
        bytes(report.virtual_size),
        report.format.name(),
        bytes(report.written),
        report.seconds
    );
    if let Some(digest) = &report.digest {
        text.push_str(&format!("\ndigest {digest}"));
    }
    if report.verified {
        text.push_str("\nread back and found the same");
    }
    for lost in &report.lost {
        text.push_str(&format!("\nlost: {} bytes from {}: {}", lost.length, lost.offset, lost.reason));
    }
    text
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Progress on standard error, at most five times a second.
struct Show {
    kind: ProgressKind,
    started: Instant,
    last: Option<Instant>,
}

impl Show {
    fn new(kind: ProgressKind) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let kind = if kind == ProgressKind::Auto && !terminal { ProgressKind::None } else { kind };
        Self { kind, started: Instant::now(), last: None }
    }

    fn progress(&mut self, progress: Progress) {
        let due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_millis(200));
        if self.kind == ProgressKind::None || !due {
            return;
        }
        self.last = Some(Instant::now());
        let seconds = self.started.elapsed().as_secs_f64();
        let mut stderr = std::io::stderr();
        let _ = match self.kind {
            ProgressKind::Json => {
                let line = serde_json::json!({
                    "done": progress.done, "total": progress.total, "seconds": seconds
                });
                writeln!(stderr, "{line}")
            }
            _ => write!(stderr, "\r{}\x1b[K", progress_text(progress, seconds)),
        };
    }

    fn end(&self) {
        if self.kind == ProgressKind::Auto && self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn progress_text(progress: Progress, seconds: f64) -> String {
    let rate = progress.done as f64 / seconds.max(0.001);
    if progress.total == 0 {
        return format!("{} read, {}/s", bytes(progress.done), bytes(rate as u64));
    }
    let percent = progress.done as f64 * 100.0 / progress.total as f64;
    let left = (progress.total - progress.done.min(progress.total)) as f64 / rate.max(1.0);
    format!("{percent:5.1}% of {}, {}/s, {left:.0} s left", bytes(progress.total), bytes(rate as u64))
}
