//! Our own asynchronous connection to xenstored, and what we keep and read there.
//!
//! What: [`Xenstore`] speaks the wire protocol ([`wire`]) over xenstored's unix socket or the kernel's
//! device, implements the traits of `xenstore-rs` and goes beyond them (transactions, permissions, large
//! directories, watches that never stall a request, reconnection). On top: [`guest`] (what a guest says
//! about itself) and [`Incarnation`] (which run of which VM a domain is).
//!
//! What always holds: every request ends, with an answer or a typed error, also when the daemon dies or hangs; a
//! slow watcher costs a bounded amount of memory and nobody else's time; everything read from a guest's
//! part of the store is foreign data, bounded and cleaned before it leaves this crate.
//!
//! Who else touches the store: libxl, the kernels of all domains, and the guests themselves. Only what
//! happens inside a transaction is atomic towards them.
//!
//! On a crash of ours: xenstored drops our watches and open transactions with the connection; nothing
//! half-made stays. On a crash of xenstored: see [`Xenstore`].
#![forbid(unsafe_code)]

mod compat;
mod connection;
mod domain;
mod endpoint;
mod error;
pub mod guest;
mod incarnation;
mod nodes;
mod path;
mod permissions;
#[cfg(feature = "test-support")]
pub mod test_support;
mod transaction;
pub mod wire;

pub use connection::{LinkState, Options, Watch, WatchEvent, Xenstore};
pub use domain::{EventPort, GrantedFrame};
pub use endpoint::Endpoint;
pub use error::XenstoreError;
pub use incarnation::Incarnation;
pub use path::domain_path;
pub use permissions::{Access, ParsePermissionsError, Permissions};
pub use transaction::Transaction;
