//! What a guest says about itself.
//!
//! Guest tools write addresses, the name of the operating system, driver versions and free memory into the
//! domain's part of the store. All of it is foreign data: a guest may write anything, of any size its quota
//! allows, as often as it likes. So at most [`ADDRESSES_MAX`] addresses are taken, texts are cut and cleaned
//! (`foreign.rs`), only a fixed set of paths is read, and changes are merged before they are read.

mod facts;
mod foreign;
mod read;
mod watcher;

pub use facts::{GuestAddress, GuestFacts, GuestMemory, GuestOs, PvDrivers, ShutdownControl};
pub use foreign::parse_text;
pub use read::{ADDRESSES_MAX, VIFS_MAX};
pub use watcher::{Debounce, GuestWatcher};
