//! Errors of the parts, as the API tells them: the one function per source.

use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::FaultReason;
use xenith_orchestrator_inventory::QueryError;
use xenith_orchestrator_saga::SagaError;
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::{ApiError, Reason};

pub fn store_error(error: &StoreError) -> ApiError {
    let reason = match error {
        StoreError::Conflict { .. } => Reason::Conflict,
        StoreError::StorageFull { .. } | StoreError::Failed { .. } => Reason::ReadOnly,
        _ => Reason::Internal,
    };
    if reason == Reason::Internal {
        tracing::error!(error = error as &dyn std::error::Error, "the store failed");
    }
    let mut told = ApiError::new(reason, error);
    if reason == Reason::Conflict {
        told.message = "somebody else changed this at the same time; look again and try again".to_owned();
    }
    told
}

pub fn saga_error(error: &SagaError) -> ApiError {
    match error {
        SagaError::NotFound(id) => ApiError::not_found("task", &id.to_string()),
        SagaError::WrongState { .. } | SagaError::PointOfNoReturn { .. } => {
            ApiError::new(Reason::WrongState, error)
        }
        SagaError::Busy { retry_after, .. } => {
            let mut told = ApiError::new(Reason::Throttled, error);
            told.data.retry_after_s = u32::try_from(retry_after.as_secs()).ok();
            told
        }
        SagaError::Store(source) => store_error(source),
        SagaError::Fenced { .. } | SagaError::ShuttingDown => ApiError::new(Reason::ReadOnly, error),
        _ => {
            tracing::error!(error = error as &dyn std::error::Error, "a saga failed to start");
            ApiError::internal(error)
        }
    }
}

/// What a host answered that was asked something at once.
pub fn agent_error(error: &AgentClientError) -> ApiError {
    let reason = match error {
        AgentClientError::Refused(fault) => match fault.reason {
            FaultReason::NotFound => Reason::NotFound,
            FaultReason::WrongState | FaultReason::WrongStatus | FaultReason::LeasedElsewhere => {
                Reason::WrongState
            }
            FaultReason::NameTaken => Reason::Conflict,
            FaultReason::Invalid => Reason::Invalid,
            _ => Reason::HostFailed,
        },
        _ => Reason::HostUnreachable,
    };
    ApiError::new(reason, error)
}

pub fn query_error(error: &QueryError) -> ApiError {
    let field = match error {
        QueryError::UnknownSort { .. } => "sort",
        QueryError::UnknownGroup { .. } => "group_by",
        QueryError::BadRevision => "since",
        QueryError::BadCursor | QueryError::OtherSort { .. } => "cursor",
    };
    ApiError::invalid(field, error)
}
