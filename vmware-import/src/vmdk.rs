//! Reading VMware disks: descriptors, extents in every format, snapshot chains, streams.
//!
//! Two ways in: [`open_image`] for anything with random access (files, HTTP ranges, tar members), and
//! [`stream`] for a streamOptimized disk that comes once, front to back. Both refuse what contradicts itself;
//! neither writes to a source.

pub mod cowd;
pub mod descriptor;
mod flat;
pub mod grain;
pub mod header;
pub mod image;
mod open;
pub mod runs;
pub mod sesparse;
pub mod sparse;
pub mod stream;
pub mod tables;

/// What happens to what cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Salvage {
    /// The call ends with the error.
    #[default]
    Refuse,
    /// The range reads as zeros and is listed.
    NoteLosses,
}

pub use descriptor::{ContentId, Descriptor};
pub use image::{Audit, Image};
pub use open::{FileKind, OpenOptions, Plain, open_image};
