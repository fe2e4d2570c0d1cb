//! Two sets of threads: one answers calls, the other hears hosts and does what nobody waits for.
//!
//! A host that tells of a hundred VMs keeps a thread for more than a millisecond, and thousands of hosts tell something
//! at any time. On shared threads a call would wait in line behind them; on threads of the same priority for as long as
//! the kernel lets a thread run. So those in the background step back, and still get a quarter of a processor that is
//! fought for.

use std::io;

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::runtime::{Builder, Runtime};

/// How far the background steps back; less than reads of many rows do, which wait for it.
const NICE: i32 = 5;

pub fn for_calls() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name("calls").enable_all().build()
}

pub fn for_background() -> io::Result<Runtime> {
    let step_back = || {
        // A kernel that does not let us leaves them as they are: slower for others, and right.
        let _ = setpriority_process(Some(gettid()), NICE);
    };
    Builder::new_multi_thread().thread_name("background").on_thread_start(step_back).enable_all().build()
}
