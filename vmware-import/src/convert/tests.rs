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

/// A file that stands for a block device.
fn on_device(folder: &Path, identity: &str) -> (PathBuf, Option<Device>) {
    let kept =
        device::Kept { identity: identity.to_owned(), journal: folder.join("device-7-0.xenith-journal") };
    (folder.join("device"), Some(Device { kept: Some(kept) }))
}

/// As a run that was killed leaves the device 7:0, which is larger than the disk and was full of something else.
fn half_done_on_device(folder: &Path, options: &ConvertOptions) {
    let mut all = vec![0xee; SIZE + 8192];
    all[..HALF].copy_from_slice(&bytes()[..HALF]);
    all[HALF..SIZE].fill(0);
    fs::write(folder.join("device"), all).unwrap();
    let mut digest = DiskDigest::new(DigestKind::default());
    for (index, block) in bytes()[..HALF].chunks(DIGEST_BLOCK as usize).enumerate() {
        digest.add(index as u64 * DIGEST_BLOCK, block);
    }
    let mark = Watermark { done: HALF as u64, written: HALF as u64, digest, lost: Vec::new() };
    let source = image().extents.iter().map(|extent| extent.bytes().identity()).collect();
    let journal = folder.join("device-7-0.xenith-journal");
    Journal::new(journal, source, SIZE as u64, options).of_device("7:0 1".to_owned()).save(&mark, 0).unwrap();
}

#[test]
fn a_block_device_is_gone_on_with_only_where_it_is_the_same_and_untouched() {
    type Meanwhile = fn(&Path);
    let nothing: Meanwhile = |_| ();
    let made_a_filesystem: Meanwhile = |device| {
        use std::os::unix::fs::FileExt;
        fs::OpenOptions::new().write(true).open(device).unwrap().write_all_at(&[2; 512], 1024).unwrap();
    };
    let began_a_stream: Meanwhile = |device| {
        let folder = device.parent().unwrap();
        let (path, device) = on_device(folder, "7:0 1");
        let device = device.unwrap();
        drop(Output::on_device((&path, &device), TargetFormat::Raw, SIZE as u64, None).unwrap());
    };
    for (name, identity, meanwhile, from) in [
        ("killed", "7:0 1", nothing, HALF as u64),
        ("another disk with its number", "7:0 2", nothing, 0),
        ("written to", "7:0 1", made_a_filesystem, 0),
        ("a stream to the same device", "7:0 1", began_a_stream, 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let options = options(Salvage::Refuse);
        half_done_on_device(folder.path(), &options);
        meanwhile(&folder.path().join("device"));
        let (path, device) = on_device(folder.path(), identity);
        let report = run(&image(), (&path, device), &options, &mut |_| ()).unwrap();
        assert_eq!((report.resumed_from, report.verified), (from, true), "{name}");
        let found = fs::read(&path).unwrap();
        assert!(found[..SIZE] == bytes() && found[SIZE..] == [0xee; 8192], "{name}: other contents");
        assert!(!folder.path().join("device-7-0.xenith-journal").exists(), "{name}: a journal stayed");
    }
}

#[test]
fn a_block_device_takes_raw_only() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = on_device(folder.path(), "7:0 1");
    fs::write(&path, vec![0; SIZE]).unwrap();
    let options = ConvertOptions::new(TargetFormat::Qcow2);
    let error = run(&image(), (&path, device), &options, &mut |_| ()).unwrap_err();
    assert!(matches!(&error, ImportError::Target { detail, .. } if detail.contains("raw only")), "{error}");
}
