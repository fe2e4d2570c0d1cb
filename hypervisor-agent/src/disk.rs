//! Disks on this host.

mod file_sr;
mod in_use;

pub use file_sr::{DiskError, FileSr};
pub use in_use::InUse;
