//! Disks and VMs out of VMware: VMDK, OVF and OVA, `.vmx` folders, ESXi and vCenter.
//!
//! What always holds: files of strangers are never believed before they are checked, sources are never
//! written to, memory is bounded for an image of any size, and all calls block (they are made from worker
//! threads, as the block seam wants). The crate depends on `common` only; `xenith-import` is its thin binary.

#![forbid(unsafe_code)]

pub mod bytes;
pub mod convert;
pub mod digest;
pub mod error;
pub mod guest;
pub mod info;
pub mod inspect;
pub mod ovf;
pub mod plan;
pub mod source;
pub mod tar;
pub mod target;
pub mod upload;
pub mod vmdk;
pub mod vmx;
pub mod vsphere;
pub mod whole;

pub use xenith_common_block::ByteRange;

pub use error::{ImportError, Result, Retry};
