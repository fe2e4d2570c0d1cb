//! Who gives memory: mimalloc to everything in Rust, glibc to RocksDB.
//!
//! Every message of a host is thousands of small pieces, made on one thread and often freed on another. glibc's arenas
//! are locks that all threads wait for, and its heap's end went back to the kernel and came again with each message.
//! See ADR 61.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Blocks of this size and above come from the kernel, and go back to it when they are freed. A memtable of RocksDB is made
/// of blocks of 1 MiB.
const OF_THEIR_OWN: libc::c_int = 256 << 10;

/// What is left to glibc does not need an arena for each thread, and keeps no more than it uses. Unless it is told where
/// blocks of their own begin, glibc raises that by what is freed, to 32 MiB: after the log was replayed at a start, up to
/// 128 MiB of memtables would lie in its arenas, free and resident. To be called before there are threads.
#[allow(unsafe_code, reason = "the allocator's settings have no safe interface")]
pub fn bound_glibc() {
    // SAFETY: mallopt takes two numbers and no memory of ours; it is called while there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OF_THEIR_OWN);
    }
}
