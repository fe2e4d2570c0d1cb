//! [`Fault`] to gRPC status and back: the one place that knows both.

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::{WireError, wire};

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self { reason: error.reason, ..Self::invalid(error.field, error.problem) }
    }
}

#[must_use]
pub fn status_from_fault(fault: &Fault) -> Status {
    let code = match fault.reason {
        FaultReason::NotFound => Code::NotFound,
        FaultReason::Invalid => Code::InvalidArgument,
        FaultReason::NameTaken => Code::AlreadyExists,
        FaultReason::WrongState
        | FaultReason::WrongStatus
        | FaultReason::LeasedElsewhere
        | FaultReason::StaleEpoch
        | FaultReason::StaleDefinition
        | FaultReason::IncarnationEnded => Code::FailedPrecondition,
        FaultReason::NoMemory | FaultReason::StorageFull => Code::ResourceExhausted,
        FaultReason::GuestUnresponsive | FaultReason::GuestShuttingDown => Code::DeadlineExceeded,
        FaultReason::Unsupported => Code::Unimplemented,
        FaultReason::NotReady => Code::Unavailable,
        FaultReason::Forbidden => Code::PermissionDenied,
        FaultReason::Hypervisor | FaultReason::Internal => Code::Internal,
    };
    let detail = wire::Fault {
        reason: fault.reason.to_string(),
        field: fault.field.clone().unwrap_or_default(),
        retryable: fault.is_retryable(),
    };
    Status::with_details(code, fault.message.clone(), Bytes::from(detail.encode_to_vec()))
}

/// `None`: the status was not made by an agent (the connection broke, a proxy answered).
#[must_use]
pub fn fault_from_status(status: &Status) -> Option<Fault> {
    let detail = wire::Fault::decode(status.details()).ok().filter(|detail| !detail.reason.is_empty())?;
    // A newer agent may have reasons of its own: keep its message, and its word on retrying.
    let reason = detail.reason.parse().unwrap_or(if detail.retryable {
        FaultReason::NotReady
    } else {
        FaultReason::Internal
    });
    let field = Some(detail.field).filter(|field| !field.is_empty());
    Some(Fault { reason, message: status.message().to_owned(), field })
}
