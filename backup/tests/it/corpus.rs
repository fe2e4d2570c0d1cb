//! The committed fuzz inputs through their parsers: none panics, and the good ones are read.

use std::path::{Path, PathBuf};

use xenith_backup::format::{Footer, Header, Trailer};
use xenith_backup::index::Segment;
use xenith_backup::keys::Slot;
use xenith_backup::map::{Leaf, parse_inner};

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<(String, Vec<u8>)> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 3, "{} has too few inputs", dir.display());
    inputs
}

fn check(target: &str, good: impl Fn(&[u8]) -> bool) {
    for (name, bytes) in inputs(target) {
        assert_eq!(good(&bytes), name.starts_with("good"), "{target}/{name}");
    }
}

#[test]
fn committed_inputs() {
    check("container", |bytes| {
        let _ = Footer::parse(bytes, bytes.len() as u64);
        Header::parse(bytes).is_ok() && Trailer::parse(bytes, bytes.len() as u64).is_ok()
    });
    check("pages", |bytes| {
        let number = u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        Leaf::parse(&bytes[2..], number).is_ok() || parse_inner(&bytes[2..], number as usize).is_ok()
    });
    check("partitions", crate::parsers::partitions);
    check("segment", |bytes| Segment::parse(bytes).is_some());
    check("slot", |bytes| Slot::parse(bytes).is_ok());
    check("manifest", |bytes| xenith_backup::manifest::parse(bytes, &crate::mutations::MANIFEST).is_ok());
    check("trace", |bytes| xenith_backup::nbd::trace::Trace::parse(bytes, 1 << 40).total_len() > 0);
    check("vhd", crate::mutations::vhd_opens);
    check("config", crate::parsers::config);
    check("ring", crate::parsers::ring);
    check("plan", crate::parsers::plan);
    check("lease", crate::parsers::lease);
    check("lock_record", crate::parsers::lock_record);
    check("xo_metadata", crate::parsers::xo_metadata);
    check("overlay", crate::parsers::overlay);
    check("nbd", |bytes| {
        bytes.first_chunk().is_some_and(|head| xenith_backup::nbd::parse_request(head).is_some())
    });
}
