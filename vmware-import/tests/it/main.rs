//! Integration tests: the library and the tool against disks made by `generator` and, where it is installed,
//! by qemu-img, which is also the judge of what we write.

#![allow(clippy::unwrap_used)]

mod formats;
mod helper;
mod hostile;
mod inspect;
mod leftovers;
mod mutations;
mod ova;
mod plan;
mod pyvmomi;
mod routes;
mod support;
mod tool;
mod vcsim;
mod vsphere;
