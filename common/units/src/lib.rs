//! Quantities with their unit in the type. Private fields: a value that exists is valid.

mod mac;
mod memory;
mod vcpus;

pub use mac::{MacAddr, ParseMacError};
pub use memory::{MemoryMiB, ParseMemoryError};
pub use vcpus::{VcpuCount, VcpuCountError};
