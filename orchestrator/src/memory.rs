//! Who gives memory: mimalloc to everything in Rust, glibc to RocksDB.
//!
//! Every message of a host is thousands of small pieces, made on one thread and often freed on another. glibc's arenas
//! are locks that all threads wait for, and its heap's end went back to the kernel and came again with each message.
//! See ADR 61.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is left to glibc does not need an arena for each thread. To be called before there are threads.
#[allow(unsafe_code, reason = "the allocator's settings have no safe interface")]
pub fn share_arenas() {
    // SAFETY: mallopt takes two numbers and no memory of ours; it is called while there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
