#![no_main]

use libfuzzer_sys::fuzz_target;
use xenith_common_block::MemorySink;
use xenith_vmware_import::upload::{Mark, receive};

/// What the seeds say that their disk has.
const SIZE: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let (mut input, sink, mut reached) = (data, MemorySink::new(SIZE), 0);
    let received = receive(&mut input, &sink, (SIZE as u64, &Mark::default()), &mut |mark| {
        assert!(reached <= mark.done && mark.done <= SIZE as u64);
        reached = mark.done;
        Ok(())
    });
    assert!(received.is_err() || reached == SIZE as u64);
});
