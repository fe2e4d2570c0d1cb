//! Quantities with their unit in the type. Private fields: a value that exists is valid. And how a number is told to people.

mod counted;
mod mac;
mod memory;
mod vcpus;

pub use counted::counted;
pub use mac::{MacAddr, ParseMacError};
pub use memory::{MemoryMiB, ParseMemoryError};
pub use vcpus::{VcpuCount, VcpuCountError};
