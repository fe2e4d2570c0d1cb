//! Wire types to domain types and back.

mod fields;
mod host;
mod spec;
mod vm;

pub use fields::WireError;
pub(crate) use fields::{id, required, under};
