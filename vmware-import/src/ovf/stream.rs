//! An OVA that comes once, front to back: a pipe, an upload.
//!
//! Disks are written while they come; the manifest may come before or behind them. When a sum is wrong, or a
//! file the OVF names never came, every target of this call is removed again: nothing that was promised
//! otherwise is left standing under a good name.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use serde::Serialize;

use super::envelope::Package;
use super::manifest::{Manifest, ShaKind, Summing};
use super::package::unvouched;
use crate::convert::verify::{Comparison, compare_stream};
use crate::convert::{ConvertOptions, Progress, Report, convert_stream};
use crate::error::{ImportError, Result};
use crate::tar::{Member, TarStream};
use crate::vmdk::image::Image;
use crate::vmdk::stream::StreamReader;

const MAX_TEXT: u64 = 8 << 20;
const BUFFER: usize = 256 * 1024;

/// A disk that was written.
#[derive(Debug, Clone, Serialize)]
pub struct StreamedDisk {
    pub href: String,
    pub report: Report,
}

/// What came out of a package.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OvaOutcome {
    pub package: Option<Package>,
    pub disks: Vec<StreamedDisk>,
    /// Files whose sums were compared with the manifest.
    pub checked: Vec<String>,
    pub warnings: Vec<String>,
}

struct Reader<'a> {
    options: &'a ConvertOptions,
    target: &'a mut dyn FnMut(&str) -> Result<PathBuf>,
    progress: &'a mut dyn FnMut(Progress),
    name: String,
    outcome: OvaOutcome,
    manifest: Option<Manifest>,
    sums: BTreeMap<String, BTreeMap<ShaKind, String>>,
}

/// Reads an OVA from `input` and writes each disk to the path that `target` gives for its file name.
pub fn convert_ova_stream<R: Read>(
    input: (&str, R),
    options: &ConvertOptions,
    target: &mut dyn FnMut(&str) -> Result<PathBuf>,
    progress: &mut dyn FnMut(Progress),
) -> Result<OvaOutcome> {
    let (name, input) = input;
    let outcome = OvaOutcome::default();
    let sums = BTreeMap::new();
    let mut reader =
        Reader { options, target, progress, name: name.to_owned(), outcome, manifest: None, sums };
    let mut tar = TarStream::new(name, BufReader::with_capacity(BUFFER, input));
    let result = reader.members(&mut tar).and_then(|()| reader.check());
    match result {
        Ok(()) => Ok(reader.outcome),
        Err(error) => {
            for disk in &reader.outcome.disks {
                let _ = std::fs::remove_file(&disk.report.target);
            }
            Err(error)
        }
    }
}

/// What an OVA from `input` describes. Reads it to its end, so that who sends it is not cut off.
pub fn describe_ova_stream<R: Read>(name: &str, input: R) -> Result<Package> {
    let mut tar = TarStream::new(name, BufReader::with_capacity(BUFFER, input));
    let mut package = None;
    while let Some(member) = tar.next_member()? {
        if package.is_none() && member.name.to_ascii_lowercase().ends_with(".ovf") {
            package = Some(Package::parse(&member.name, &text(name, &member, &mut tar)?)?);
        }
    }
    package.ok_or_else(|| ImportError::Missing { file: name.to_owned(), name: "*.ovf".to_owned() })
}

/// Compares each disk of an OVA from `input` with the image that `target` opens for its file name.
pub fn compare_ova_stream<R: Read>(
    name: &str,
    input: R,
    target: &mut dyn FnMut(&str, u64) -> Result<Image>,
) -> Result<Vec<(String, Comparison)>> {
    let mut tar = TarStream::new(name, BufReader::with_capacity(BUFFER, input));
    let mut found = Vec::new();
    while let Some(member) = tar.next_member()? {
        let lower = member.name.to_ascii_lowercase();
        let of = format!("{name}:{}", member.name);
        let mut compare = |stream: &mut StreamReader<&mut dyn Read>| {
            let image = target(&member.name, stream.header.capacity)?;
            compare_stream(stream, &image, 2)
        };
        let compared = if lower.ends_with(".vmdk") {
            compare(&mut StreamReader::open(&of, &mut tar as &mut dyn Read)?)?
        } else if lower.ends_with(".vmdk.gz") {
            let decoder = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, &mut tar));
            let mut decoder = BufReader::with_capacity(BUFFER, decoder);
            compare(&mut StreamReader::open(&of, &mut decoder as &mut dyn Read)?)?
        } else {
            continue;
        };
        found.push((member.name, compared));
    }
    if found.is_empty() {
        return Err(ImportError::Missing { file: name.to_owned(), name: "*.vmdk".to_owned() });
    }
    Ok(found)
}

fn text(name: &str, member: &Member, input: &mut impl Read) -> Result<Vec<u8>> {
    if member.size > MAX_TEXT {
        return Err(ImportError::damaged(name, 0, "member", format!("{} is too large", member.name)));
    }
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|error| ImportError::io("read", name, error))?;
    Ok(bytes)
}

impl Reader<'_> {
    fn members<R: Read>(&mut self, tar: &mut TarStream<R>) -> Result<()> {
        while let Some(member) = tar.next_member()? {
            if self.sums.contains_key(&member.name) {
                let detail = format!("has two members called {:?}", member.name);
                return Err(ImportError::damaged(&self.name, 0, "tar", detail));
            }
            let lower = member.name.to_ascii_lowercase();
            let kinds = self.kinds(&member.name);
            let mut summing = Summing::new(&mut *tar, &kinds);
            if lower.ends_with(".ovf") {
                let xml = text(&self.name, &member, &mut summing)?;
                self.outcome.package = Some(Package::parse(&member.name, &xml)?);
            } else if lower.ends_with(".mf") {
                let text = text(&self.name, &member, &mut summing)?;
                self.manifest = Some(Manifest::parse(&member.name, &text)?);
            } else if lower.ends_with(".cert") {
                let warning = format!("{} holds a certificate, which was not checked", member.name);
                self.outcome.warnings.push(warning);
            } else if self.is_disk(&member.name) {
                summing = self.disk(&member, summing)?;
            } else {
                self.outcome.warnings.push(format!("{} was not brought along", member.name));
            }
            let finished = summing.finish();
            let (_, sums) = finished.map_err(|error| ImportError::io("read", &self.name, error))?;
            self.sums.insert(member.name, sums);
        }
        Ok(())
    }

    /// One sum when the manifest came first, all when it may still come.
    fn kinds(&self, name: &str) -> Vec<ShaKind> {
        match &self.manifest {
            None => ShaKind::ALL.to_vec(),
            Some(manifest) => manifest.sums.get(name).map(|(kind, _)| *kind).into_iter().collect(),
        }
    }

    fn is_disk(&self, name: &str) -> bool {
        match &self.outcome.package {
            Some(package) => package.disk_files().any(|(_, _, file)| file.href == name),
            None => name.to_ascii_lowercase().contains(".vmdk"),
        }
    }

    /// Converts one disk; gives the input back with everything it read summed up.
    fn disk<R: Read>(&mut self, member: &Member, input: Summing<R>) -> Result<Summing<R>> {
        let path = (self.target)(&member.name)?;
        let name = format!("{}:{}", self.name, member.name);
        let gzip =
            self.outcome.package.as_ref().is_some_and(|package| {
                package.files.iter().any(|file| file.href == member.name && file.gzip)
            }) || member.name.to_ascii_lowercase().ends_with(".gz");
        let (report, input) = if gzip {
            let decoder = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, input));
            let mut stream = StreamReader::open(&name, BufReader::with_capacity(BUFFER, decoder))?;
            let report = convert_stream(&mut stream, &path, self.options, self.progress)?;
            (report, stream.into_input().into_inner().into_inner().into_inner())
        } else {
            // The tar's own reader is buffered.
            let mut stream = StreamReader::open(&name, input)?;
            let report = convert_stream(&mut stream, &path, self.options, self.progress)?;
            (report, stream.into_input())
        };
        self.outcome.disks.push(StreamedDisk { href: member.name.clone(), report });
        Ok(input)
    }

    /// Sums against the manifest, files against the OVF.
    fn check(&mut self) -> Result<()> {
        let missing = |name: &str| ImportError::Missing { file: self.name.clone(), name: name.to_owned() };
        match &self.outcome.package {
            None => return Err(missing("*.ovf")),
            Some(package) => {
                for (_, _, file) in package.disk_files() {
                    if file.chunk_size.is_some() {
                        let way_out = "unpack it first, pieces can only be read from files";
                        let feature = format!("the disk {} in pieces, from a stream", file.href);
                        return Err(ImportError::unsupported(&self.name, feature, way_out));
                    }
                    if !self.outcome.disks.iter().any(|disk| disk.href == file.href) {
                        return Err(missing(&file.href));
                    }
                }
            }
        }
        let Some(manifest) = &self.manifest else {
            self.outcome
                .warnings
                .push("the package has no manifest: nothing vouches for its files".to_owned());
            return Ok(());
        };
        for name in manifest.sums.keys() {
            let sums = self.sums.get(name).ok_or_else(|| missing(name))?;
            if manifest.check(&self.name, name, sums)? {
                self.outcome.checked.push(name.clone());
            }
        }
        let outcome = &mut self.outcome;
        let left = outcome.disks.iter().filter(|disk| !outcome.checked.contains(&disk.href));
        let left: Vec<String> = left.map(|disk| unvouched(&disk.href)).collect();
        outcome.warnings.extend(left);
        Ok(())
    }
}
