//! Whatever is lost, doubled, swapped or cut on any of the connections, what arrives is what was sent, or an error.

use std::io::Cursor;
use std::sync::Mutex;

use proptest::prelude::*;

use super::super::frame::{head, preamble};
use super::*;

fn count(streams: u8) -> StreamCount {
    streams.try_into().unwrap()
}

/// Each connection's bytes.
fn sent(memory: &[u8], over: u8) -> Vec<Vec<u8>> {
    let (to, all) = streams(b"{}", count(over)).unwrap();
    let mut steps = Vec::new();
    let sent = thread::scope(|scope| {
        let read = |mut stream: Dealt| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let reading: Vec<_> = all.into_iter().map(|stream| scope.spawn(move || read(stream))).collect();
        let step = |done| {
            steps.push(done);
            Ok(())
        };
        deal(memory, &to, step).unwrap();
        drop(to);
        reading.into_iter().map(|read| read.join().unwrap()).collect()
    });
    assert_eq!(steps.last(), Some(&(memory.len() as u64)));
    sent
}

fn joined(sent: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut sources: Vec<_> = sent.iter().map(Cursor::new).collect();
    if let Some(first) = sources.first_mut() {
        assert_eq!(preamble(first)?, b"{}");
    }
    let mut memory = Vec::new();
    join(sources, &mut memory, || {})?;
    Ok(memory)
}

/// Pieces that differ, and do not shrink where `noise` says so.
fn memory(length: usize, noise: bool) -> Vec<u8> {
    let mut memory = vec![0; length];
    if noise {
        blake3::Hasher::new().finalize_xof().fill(&mut memory);
    } else {
        let pieces = memory.chunks_mut(PIECE).zip(1_u8..);
        pieces.for_each(|(piece, number)| piece.fill(number));
    }
    memory
}

/// Where each frame of a connection begins, and where the last one ends.
fn borders(bytes: &[u8]) -> Vec<usize> {
    let mut borders = vec![0];
    let mut rest = bytes;
    while !rest.is_empty() {
        frame(&mut rest).unwrap();
        borders.push(bytes.len() - rest.len());
    }
    borders
}

#[test]
fn memory_arrives_as_it_was() {
    for (case, length, noise) in [
        ("nothing", 0, false),
        ("a byte", 1, false),
        ("one piece", PIECE, false),
        ("as many pieces as connections", 3 * PIECE, false),
        ("some more", 7 * PIECE + 5, false),
        ("what does not shrink", 4 * PIECE + 1, true),
    ] {
        let memory = memory(length, noise);
        for streams in [2, 3, 8] {
            let sent = sent(&memory, streams);
            assert!(joined(&sent).unwrap() == memory, "{case} over {streams}");
        }
    }
}

#[test]
fn a_connection_that_is_cut_anywhere_makes_it_no_memory() {
    let whole = sent(&memory(5 * PIECE, false), 3);
    for (stream, bytes) in whole.iter().enumerate() {
        for length in 0..bytes.len() {
            let mut cut = whole.clone();
            cut[stream].truncate(length);
            assert!(joined(&cut).is_err(), "{stream} cut at {length}");
        }
    }
}

#[test]
fn who_lost_one_connection_ends_the_others_without_their_mark() {
    let (to, mut all) = streams(b"{}", count(3)).unwrap();
    drop(all.remove(1));
    let lost = thread::scope(|scope| {
        let read = |mut stream: Dealt| stream.read_to_end(&mut Vec::new()).map(drop);
        let reading: Vec<_> = all.into_iter().map(|stream| scope.spawn(move || read(stream))).collect();
        let dealt = deal(&memory(9 * PIECE, false)[..], &to, |_| Ok(()));
        drop(to);
        reading.into_iter().for_each(|read| read.join().unwrap().unwrap());
        dealt
    });
    assert_eq!(lost.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn who_cancels_ends_it() {
    let (to, _all) = streams(b"{}", count(2)).unwrap();
    let stopped = |_| Err(io::Error::other("stopped"));
    assert!(deal(&[1_u8; 9][..], &to, stopped).is_err());
}

#[test]
fn what_claims_too_much_or_has_no_number_is_refused() {
    let (whole, end) = (sent(&[], 2), framed(END, Some(0), &[]));
    let bomb = zstd::bulk::compress(&vec![0; 8 * PIECE], 1).unwrap();
    for (case, second) in [
        ("a length", vec![NUMBERED, 0xff, 0xff, 0xff, 0xff]),
        ("no number", framed(0, None, b"memory of a guest")),
        ("half a number", [&head(NUMBERED, 4)[..], &[0; 4]].concat()),
        ("an end without a number", framed(END, None, &[])),
        ("more memory than a piece has", framed(1, Some(1), &bomb)),
        ("something unknown", framed(3, Some(0), &[])),
        ("an end with something in it", framed(END, Some(0), &[0])),
        ("another end", framed(END, Some(u64::MAX), &[])),
    ] {
        let first = if case == "more memory than a piece has" {
            [&preamble_frame(b"{}").unwrap()[..], &framed(0, Some(0), b"memory")[..], &end[..]].concat()
        } else {
            whole[0].clone()
        };
        let damaged = joined(&[first, second]).unwrap_err();
        assert_ne!(damaged.kind(), io::ErrorKind::UnexpectedEof, "{case}");
    }
    assert!(joined(&whole).unwrap().is_empty());
}

#[test]
fn who_cannot_write_says_so_before_the_sources_are_waited_for() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    // The second one is silent, and open until we are told to give up.
    let mut first = Cursor::new(sent(&memory(PIECE, false), 2).swap_remove(0));
    preamble(&mut first).unwrap();
    let (silent, opener) = io::pipe().unwrap();
    let sources: Vec<Box<dyn Read + Send>> = vec![Box::new(first), Box::new(silent)];
    let opener = Mutex::new(Some(opener));
    let failed = join(sources, Full, || drop(opener.lock().unwrap().take())).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::BrokenPipe);
}

/// The first one is silent and goes on being so: nobody waits for its turn.
#[test]
fn one_that_is_lost_ends_the_others_at_once() {
    let (silent, opener) = io::pipe().unwrap();
    let opener = Mutex::new(Some(opener));
    let sources: Vec<Box<dyn Read + Send>> = vec![Box::new(silent), Box::new(io::empty())];
    let lost = join(sources, io::sink(), || drop(opener.lock().unwrap().take())).unwrap_err();
    assert_eq!(lost.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn few_connections_for_a_small_memory() {
    const MIB: u64 = 1 << 20;
    for (limit, memory, used) in
        [(4, 0, 1), (4, 32 * MIB, 1), (4, 192 * MIB, 3), (4, 1 << 40, 4), (1, 1 << 40, 1), (8, 256 * MIB, 4)]
    {
        assert_eq!(count(limit).for_memory(memory), count(used), "{limit} for {memory}");
    }
    assert!(StreamCount::try_from(0).is_err() && StreamCount::try_from(MOST + 1).is_err());
    assert!(StreamCount::of_host().get() <= USUALLY_MOST);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_length_over_any_count_comes_back(length in 0..6 * PIECE, streams in 2..=8_u8, noise in any::<bool>()) {
        let memory = memory(length, noise);
        prop_assert!(joined(&sent(&memory, streams)).unwrap() == memory);
    }

    /// A frame that is lost, comes twice, changes places with the next one, or comes over another connection.
    #[test]
    fn frames_that_are_not_where_they_belong_are_found(
        pieces in 4..9_usize,
        streams in 2..4_u8,
        (stream, at) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        damage in 0..4_u8,
    ) {
        let mut sent = sent(&memory(pieces * PIECE, false), streams);
        let stream = stream.index(sent.len());
        let borders = borders(&sent[stream]);
        // Not the preamble, and not the mark of the end.
        let first = usize::from(stream == 0);
        let at = first + at.index(borders.len() - 2 - first);
        let of = |at: usize| sent[stream][borders[at]..borders[at + 1]].to_vec();
        let (this, next) = (of(at), of(at + 1));
        let (before, after) = (sent[stream][..borders[at]].to_vec(), sent[stream][borders[at + 1]..].to_vec());
        let after_next = sent[stream][borders[at + 2]..].to_vec();
        match damage {
            0 => sent[stream] = [before, after].concat(),
            1 => sent[stream] = [before, this.clone(), this, after].concat(),
            2 => sent[stream] = [before, next, this, after_next].concat(),
            _ => {
                let other = (stream + 1) % sent.len();
                let mark = framed(END, Some(pieces as u64), &[]).len();
                let end = sent[other].len() - mark;
                drop(sent[other].splice(end..end, this));
                sent[stream] = [before, after].concat();
            }
        }
        prop_assert!(joined(&sent).is_err());
    }
}
