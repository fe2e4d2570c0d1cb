//! Disks on this host.

mod file_sr;

pub use file_sr::{DiskError, FileSr};
