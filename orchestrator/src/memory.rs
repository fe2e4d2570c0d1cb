//! How glibc's allocator keeps memory, and gives it back.

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

/// Gives back what was freed since the start, such as what reading a large store took: the allocator keeps it
/// otherwise. Threads that allocate wait meanwhile, so this is for when nobody is served yet.
#[allow(unsafe_code, reason = "the allocator's functions have no safe interface")]
pub fn give_back() {
    // SAFETY: it takes a number and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
