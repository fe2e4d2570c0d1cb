//! Real Xen hosts inside QEMU, for `make run`, for the scenario in CI, and from the installer's recipe.
//!
//! [`LabHost::boot`] is the way in: it cooks the root filesystem if there is none, starts QEMU, and hands
//! back a running dom0 with a [`Shell`] into it. No QEMU outlives its handle or this process. What the lab
//! can and cannot do, and why the flags are what they are, stands in `docs/lab.md`.

mod accel;
pub mod agent;
mod attach;
pub mod child;
mod console;
mod disks;
mod error;
pub mod guest;
mod host;
mod medium;
mod paths;
pub mod programs;
mod progress;
mod qemu;
mod qmp;
pub mod recipe;
mod record;
pub mod rootfs;
mod ssh;
mod switch;
pub mod vmware;

pub mod cli;

pub use accel::Accel;
pub use attach::{agent_settings, attach};
pub use console::{Console, readable};
pub use disks::Disks;
pub use error::LabError;
pub use host::{Cable, HostSpec, LabHost, Link};
pub use medium::write_boot_medium;
pub use paths::LabPaths;
pub use progress::Progress;
pub use qemu::{LanPort, Sizes};
pub use record::unclaimed_port;
pub use rootfs::Rootfs;
pub use ssh::{Output, Shell, quote};
pub use switch::Switch;
