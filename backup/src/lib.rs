//! Backups of disks: every restore point is a full, only what is new is stored, nothing is ever merged.
//!
//! From the disk to the store: [`ingest`] reads a `BlockSource`, [`chunk`] cuts it, [`id`] names the chunks,
//! [`index`] knows which the repository has, [`packer`] fills packs with the rest in the container of
//! [`format`], [`map`] says which chunk lies where, and [`manifest`] commits. Back again: [`reader`] makes any
//! backup a `BlockSource`, [`restore`] writes it out, [`follow`] only what differs, [`instant`] while it is used already.
//! [`session`] and [`gc`] keep writers and collectors apart without a lock; [`immutable`] keeps what is needed locked
//! against everybody. [`copy`] makes backups of backups elsewhere, [`mirror`] moves packs as they are. [`store`] is the seam to folders and object stores, [`keys`] holds the keys.
//!
//! `docs/backup-format.md` describes every byte and the proofs; the crate depends on `common` only.

pub mod chunk;
pub mod copy;
pub mod crypto;
pub mod diff;
pub mod error;
pub mod export;
pub mod files;
pub mod follow;
pub mod format;
pub mod gc;
pub mod hold;
pub mod id;
pub mod immutable;
pub mod index;
pub mod ingest;
pub mod instant;
pub mod keys;
pub mod manifest;
pub mod map;
pub mod mirror;
pub mod nbd;
pub mod packer;
pub mod prune;
pub mod reader;
pub mod repo;
pub mod restore;
pub mod retention;
pub mod session;
pub mod store;
pub mod verify;
pub mod xo;

pub use error::{BackupError, Result};
pub use repo::Repository;
