//! OVF: what a package says its VMs are made of. Also its manifest.
//!
//! Reads the dialects of ovftool, VirtualBox and others: any namespace prefixes, `ovf:` attributes with and
//! without prefix, disks of one or several VMs, capacities with units. Nothing is believed about files: names are
//! checked when they are opened. The XML may have no document type, and its size and depth are limited.

pub mod envelope;
pub mod manifest;
mod package;
mod stream;

pub use envelope::{Controller, DiskItem, FileRef, Nic, OvfVm, Package as Envelope};
pub use package::{Member, OvaPackage};
pub use stream::{OvaOutcome, StreamedDisk, compare_ova_stream, convert_ova_stream, describe_ova_stream};
