//! The commands for packages: what an OVA or OVF says, and all of its disks at once.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use xenith_common_text::counted;
use xenith_vmware_import::bytes::check_plain;
use xenith_vmware_import::convert::verify::Comparison;
use xenith_vmware_import::convert::{self, ConvertOptions, Progress, Report};
use xenith_vmware_import::error::{ImportError, Result};
use xenith_vmware_import::ovf::{
    OvaOutcome, OvaPackage, StreamedDisk, compare_ova_stream, convert_ova_stream, describe_ova_stream,
};
use xenith_vmware_import::source::{Opened, SourceOptions, open_target};
use xenith_vmware_import::target::TargetFormat;

use crate::cli::{ConvertArgs, Output, open_source};
use crate::output::{Show, package_text, print, report_text};

const INPUT: &str = "standard input";

/// What an OVA says that comes once.
pub fn describe(output: Output, input: Box<dyn Read>) -> Result<ExitCode> {
    let package = describe_ova_stream(INPUT, input)?;
    print(output, &package, || package_text(&package));
    Ok(ExitCode::SUCCESS)
}

/// A disk of a package that was compared.
#[derive(Serialize)]
struct Compared {
    disk: String,
    #[serde(flatten)]
    comparison: Comparison,
}

/// Compares the disks of an OVA that comes once with an image, or with those in a folder.
pub fn compare(
    output: Output,
    input: Box<dyn Read>,
    target: &Path,
    format: Option<TargetFormat>,
) -> Result<ExitCode> {
    let mut used = false;
    let mut open = |href: &str, size: u64| {
        if target.is_dir() {
            return open_target(&disk_path(target, href, format)?, format, size);
        }
        if std::mem::replace(&mut used, true) {
            return Err(more_than_one(target));
        }
        open_target(target, format, size)
    };
    let found = compare_ova_stream(INPUT, input, &mut open)?;
    let found: Vec<Compared> =
        found.into_iter().map(|(disk, comparison)| Compared { disk, comparison }).collect();
    let text = || {
        let lines = found.iter().map(|one| format!("{}: {}", one.disk, one.comparison.detail));
        lines.collect::<Vec<_>>().join("\n")
    };
    match &found[..] {
        // As for a disk that is no package.
        [one] => print(output, one, text),
        all => print(output, &all, text),
    }
    let identical = found.iter().all(|one| one.comparison.identical);
    Ok(if identical { ExitCode::SUCCESS } else { ExitCode::from(6) })
}

fn more_than_one(target: &Path) -> ImportError {
    let text = format!("the package has more than one disk: make {} a folder", target.display());
    ImportError::Usage(text)
}

/// Describes a package, and with a folder brings all its disks there.
pub fn ova(
    output: Output,
    mut show: Show,
    (source, folder): (&Path, Option<&Path>),
    convert: &ConvertArgs,
) -> Result<ExitCode> {
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
        return Ok(print_outcome(output, &outcome));
    }
    let package = OvaPackage::open(source)?;
    let Some(folder) = folder else {
        print(output, &package.envelope, || package_text(&package.envelope));
        return Ok(ExitCode::SUCCESS);
    };
    let checked = package.check_manifest()?;
    let warnings = package.unvouched(&checked);
    let envelope = Some(package.envelope.clone());
    let mut outcome = OvaOutcome { checked, warnings, package: envelope, ..OvaOutcome::default() };
    for (_, _, file) in package.envelope.disk_files() {
        let path = disk_path(folder, &file.href, convert.to.map(TargetFormat::from))?;
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
    Ok(print_outcome(output, &outcome))
}

/// Converts what comes: into `target` when there is one disk, into a folder by the disks' names.
pub fn streamed_package(
    input: Box<dyn Read>,
    target: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<OvaOutcome> {
    let mut used = false;
    let mut place = |href: &str| {
        if target.is_dir() {
            return disk_path(target, href, Some(options.format));
        }
        if std::mem::replace(&mut used, true) {
            return Err(more_than_one(target));
        }
        Ok(target.to_owned())
    };
    convert_ova_stream((INPUT, input), options, &mut place, progress)
}

fn disk_path(folder: &Path, href: &str, format: Option<TargetFormat>) -> Result<PathBuf> {
    check_plain("the package", "file", href)?;
    let format = format.unwrap_or(TargetFormat::Raw);
    let stem = href.strip_suffix(".gz").unwrap_or(href);
    let stem = stem.strip_suffix(".vmdk").unwrap_or(stem);
    Ok(folder.join(format!("{stem}.{}", format.name())))
}

pub fn print_outcome(output: Output, outcome: &OvaOutcome) -> ExitCode {
    print(output, outcome, || {
        let mut text: Vec<String> = outcome.disks.iter().map(|disk| report_text(&disk.report)).collect();
        text.push(format!("as the manifest says: {}", counted(outcome.checked.len(), "file")));
        text.extend(outcome.warnings.iter().map(|warning| format!("warning: {warning}")));
        text.join("\n")
    });
    code_of(&outcome.disks.iter().map(|disk| &disk.report).collect::<Vec<_>>())
}

pub fn code_of(reports: &[&Report]) -> ExitCode {
    let lost = reports.iter().any(|report| !report.lost.is_empty());
    if lost { ExitCode::from(7) } else { ExitCode::SUCCESS }
}
