//! Fuzzes the decoder of xenstore's wire protocol with a stream that arrives in pieces.
//!
//! With a stable compiler, from this folder; a minute finds what there is to find:
//!
//! ```text
//! RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!   -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
//!   -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions" \
//!   cargo build --release --target x86_64-unknown-linux-gnu
//! target/x86_64-unknown-linux-gnu/release/wire -max_total_time=60
//! ```
//!
//! `--target` keeps the flags away from build scripts. Where `CARGO_TARGET_DIR` is set the program is there.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use xenith_hypervisor_agent_xenstore::wire::{
    DIRECTORY_MAX, Decoder, ErrorCode, HEADER_LEN, Incoming, PAYLOAD_MAX, encode, parse_watch_event, strings,
};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = input;
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
    let mut taken = 0;
    for piece in stream.chunks(usize::from(piece).max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.take(&mut buffer) {
                Err(_) => return,
                Ok(None) => break,
                // No input is so long that something comes behind it.
                Ok(Some(Incoming::TooLong { .. })) => return,
                Ok(Some(Incoming::Message(message))) => {
                    let end = taken + HEADER_LEN + message.payload.len();
                    if message.payload.len() <= PAYLOAD_MAX {
                        let mut again = BytesMut::new();
                        encode(&message, &mut again).expect("what was read can be written");
                        assert_eq!(again, stream[taken..end], "and is the same");
                    }
                    taken = end;
                    let _ = (parse_watch_event(&message.payload), ErrorCode::parse(&message.payload));
                    assert!(strings(&message.payload).count() <= message.payload.len());
                }
            }
        }
        assert!(buffer.len() < HEADER_LEN + DIRECTORY_MAX, "more is kept than one message");
    }
    assert_eq!(taken + buffer.len(), stream.len(), "no byte is lost");
});
