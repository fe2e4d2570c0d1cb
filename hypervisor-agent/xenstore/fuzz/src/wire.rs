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
    ErrorCode, HEADER_LEN, PAYLOAD_MAX, decode, encode, parse_watch_event, strings,
};

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = input;
    let mut buffer = BytesMut::new();
    let mut taken = 0;
    for piece in stream.chunks(usize::from(piece).max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match decode(&mut buffer) {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(message)) => {
                    let mut again = BytesMut::new();
                    encode(&message, &mut again).expect("what was read can be written");
                    assert_eq!(again, stream[taken..taken + again.len()], "and is the same");
                    taken += again.len();
                    let _ = (parse_watch_event(&message.payload), ErrorCode::parse(&message.payload));
                    assert!(strings(&message.payload).count() <= message.payload.len());
                }
            }
        }
        assert!(buffer.len() < HEADER_LEN + PAYLOAD_MAX, "more is kept than one message");
    }
    assert_eq!(taken + buffer.len(), stream.len(), "no byte is lost");
});
