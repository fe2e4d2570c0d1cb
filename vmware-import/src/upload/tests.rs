//! Whatever comes, a disk is what was sent, or it is not whole.

use proptest::prelude::*;
use xenith_common_block::{MemorySink, MemorySource};

use super::*;

const SIZE: usize = (5 << 20) + 512;

fn disk() -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    for (at, byte) in bytes.iter_mut().enumerate() {
        if (at >> 20) % 2 == 0 {
            *byte = (at / 97) as u8;
        }
    }
    bytes
}

fn sent(bytes: &[u8], mark: &Mark) -> Vec<u8> {
    let mut out = Vec::new();
    send(&MemorySource::new(bytes.to_vec()), (mark, Takes::Plain), &mut out, &mut |_| Ok(())).unwrap();
    out
}

#[test]
fn what_was_sent_arrives_and_zeros_do_not_travel() {
    let bytes = disk();
    let stream = sent(&bytes, &Mark::default());
    assert!(stream.len() < SIZE * 3 / 4, "{} bytes", stream.len());
    let sink = MemorySink::new(SIZE + (1 << 20));
    let mark = receive(&mut &stream[..], &sink, (SIZE as u64, &Mark::default()), &mut |_| Ok(())).unwrap();
    assert!(mark.whole && mark.done == SIZE as u64);
    assert!(sink.into_bytes()[..SIZE] == bytes[..]);
}

#[test]
fn a_sender_goes_on_where_the_receiver_is() {
    let bytes = disk();
    // The state after 2 MiB, as a receiver would have kept it.
    let mut digest = DiskDigest::new(DigestKind::Fast);
    digest_of(&mut digest, 0, &bytes[..2 << 20]);
    let mark = Mark::at(2 << 20, &digest);
    let sink = MemorySink::new(SIZE);
    sink.write_at(0, &bytes[..2 << 20]).unwrap();
    let stream = sent(&bytes, &mark);
    let mark = receive(&mut &stream[..], &sink, (SIZE as u64, &mark), &mut |_| Ok(())).unwrap();
    assert!(mark.whole);
    assert!(sink.into_bytes()[..SIZE] == bytes[..]);
}

#[test]
fn a_stream_that_breaks_off_goes_on_behind_what_is_durable() {
    let bytes = vec![7; 72 << 20];
    let (stream, sink) = (sent(&bytes, &Mark::default()), MemorySink::new(bytes.len()));
    let (all, mut kept) = (bytes.len() as u64, Mark::default());
    let broken = receive(&mut &stream[..stream.len() - 1], &sink, (all, &kept.clone()), &mut |mark| {
        kept = mark.clone();
        Ok(())
    });
    assert!(matches!(broken, Err(ImportError::Truncated { .. })));
    assert!(kept.done > 0 && !kept.whole, "{kept:?}");
    let rest = sent(&bytes, &kept);
    assert!(rest.len() < bytes.len() - kept.done as usize + (1 << 20), "{} bytes again", rest.len());
    assert!(receive(&mut &rest[..], &sink, (all, &kept), &mut |_| Ok(())).unwrap().whole);
    assert!(sink.into_bytes() == bytes);
}

#[test]
fn another_file_of_the_same_size_is_noticed() {
    let bytes = disk();
    let (mut marks, sink) = (Vec::new(), MemorySink::new(SIZE));
    let stream = sent(&bytes, &Mark::default());
    receive(&mut &stream[..], &sink, (SIZE as u64, &Mark::default()), &mut |mark| {
        marks.push(mark.clone());
        Ok(())
    })
    .unwrap();
    let mut digest = DiskDigest::new(DigestKind::Fast);
    digest_of(&mut digest, 0, &bytes[..2 << 20]);
    marks.extend([Mark::default(), Mark::at(2 << 20, &digest)]);
    let like = |bytes: Vec<u8>, mark: &Mark| mark.is_of(&MemorySource::new(bytes)).unwrap();
    for mark in &marks {
        assert!(like(bytes.clone(), mark), "{}", mark.done);
        let mut other = bytes.clone();
        other[4096] ^= 1;
        assert_eq!(like(other, mark), mark.done == 0, "{}", mark.done);
    }
    let mut later = bytes;
    later[3 << 20] ^= 1;
    assert!(like(later, &Mark::at(2 << 20, &digest)), "what comes is not looked at");
}

#[test]
fn what_does_not_fit_is_refused() {
    let bytes = disk();
    let good = sent(&bytes, &Mark::default());
    let change = |at: usize, with: &[u8]| {
        let mut stream = good.clone();
        stream[at..at + with.len()].copy_from_slice(with);
        stream
    };
    let table: [(&str, Vec<u8>, &str); 8] = [
        ("nothing", vec![], "frame"),
        ("another protocol", change(0, b"HTTP"), "another version"),
        ("another size", change(8, &[1]), "announced"),
        ("another start", change(16, &[1]), "go on"),
        ("past the end", change(24, &(SIZE as u64).to_le_bytes()), "no place"),
        ("a huge frame", change(32, &u32::MAX.to_le_bytes()), "no place"),
        ("another byte", change(40, &[0xee, 0xee, 0xee]), "digest"),
        ("cut off", good[..good.len() - 1].to_vec(), "frame"),
    ];
    for (case, stream, words) in table {
        let sink = MemorySink::new(SIZE);
        let result = receive(&mut &stream[..], &sink, (SIZE as u64, &Mark::default()), &mut |_| Ok(()));
        let error = result.expect_err(case).to_string();
        assert!(error.contains(words), "{case}: {error}");
    }
}

/// What is sent where compressing always pays.
fn packed(bytes: &[u8], mark: &Mark) -> Vec<u8> {
    let (mut out, packing) = (Vec::new(), Some(Packing::always().unwrap()));
    send_packed(&MemorySource::new(bytes.to_vec()), (mark, packing), &mut out, &mut |_| Ok(())).unwrap();
    out
}

fn received(stream: &[u8], sink: &MemorySink, mark: &Mark) -> Result<Mark> {
    receive(&mut &stream[..], sink, (sink.size(), mark), &mut |_| Ok(()))
}

/// Bytes that do not shrink.
fn noise(length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

/// The state of a receiver that has so much of it.
fn reached(bytes: &[u8], done: usize) -> (MemorySink, Mark) {
    let (sink, mut digest) = (MemorySink::new(bytes.len()), DiskDigest::new(DigestKind::Fast));
    sink.write_at(0, &bytes[..done]).unwrap();
    digest_of(&mut digest, 0, &bytes[..done]);
    (sink, Mark::at(done as u64, &digest))
}

#[test]
fn what_shrinks_travels_compressed_and_what_does_not_as_it_is() {
    let even = vec![7; SIZE];
    let mixed = [noise(2 << 20), vec![7; 6 << 20]].concat();
    for (case, bytes, least, most) in [
        ("even", even, 24, SIZE / 16),
        ("noise", noise(SIZE), SIZE, SIZE + 1024),
        ("mixed", mixed, 2 << 20, 7 << 20),
        ("nothing", vec![0; SIZE], 24, 256),
    ] {
        let stream = packed(&bytes, &Mark::default());
        assert!((least..most).contains(&stream.len()), "{case}: {} bytes", stream.len());
        let sink = MemorySink::new(bytes.len());
        assert!(received(&stream, &sink, &Mark::default()).unwrap().whole, "{case}");
        assert!(sink.into_bytes() == bytes, "{case}");
    }
}

#[test]
fn the_digest_is_of_the_disk_however_it_travels() {
    let digest = |packing| {
        let (disk, mark) = (MemorySource::new(disk()), Mark::default());
        send_packed(&disk, (&mark, packing), &mut io::sink(), &mut |_| Ok(())).unwrap()
    };
    assert_eq!(digest(Some(Packing::always().unwrap())), digest(None));
}

/// All of it travels, zeros too.
fn sent_whole(bytes: &[u8], packing: Option<Packing>) -> Vec<u8> {
    let (mut out, mut digest) = (Vec::new(), DiskDigest::new(DigestKind::Fast));
    let mut writer = FrameWriter::begin((bytes.len() as u64, 0), packing, &mut out).unwrap();
    for (block, at) in bytes.chunks(DIGEST_BLOCK as usize).zip((0..).step_by(DIGEST_BLOCK as usize)) {
        writer.frame(at, block).unwrap();
    }
    digest_of(&mut digest, 0, bytes);
    writer.end(&digest.finish(bytes.len() as u64)).unwrap();
    out
}

/// By these a sender that looks through a hole says that it is there.
#[test]
fn zeros_that_travel_change_neither_the_disk_nor_the_digest() {
    let bytes = disk();
    for (case, packing) in [("as they are", None), ("compressed", Some(Packing::always().unwrap()))] {
        let stream = sent_whole(&bytes, packing);
        let (sink, mut marks) = (MemorySink::new(SIZE), Vec::new());
        let whole = receive(&mut &stream[..], &sink, (SIZE as u64, &Mark::default()), &mut |mark| {
            marks.push(mark.clone());
            Ok(())
        });
        assert!(whole.unwrap().whole, "{case}");
        assert!(sink.into_bytes() == bytes, "{case}");
        for mark in &marks {
            assert!(mark.is_of(&MemorySource::new(bytes.clone())).unwrap(), "{case}: {}", mark.done);
        }
    }
}

#[test]
fn who_takes_frames_as_they_are_only_gets_the_first_version() {
    let bytes = vec![7; SIZE];
    let stream = sent(&bytes, &Mark::default());
    assert_eq!(stream[4..8], VERSION.to_le_bytes());
    assert!(stream.len() > SIZE);
    // Such a receiver takes no frame of the second one, and says what it makes of it.
    let mut stream = packed(&bytes, &Mark::default());
    stream[4..8].copy_from_slice(&VERSION.to_le_bytes());
    let refused = received(&stream, &MemorySink::new(SIZE), &Mark::default()).unwrap_err().to_string();
    assert!(refused.contains("have no place here"), "{refused}");
}

#[test]
fn compressed_frames_go_on_where_the_receiver_is() {
    let bytes = disk();
    for done in [0, 64 << 10, 2 << 20, (4 << 20) + (64 << 10), SIZE] {
        let (sink, mark) = reached(&bytes, done);
        // A sender of before, or one that compresses: the mark is of either.
        for stream in [packed(&bytes, &mark), sent(&bytes, &mark)] {
            assert!(received(&stream, &sink, &mark).unwrap().whole, "from {done}");
        }
        assert!(sink.into_bytes() == bytes, "from {done}");
    }
}

/// The beginning of a stream, up to the contents of its first frame.
fn up_to_contents(offset: u64, says: u32) -> Vec<u8> {
    let size = (SIZE as u64).to_le_bytes();
    let head = [&MAGIC[..], &VERSION_PACKED.to_le_bytes(), &size, &0_u64.to_le_bytes()].concat();
    [&head[..], &offset.to_le_bytes(), &says.to_le_bytes()].concat()
}

#[test]
fn compressed_frames_that_lie_are_refused_by_their_place() {
    const AT: u64 = 1 << 20;
    const LENGTH: u32 = 256 << 10;
    const SAYS: u32 = PACKED | LENGTH;
    let shrunk = |length: usize| zstd::bulk::compress(&vec![7; length], 1).unwrap();
    let with_length = |packed: &[u8]| [&packed_length(packed).unwrap()[..], packed].concat();
    let good = shrunk(LENGTH as usize);
    let frame = with_length(&good);
    let table: [(&str, u32, Vec<u8>, &str); 10] = [
        ("more than it says", SAYS, with_length(&shrunk(8 << 20)), "byte 1048576"),
        ("less than it says", SAYS, with_length(&shrunk(LENGTH as usize - 512)), "byte 1048576"),
        ("garbage", SAYS, with_length(&noise(1000)), "byte 1048576"),
        ("something behind", SAYS, with_length(&[&good[..], &[0; 9]].concat()), "byte 1048576"),
        ("nothing", SAYS, vec![0; 4], "byte 1048576"),
        ("no smaller", SAYS, [&LENGTH.to_le_bytes()[..], &good[..]].concat(), "byte 1048576"),
        ("a huge length", SAYS, vec![0xff; 4], "byte 1048576"),
        ("a huge frame", PACKED | (FRAME as u32 + 512), frame.clone(), "no place"),
        ("a frame of nothing", PACKED, frame.clone(), "no place"),
        ("cut off", SAYS, frame[..frame.len() - 1].to_vec(), "cut off"),
    ];
    for (case, says, contents, words) in table {
        let stream = [up_to_contents(AT, says), contents].concat();
        let sink = MemorySink::new(SIZE);
        let error = received(&stream, &sink, &Mark::default()).expect_err(case).to_string();
        assert!(error.contains(words), "{case}: {error}");
        assert!(is_zero(&sink.into_bytes()), "{case}: something was written");
    }
}

#[test]
fn a_compressed_stream_that_is_cut_anywhere_is_not_whole() {
    let bytes = vec![7; 1 << 20];
    let stream = packed(&bytes, &Mark::default());
    for length in 0..stream.len() {
        let sink = MemorySink::new(bytes.len());
        let cut = received(&stream[..length], &sink, &Mark::default());
        assert!(matches!(cut, Err(ImportError::Truncated { .. })), "cut at {length}: {cut:?}");
    }
}

/// Stretches of one kind: how long, and of what; 0 are zeros and 1 does not shrink.
fn stretches() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((1..=24_usize, 0..4_u8), 1..6)
}

fn of_stretches(stretches: &[(usize, u8)]) -> Vec<u8> {
    let stretch = |&(blocks, kind): &(usize, u8)| match kind {
        1 => noise(blocks << 16),
        kind => vec![kind; blocks << 16],
    };
    stretches.iter().flat_map(stretch).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_disk_comes_back_from_any_mark(
        stretches in stretches(), tail in 0..3_usize, done in any::<prop::sample::Index>(),
    ) {
        let bytes = [of_stretches(&stretches), vec![3; tail * 512]].concat();
        let done = done.index((bytes.len() >> 16) + 1) << 16;
        let (sink, mark) = reached(&bytes, done);
        let stream = packed(&bytes, &mark);
        prop_assert!(received(&stream, &sink, &mark).unwrap().whole);
        prop_assert!(sink.into_bytes() == bytes);
    }

    /// Whatever is changed, it is noticed, or changes nothing.
    #[test]
    fn a_changed_byte_makes_no_other_disk(at in any::<prop::sample::Index>(), with in 1..=255_u8) {
        let bytes = of_stretches(&[(4, 2), (2, 1), (4, 3)]);
        let mut stream = packed(&bytes, &Mark::default());
        let at = at.index(stream.len());
        stream[at] ^= with;
        let sink = MemorySink::new(bytes.len());
        if received(&stream, &sink, &Mark::default()).is_ok_and(|mark| mark.whole) {
            prop_assert!(sink.into_bytes() == bytes, "changed at {at}");
        }
    }
}
