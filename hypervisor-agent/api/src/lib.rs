//! The contract between orchestrator and agent: generated wire types, and their conversion into the domain
//! types of `xenith-hypervisor-agent-types`.
//!
//! Wire types stop here: a server or client converts at once, and a value that cannot be converted is
//! refused with the path of its field. [`PROTOCOL`] is compared by both sides in `Hello` and `Join`.

mod arrival;
mod backup;
mod command;
mod console;
mod convert;
mod fault;
mod ha;
mod import;
mod join_token;
mod lease;
mod management;
mod memory;
mod metrics;
mod network;
mod observed;
mod storage;
mod system;
mod transfer;

/// Generated from `proto/`.
#[allow(clippy::all, clippy::too_many_lines, reason = "generated code")]
pub mod wire {
    tonic::include_proto!("xenith.agent.v1");
}

pub use arrival::{ArrivalCommand, Exchanged, SendVm};
pub use command::{Command, CommandResult, Envelope, RevertPart, ShutdownKind, VmAction};
pub use console::{ConsoleInput, ConsoleOutput, ConsoleTarget, OpenConsole};
pub use convert::WireError;
pub use fault::{fault_from_status, status_from_fault};
pub use ha::{ha_answer_from_wire, ha_answer_to_wire, ha_request_from_wire, ha_request_to_wire};
pub use import::{
    DiskPassed, GuestPrepared, ImportCommand, ImportDisk, ImportPass, OpenUpload, PassKind, PrepareGuest,
    PrepareOutcome, UploadOpen, VdiProgress, VsphereAccess, vdi_ids,
};
pub use join_token::{JoinToken, ParseJoinTokenError};
pub use lease::LeaseFound;
pub use metrics::Samples;
pub use observed::{Changes, Hello};
pub use storage::{MakeSr, Snapshotted, StorageCommand};
pub use transfer::{SendVdi, TransferCommand};

/// Raised when a field, value or call of `proto/` is removed, or gets another number, type, name or meaning; then
/// `protocol.txt`, which a test holds, may change beyond growing. A peer of another number is told so in words, not by
/// an odd error.
///
/// Not raised for what is added. An older peer does not see a field it does not know; a command that it does not know
/// it refuses as unsupported, and says that it is to be upgraded.
pub const PROTOCOL: u32 = 1;

/// The largest message either side accepts. A full list of a host with a thousand VMs is under 1 MiB.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
