//! Runs of one target, one after the other and at the same time.

use super::*;
use crate::bytes::MemoryBytes;
use crate::digest::{DIGEST_BLOCK, DigestKind, DiskDigest};

const SIZE: usize = 4 << 20;
const HALF: usize = SIZE / 2;

fn bytes() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 4096 % 250 + 1) as u8).collect()
}

fn image() -> Image {
    Image::plain(Arc::new(MemoryBytes::new("disk", bytes()))).unwrap()
}

fn options(salvage: Salvage) -> ConvertOptions {
    ConvertOptions { salvage, check: Check::ReadBack, workers: 1, ..ConvertOptions::new(TargetFormat::Raw) }
}

fn journal(path: &Path, options: &ConvertOptions) -> Journal {
    let source = image().extents.iter().map(|extent| extent.bytes().identity()).collect();
    Journal::new(journal_path(path), source, SIZE as u64, options)
}

/// As a run that was killed leaves it.
fn half_done(path: &Path, options: &ConvertOptions, lost: Vec<Lost>) {
    let sink = target::create(&part_path(path), TargetFormat::Raw, SIZE as u64).unwrap();
    let bytes = bytes();
    sink.write_at(0, &bytes[..HALF]).unwrap();
    let mut digest = DiskDigest::new(DigestKind::default());
    for (index, block) in bytes[..HALF].chunks(DIGEST_BLOCK as usize).enumerate() {
        digest.add(index as u64 * DIGEST_BLOCK, block);
    }
    let mark = Watermark { done: HALF as u64, written: HALF as u64, digest, lost };
    journal(path, options).save(&mark, 0).unwrap();
}

fn converted(path: &Path, options: &ConvertOptions) -> Report {
    let report = convert_image(&image(), path, options, &mut |_| ()).unwrap();
    assert!(fs::read(path).unwrap() == bytes(), "the target is another disk");
    report
}

#[test]
fn a_run_that_goes_on_tells_what_was_lost_before() {
    let folder = tempfile::tempdir().unwrap();
    let (path, accepting) = (folder.path().join("disk.raw"), options(Salvage::NoteLosses));
    let lost = Lost { offset: 4096, length: 512, reason: "the grain is cut off".to_owned() };
    half_done(&path, &accepting, vec![lost.clone()]);
    let report = converted(&path, &accepting);
    assert_eq!((report.resumed_from, report.lost), (HALF as u64, vec![lost.clone()]));

    // Whoever accepts no losses does not go on from some.
    half_done(&path, &accepting, vec![lost]);
    let report = converted(&path, &options(Salvage::Refuse));
    assert_eq!((report.resumed_from, report.lost), (0, Vec::new()));

    half_done(&path, &accepting, Vec::new());
    assert_eq!(converted(&path, &options(Salvage::Refuse)).resumed_from, HALF as u64);
}

#[test]
fn a_journal_vouches_for_the_part_file_of_its_own_run_only() {
    let folder = tempfile::tempdir().unwrap();
    let (path, options) = (folder.path().join("disk.raw"), options(Salvage::Refuse));
    half_done(&path, &options, Vec::new());
    // A stream to the same target, killed before anything of it came.
    drop(Output::prepare(&path, TargetFormat::Raw, SIZE as u64, None).unwrap());
    assert_eq!(converted(&path, &options).resumed_from, 0);
}

#[test]
fn one_target_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (path, options) = (folder.path().join("disk.raw"), options(Salvage::Refuse));
    half_done(&path, &options, Vec::new());
    let first =
        Output::prepare(&path, TargetFormat::Raw, SIZE as u64, Some(&journal(&path, &options))).unwrap();
    assert_eq!(first.from.done, HALF as u64);
    let second = convert_image(&image(), &path, &options, &mut |_| ()).unwrap_err();
    assert!(matches!(&second, ImportError::Target { detail, .. } if detail.contains("another")), "{second}");
    drop(first);
    assert_eq!(converted(&path, &options).resumed_from, HALF as u64, "what the first had is gone");
}
