//! ESXi and vCenter over port 443: a vim25 client of the calls that a move needs, and the data paths.
//!
//! What always holds: the server is the one whose certificate was pinned; a session that expired is opened
//! again and the call repeated once; nothing is created on the source but snapshots with our name, which
//! [`warm::WarmMove::roll_back`] removes, and nothing switched but power and, where it is asked for, changed-block
//! tracking; answers are bounded before they are kept.

pub mod areas;
pub mod client;
pub mod datastore;
mod export;
pub mod inspect;
pub mod inventory;
pub mod nfc;
pub mod pin;
pub mod route;
pub mod snapshots;
pub mod soap;
pub mod source;
mod tracking;
pub mod transfer;
pub mod warm;

pub use client::{Credentials, MoRef, Vim};
pub use pin::Fingerprint;
