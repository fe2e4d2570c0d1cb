//! The fuzz targets' corpora, and some hundred mutations of each file, in the normal tests: the fuzzer itself needs a
//! nightly compiler. The same seeds give the same files; XENITH_MUTATIONS sets how many of each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_vmware_import::ByteRange;
use xenith_vmware_import::bytes::{DirFolder, MemoryBytes};
use xenith_vmware_import::ovf::Envelope;
use xenith_vmware_import::ovf::manifest::Manifest;
use xenith_vmware_import::tar::TarStream;
use xenith_vmware_import::vmdk::cowd::CowdHeader;
use xenith_vmware_import::vmdk::descriptor::MAX_DISK;
use xenith_vmware_import::vmdk::grain::{GrainMarker, Inflater, MARKER};
use xenith_vmware_import::vmdk::header::SparseHeader;
use xenith_vmware_import::vmdk::image::GrainReader;
use xenith_vmware_import::vmdk::runs::Runs;
use xenith_vmware_import::vmdk::sesparse::SeSparseHeader;
use xenith_vmware_import::vmdk::stream::StreamReader;
use xenith_vmware_import::vmdk::{Descriptor, OpenOptions, open_image};
use xenith_vmware_import::vmx::{VmxVm, parse_vmsd};
use xenith_vmware_import::vsphere::soap;
use xenith_vmware_import_generator::Random;

/// What the fuzz target of this name does.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 8] = [
    ("descriptor", descriptor),
    ("disk", disk),
    ("grain", grain),
    ("header", header),
    ("ovf", ovf),
    ("soap", soap_text),
    ("stream", stream),
    ("vmx", vmx),
];
/// Of one input: "each hostile file is decided in under a second", and a slow, busy machine gets a minute.
const LIMIT: Duration = Duration::from_secs(60);

fn descriptor(data: &[u8]) {
    if let Ok(descriptor) = Descriptor::parse("fuzz", 0, data) {
        assert!(descriptor.size() <= MAX_DISK && !descriptor.extents.is_empty());
    }
}

fn disk(data: &[u8]) {
    let bytes = Arc::new(MemoryBytes::new("fuzz", data.to_vec()));
    let folder = Arc::new(DirFolder::new("/nonexistent".as_ref()));
    let Ok(image) = open_image(bytes, folder, OpenOptions::default()) else { return };
    if image.audit().is_err() {
        return;
    }
    let mut runs = Runs::with_budget(64, 1 << 20);
    if image.resolve(ByteRange::new(0, image.virtual_size()), &mut runs).is_ok() {
        let mut grains = GrainReader::default();
        for run in runs.as_slice().iter().filter(|run| run.is_data() && run.range.len() <= 1 << 21) {
            let mut buf = vec![0; usize::try_from(run.range.len()).unwrap()];
            let _any_error_will_do = image.read_run(run, &mut buf, &mut grains);
        }
    }
}

fn grain(data: &[u8]) {
    let mut out = vec![0; 65_536];
    let _any_error_will_do = Inflater::default().inflate(("fuzz", 0), data, &mut out, 65_536);
    let _any_error_will_do = Inflater::default().inflate(("fuzz", 0), data, &mut out[..512], 65_536);
    if data.len() >= MARKER
        && let Ok(marker) = GrainMarker::parse("fuzz", 0, data, (1 << 30, 65_536))
    {
        assert!(marker.disk_offset < 1 << 30 && marker.disk_offset % 65_536 == 0);
    }
}

fn header(data: &[u8]) {
    let mut sector = [0; 512];
    let len = data.len().min(512);
    sector[..len].copy_from_slice(&data[..len]);
    if let Ok(header) = SparseHeader::parse("fuzz", 0, &sector) {
        assert!(header.gd_entries() > 0 && header.grain.is_power_of_two());
    }
    let _any_error_will_do = CowdHeader::parse("fuzz", data);
    let _any_error_will_do = SeSparseHeader::parse("fuzz", &sector);
}

fn ovf(data: &[u8]) {
    let _any_error_will_do = Envelope::parse("fuzz", data);
    let _any_error_will_do = Manifest::parse("fuzz", data);
    let mut tar = TarStream::new("fuzz", data);
    while let Ok(Some(_)) = tar.next_member() {}
}

fn soap_text(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _any_error_will_do = soap::parse(text);
    }
}

fn stream(data: &[u8]) {
    let Ok(mut stream) = StreamReader::open("fuzz", data) else { return };
    let mut packed = Vec::new();
    while let Ok(Some(grain)) = stream.next_grain(&mut packed) {
        assert!(grain.disk_offset + grain.len <= stream.header.capacity);
        assert_eq!(packed.len(), grain.size);
        packed.clear();
    }
}

fn vmx(data: &[u8]) {
    let _any_error_will_do = VmxVm::parse("fuzz", data);
    let _any_error_will_do = parse_vmsd("fuzz", data);
}

/// One to four changes of the kinds that reach deep: numbers at their ends, bytes, pieces moved, left out and cut off.
fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    let number =
        |random: &mut Random, below: usize| usize::try_from(random.draw() % below.max(1) as u64).unwrap();
    for _ in 0..=number(random, 4) {
        if data.is_empty() {
            data.push(0);
        }
        let at = number(random, data.len());
        match number(random, 7) {
            0 => data[at] ^= 1 << number(random, 8),
            1 => data[at] = u8::try_from(random.draw() & 0xff).unwrap(),
            2 | 3 => {
                let width = [2, 4, 8][number(random, 3)];
                let ends =
                    [0, 1, u64::MAX, i64::MAX as u64, u64::from(u32::MAX), 0x8000_0000, data.len() as u64];
                let value = ends[number(random, ends.len())].to_le_bytes();
                for (index, byte) in value[..width].iter().enumerate() {
                    if let Some(slot) = data.get_mut(at + index) {
                        *slot = *byte;
                    }
                }
            }
            4 => data.truncate(at),
            5 => {
                let end = (at + 1 + number(random, 64)).min(data.len());
                data.drain(at..end);
            }
            _ => {
                let end = (at + 1 + number(random, 64)).min(data.len());
                let piece = data[at..end].to_vec();
                let to = number(random, data.len());
                data.splice(to..to, piece);
            }
        }
    }
}

fn check(name: &str, (target, run): Target, data: &[u8]) {
    let began = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| run(data)));
    let took = began.elapsed();
    if ended.is_err() || took > LIMIT {
        let kept = std::env::temp_dir().join(format!("xenith-{target}-{name}"));
        std::fs::write(&kept, data).unwrap();
        panic!("{target}: {name} failed after {took:?}; the input is in {}", kept.display());
    }
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn no_mutation_of_the_corpora_breaks_a_parser() {
    let each: u64 = std::env::var("XENITH_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    for target in TARGETS {
        let files = corpus(target.0);
        assert!(!files.is_empty(), "{} has no corpus", target.0);
        for path in files {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let original = std::fs::read(&path).unwrap();
            check(&name, target, &original);
            for seed in 1..=each {
                let mut data = original.clone();
                mutate(&mut data, &mut Random(seed * 0x9e37_79b9));
                check(&format!("{name}-{seed}"), target, &data);
            }
        }
    }
}
