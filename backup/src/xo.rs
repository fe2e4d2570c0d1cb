//! Reading a Xen Orchestra repository, so that its history moves along: chains of VHDs, as files or as folders
//! of blocks, and the JSON beside them.
//!
//! Nothing in the old repository is changed. Every restore point becomes a backup of its own with the time of
//! the original; the blocks of a differencing VHD whose parent was imported just before are its changed
//! ranges. What the repository is told to read is not trusted: names stay inside its folder, lengths are
//! checked before memory is taken, chains have a bound. An import cut short is run again: what is there
//! already is found by its origin and skipped.

mod chain;
mod metadata;
mod run;
mod vhd;

pub use chain::Chain;
pub use metadata::{OldBackup, OldDisk, scan};
pub use run::{Outcome, import};
pub use vhd::Vhd;
