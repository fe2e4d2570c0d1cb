//! Wire types to domain types and back.

mod fields;
mod hardware;
mod host;
mod spec;
mod sr;
mod vm;

pub use fields::WireError;
pub(crate) use fields::{answered, asked, id, optional_id, required, under};
