//! The API's vocabulary: what a client sends and gets, one module per noun.
//!
//! Everything here is serialised; names are the field's standard terms and the same in the CLI, the UI and the
//! documents. Times are RFC 3339 in UTC, memory is MiB, sizes are bytes. Requests refuse unknown fields.

pub mod access;
pub mod alarm;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod balance;
pub mod console;
pub mod cpu_level;
pub mod error;
pub mod event;
pub mod filter;
pub mod fragment;
pub mod ha;
pub mod host;
pub mod import;
pub mod list;
pub mod mail;
pub mod metrics;
pub mod network;
pub mod orphan;
pub mod pool;
pub mod power;
pub mod security_group;
pub mod snapshot;
pub mod sr;
pub mod standby;
pub mod system;
pub mod task;
pub mod template;
pub mod token;
pub mod user;
pub mod vdi;
pub mod vm;
pub mod wave;

pub use access::{Binding, Permission, Reach, Role, Scope};
pub use error::{ApiError, Reason};
pub use list::{ListRequest, Page};

/// Nothing to say.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Names one object by its id or its name.
pub type Reference = String;
