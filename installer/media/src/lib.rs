//! Makes the installer medium: one file that starts from a disc or a stick, on BIOS and on UEFI.
//!
//! ```text
//!  recipe + locked packages + our programs --mmdebstrap--> tree --mksquashfs--> filesystem.squashfs   (cached)
//!  squashfs + its description (signed) + GRUB --xorriso--> xenith-<version>-amd64.iso
//! ```
//!
//! What always holds: equal inputs, equal bytes. Every time stamp comes from the source's date, every package's version
//! from `packages.lock`. The expensive half is cached by a hash of all that goes in; a folder with a hash for its name is
//! complete.

pub mod cli;
mod compare;
mod iso;
mod lock;
pub mod machine;
mod sbom;
mod sign;
mod tree;

pub use compare::twice;
pub use iso::{Medium, build};
pub use lock::Lock;
pub use machine::{Boot, Drive, Firmware, Machine, Ports, Wiring};
pub use tree::{Cooked, Inputs, LEVEL, Locking, cache, ensure as cook};
