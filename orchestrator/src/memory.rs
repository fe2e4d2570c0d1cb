//! How glibc's allocator keeps memory.

/// Each thread would get an arena of its own, and what is freed in one does not serve another: with 250,000 VMs a single
/// arena took an eighth less memory. Two are a compromise with how often threads wait for each other. To be called
/// before there are threads.
#[allow(unsafe_code, reason = "the allocator's settings have no safe interface")]
pub fn share_arenas() {
    // SAFETY: mallopt takes two numbers and no memory of ours; it is called while there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
    }
}
