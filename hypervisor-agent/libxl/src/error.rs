//! libxl's error codes and log lines in an administrator's words.

use std::time::Duration;

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_libxl_sys::libxl_error;

use crate::raw::Failure;

/// What an operation was about: decides how its failure reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Host,
    /// A domain that is being made.
    New,
    Domain(DomId),
    Device {
        domid: DomId,
        device: String,
    },
}

/// libxl gives guests this long to answer (`LIBXL_*_TIMEOUT` in its sources; a suspend gets 60 s).
const GUEST_ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// What the caller is told.
pub fn from_failure(failure: &Failure, subject: Subject) -> HypervisorError {
    let operation = failure.operation;
    if let Some(after) = failure.gave_up_after {
        return HypervisorError::TimedOut { operation, after };
    }
    if let Some(why) = impossible(failure) {
        return HypervisorError::Unsupported { operation, why };
    }
    match (libxl_error(failure.code), subject) {
        (
            libxl_error::ERROR_DOMAIN_NOTFOUND | libxl_error::ERROR_DOMAIN_DESTROYED,
            Subject::Domain(domid) | Subject::Device { domid, .. },
        ) => HypervisorError::NoSuchDomain(domid),
        (libxl_error::ERROR_GUEST_TIMEDOUT, Subject::Domain(domid) | Subject::Device { domid, .. }) => {
            HypervisorError::GuestUnresponsive { domid, operation, after: GUEST_ANSWERS_WITHIN }
        }
        (libxl_error::ERROR_DEVICE_EXISTS, Subject::Device { device, .. }) => {
            HypervisorError::Device { device, detail: "it is attached already".to_owned() }
        }
        (_, Subject::Device { device, .. }) => {
            let detail = format!("{operation} failed with {}: {}", code_name(failure.code), failure.log());
            HypervisorError::Device { device, detail }
        }
        _ => HypervisorError::Failed { operation, code: code_name(failure.code), log: failure.log() },
    }
}

/// Why it can never work here, when libxl's code or lines say so.
fn impossible(failure: &Failure) -> Option<String> {
    let log = failure.log();
    if log.contains("logdirty") {
        return Some(
            "this Xen is built without shadow paging, so a PV guest cannot be copied while it runs; \
             suspend and resume it, or make it PVH or HVM"
                .to_owned(),
        );
    }
    match libxl_error(failure.code) {
        libxl_error::ERROR_NI | libxl_error::ERROR_FEATURE_REMOVED => {
            Some(format!("this version of Xen does not do it ({log})"))
        }
        libxl_error::ERROR_NOPARAVIRT => {
            Some("the guest has no PV drivers that could be asked to do it".to_owned())
        }
        libxl_error::ERROR_VERSION => {
            Some(format!("this version of libxenlight does not fit this agent ({log})"))
        }
        _ => None,
    }
}

/// libxl's own name of its code with the number, as `xl` and search engines know them.
pub fn code_name(code: i32) -> String {
    let name = match libxl_error(code) {
        libxl_error::ERROR_NONSPECIFIC => "ERROR_NONSPECIFIC",
        libxl_error::ERROR_VERSION => "ERROR_VERSION",
        libxl_error::ERROR_FAIL => "ERROR_FAIL",
        libxl_error::ERROR_NI => "ERROR_NI",
        libxl_error::ERROR_NOMEM => "ERROR_NOMEM",
        libxl_error::ERROR_INVAL => "ERROR_INVAL",
        libxl_error::ERROR_BADFAIL => "ERROR_BADFAIL",
        libxl_error::ERROR_GUEST_TIMEDOUT => "ERROR_GUEST_TIMEDOUT",
        libxl_error::ERROR_TIMEDOUT => "ERROR_TIMEDOUT",
        libxl_error::ERROR_NOPARAVIRT => "ERROR_NOPARAVIRT",
        libxl_error::ERROR_NOT_READY => "ERROR_NOT_READY",
        libxl_error::ERROR_OSEVENT_REG_FAIL => "ERROR_OSEVENT_REG_FAIL",
        libxl_error::ERROR_BUFFERFULL => "ERROR_BUFFERFULL",
        libxl_error::ERROR_UNKNOWN_CHILD => "ERROR_UNKNOWN_CHILD",
        libxl_error::ERROR_LOCK_FAIL => "ERROR_LOCK_FAIL",
        libxl_error::ERROR_JSON_CONFIG_EMPTY => "ERROR_JSON_CONFIG_EMPTY",
        libxl_error::ERROR_DEVICE_EXISTS => "ERROR_DEVICE_EXISTS",
        libxl_error::ERROR_CHECKPOINT_DEVOPS_DOES_NOT_MATCH => "ERROR_CHECKPOINT_DEVOPS_DOES_NOT_MATCH",
        libxl_error::ERROR_CHECKPOINT_DEVICE_NOT_SUPPORTED => "ERROR_CHECKPOINT_DEVICE_NOT_SUPPORTED",
        libxl_error::ERROR_VNUMA_CONFIG_INVALID => "ERROR_VNUMA_CONFIG_INVALID",
        libxl_error::ERROR_DOMAIN_NOTFOUND => "ERROR_DOMAIN_NOTFOUND",
        libxl_error::ERROR_ABORTED => "ERROR_ABORTED",
        libxl_error::ERROR_NOTFOUND => "ERROR_NOTFOUND",
        libxl_error::ERROR_DOMAIN_DESTROYED => "ERROR_DOMAIN_DESTROYED",
        libxl_error::ERROR_FEATURE_REMOVED => "ERROR_FEATURE_REMOVED",
        libxl_error::ERROR_PROTOCOL_ERROR_QMP => "ERROR_PROTOCOL_ERROR_QMP",
        libxl_error::ERROR_UNKNOWN_QMP_ERROR => "ERROR_UNKNOWN_QMP_ERROR",
        libxl_error::ERROR_QMP_GENERIC_ERROR => "ERROR_QMP_GENERIC_ERROR",
        libxl_error::ERROR_QMP_COMMAND_NOT_FOUND => "ERROR_QMP_COMMAND_NOT_FOUND",
        libxl_error::ERROR_QMP_DEVICE_NOT_ACTIVE => "ERROR_QMP_DEVICE_NOT_ACTIVE",
        libxl_error::ERROR_QMP_DEVICE_NOT_FOUND => "ERROR_QMP_DEVICE_NOT_FOUND",
        libxl_error::ERROR_QEMU_API => "ERROR_QEMU_API",
        _ => "an unknown error",
    };
    format!("{name} ({code})")
}
