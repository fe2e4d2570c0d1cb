//! How glibc's allocator keeps memory.

/// Each thread would get an arena of its own, and what one frees of an arena does not serve another: with 250,000 VMs
/// that costs an eighth of all memory. Two are enough for the CPU time that goes into allocation here. To be called
/// before there are threads.
#[allow(unsafe_code, reason = "the allocator's settings have no safe interface")]
pub fn share_arenas() {
    // SAFETY: mallopt takes two numbers and no memory of ours; it is called while there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
    }
}
