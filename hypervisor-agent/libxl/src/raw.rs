//! Everything unsafe of this crate: libxl's calls (and the kernel's loop and nbd devices) as safe Rust.
//!
//! What always holds:
//! * A [`Context`] is one `libxl_ctx` that is made, used and freed on one thread (it is neither `Send` nor
//!   `Sync`), so every callback out of libxl (log lines, disasters) runs on that same thread, inside one of
//!   our calls. Nothing that a callback touches needs a lock.
//! * Structs whose layout depends on the Xen version live in [`Opaque`] memory and are only ever read and
//!   written by libxl itself; they cross as JSON.
//! * An asynchronous operation is begun and awaited inside one method ([`Context::finish`]), so the memory
//!   that libxl keeps pointers to while it works outlives the operation by construction.
//!
//! libxl ends the process when malloc fails; that, and nothing else, cannot be turned into an error here.

use std::sync::OnceLock;

use xenith_hypervisor_agent_libxl_sys::{Library, LoadError, load};

mod calls;
mod context;
mod event;
mod log;
mod loop_device;
mod nbd_device;
mod opaque;
mod poll;
mod stuck;
mod wake;

pub use calls::{DeathWatch, Node, Topology};
pub use context::{Context, Failure, OpenError};
pub use event::RawEvent;
#[cfg(test)]
pub use log::{Level, LogLine};
pub use loop_device::LoopDevice;
pub use nbd_device::NbdDevice;
pub use opaque::DomainConfig;
pub use poll::{set_blocking, wait_readable};
pub use wake::Wake;

/// The library of this process. Never unloaded: its threads and `atfork` handlers may outlive any user.
pub fn library() -> Result<&'static Library, LoadError> {
    static LOADED: OnceLock<Library> = OnceLock::new();
    if let Some(library) = LOADED.get() {
        return Ok(library);
    }
    let library = load()?;
    Ok(LOADED.get_or_init(|| library))
}
