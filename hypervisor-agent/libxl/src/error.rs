//! libxl's error codes and log lines in an administrator's words.

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

/// What the caller is told. How long libxl waited for what it gave up stands in its sources only, other for each
/// operation (6 s to 60 s): it is not told rather than guessed.
pub fn from_failure(failure: &Failure, subject: Subject) -> HypervisorError {
    let operation = failure.operation;
    if let Some(after) = failure.gave_up_after {
        return HypervisorError::TimedOut { operation, after: Some(after), log: failure.lines() };
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
            HypervisorError::GuestUnresponsive { domid, operation, after: None, log: failure.lines() }
        }
        (libxl_error::ERROR_DEVICE_EXISTS, Subject::Device { domid, device }) => {
            HypervisorError::AlreadyAttached { domid, device }
        }
        (libxl_error::ERROR_TIMEDOUT, _) => {
            HypervisorError::TimedOut { operation, after: None, log: failure.lines() }
        }
        (libxl_error::ERROR_NOMEM, _) => HypervisorError::OutOfMemory { operation, log: failure.lines() },
        (_, Subject::Device { device, .. }) => {
            let detail = format!("{operation} failed with {}: {}", code_name(failure.code), said(failure));
            HypervisorError::Device { device, detail }
        }
        _ => HypervisorError::Failed { operation, code: code_name(failure.code), log: said(failure) },
    }
}

/// libxl's lines, and before them what its code stands for, where the lines alone would puzzle.
fn said(failure: &Failure) -> String {
    let log = failure.log();
    let meaning = match libxl_error(failure.code) {
        libxl_error::ERROR_INVAL | libxl_error::ERROR_VNUMA_CONFIG_INVALID => {
            "the toolstack does not accept this combination of settings"
        }
        libxl_error::ERROR_NOT_READY => "it is not ready for this yet; try again in a moment",
        libxl_error::ERROR_LOCK_FAIL => {
            "another toolstack, such as xl, is at work on the domain; try again when it is done"
        }
        libxl_error::ERROR_UNKNOWN_CHILD | libxl_error::ERROR_BADFAIL => {
            "a helper process of the toolstack ended in a way that it does not know"
        }
        libxl_error::ERROR_OSEVENT_REG_FAIL | libxl_error::ERROR_BUFFERFULL => {
            "the agent and the toolstack do not understand each other; restart the agent, and report it"
        }
        libxl_error::ERROR_JSON_CONFIG_EMPTY => {
            "another toolstack left no configuration of the domain behind"
        }
        libxl_error::ERROR_CHECKPOINT_DEVOPS_DOES_NOT_MATCH
        | libxl_error::ERROR_CHECKPOINT_DEVICE_NOT_SUPPORTED => "one of its devices cannot be checkpointed",
        libxl_error::ERROR_NOTFOUND => "what it looks for is not there",
        libxl_error::ERROR_ABORTED => "it was called off",
        libxl_error::ERROR_PROTOCOL_ERROR_QMP
        | libxl_error::ERROR_UNKNOWN_QMP_ERROR
        | libxl_error::ERROR_QMP_GENERIC_ERROR
        | libxl_error::ERROR_QMP_COMMAND_NOT_FOUND
        | libxl_error::ERROR_QMP_DEVICE_NOT_ACTIVE
        | libxl_error::ERROR_QMP_DEVICE_NOT_FOUND
        | libxl_error::ERROR_QEMU_API => {
            "the domain's device model (QEMU) refused, or does not answer; its log is in /var/log/xen"
        }
        _ => return log,
    };
    format!("{meaning} ({log})")
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::raw::{Level, LogLine};

    const BINDINGS: &str = include_str!("../../libxl-sys/src/bindings_4_17.rs");

    /// Names and numbers as libxl's header has them: bindings of a newer one may have more.
    fn codes_of_the_bindings() -> Vec<(&'static str, i32)> {
        let code = |line: &'static str| {
            let (name, number) =
                line.trim().strip_prefix("pub const ")?.split_once(": libxl_error = libxl_error(")?;
            Some((name, number.strip_suffix(");")?.parse::<i32>().ok()?))
        };
        BINDINGS.lines().filter_map(code).collect()
    }

    fn failure(code: i32) -> Failure {
        Failure { operation: "pause", code, log: Vec::new(), gave_up_after: None }
    }

    #[test]
    fn every_code_has_its_name_and_reads_well_of_every_subject() {
        let domid = DomId(7);
        let device = Subject::Device { domid, device: "xvdb".to_owned() };
        let codes = codes_of_the_bindings();
        assert!(codes.len() >= 32, "{codes:?}");
        for (name, code) in codes {
            assert_eq!(code_name(code), format!("{name} ({code})"));
            for subject in [Subject::Host, Subject::New, Subject::Domain(domid), device.clone()] {
                let error = from_failure(&failure(code), subject.clone());
                let text = error.to_string();
                let about = match subject {
                    Subject::Device { .. } => ["xvdb", "domain 7", "pause"].as_slice(),
                    Subject::Domain(_) => ["domain 7", "pause"].as_slice(),
                    Subject::Host | Subject::New => ["pause"].as_slice(),
                };
                assert!(about.iter().any(|word| text.contains(word)), "{code} of {subject:?}: {text}");
            }
        }
        assert_eq!(code_name(-33), "an unknown error (-33)");
    }

    #[test]
    fn what_a_caller_may_have_to_act_on_has_a_type() {
        let domain = || Subject::Domain(DomId(7));
        let device = || Subject::Device { domid: DomId(7), device: "xvdb".to_owned() };
        type Fits = fn(&HypervisorError) -> bool;
        let table: [(libxl_error, Subject, Fits); 13] = [
            (libxl_error::ERROR_DOMAIN_NOTFOUND, domain(), |e| *e == HypervisorError::NoSuchDomain(DomId(7))),
            (libxl_error::ERROR_DOMAIN_DESTROYED, device(), |e| {
                *e == HypervisorError::NoSuchDomain(DomId(7))
            }),
            // Of a domain that is being made there is no number that could be told.
            (libxl_error::ERROR_DOMAIN_NOTFOUND, Subject::New, |e| {
                matches!(e, HypervisorError::Failed { .. })
            }),
            (libxl_error::ERROR_GUEST_TIMEDOUT, domain(), |e| {
                matches!(e, HypervisorError::GuestUnresponsive { .. })
            }),
            (libxl_error::ERROR_TIMEDOUT, domain(), |e| matches!(e, HypervisorError::TimedOut { .. })),
            (libxl_error::ERROR_TIMEDOUT, device(), |e| matches!(e, HypervisorError::TimedOut { .. })),
            (libxl_error::ERROR_DEVICE_EXISTS, device(), |e| {
                e.to_string() == "xvdb is attached to domain 7 already"
            }),
            (libxl_error::ERROR_NOMEM, Subject::New, |e| matches!(e, HypervisorError::OutOfMemory { .. })),
            (libxl_error::ERROR_NI, domain(), |e| matches!(e, HypervisorError::Unsupported { .. })),
            (libxl_error::ERROR_NOPARAVIRT, domain(), |e| matches!(e, HypervisorError::Unsupported { .. })),
            (libxl_error::ERROR_VERSION, Subject::Host, |e| matches!(e, HypervisorError::Unsupported { .. })),
            (libxl_error::ERROR_LOCK_FAIL, domain(), |e| e.is_retryable() && e.to_string().contains("xl")),
            (libxl_error::ERROR_QMP_DEVICE_NOT_FOUND, device(), |e| e.to_string().contains("QEMU")),
        ];
        for (code, subject, fits) in table {
            let error = from_failure(&failure(code.0), subject.clone());
            assert!(fits(&error), "{} of {subject:?}: {error:?}", code_name(code.0));
        }
    }

    #[test]
    fn one_that_was_given_up_says_after_how_long() {
        let after = Some(Duration::from_secs(90));
        let given_up = Failure { gave_up_after: after, ..failure(libxl_error::ERROR_ABORTED.0) };
        let error = from_failure(&given_up, Subject::Domain(DomId(7)));
        assert_eq!(error, HypervisorError::TimedOut { operation: "pause", after, log: String::new() });
    }

    #[test]
    fn what_libxl_wrote_is_told_and_no_time_that_it_did_not_tell() {
        let line =
            "libxl: libxl_exec.c:117:libxl_report_child_exitstatus: /etc/xen/scripts/block add [4711] died";
        let log = vec![LogLine { level: Level::Error, text: line.to_owned() }];
        for code in [libxl_error::ERROR_TIMEDOUT, libxl_error::ERROR_GUEST_TIMEDOUT, libxl_error::ERROR_NOMEM]
        {
            for subject in
                [Subject::Domain(DomId(7)), Subject::Device { domid: DomId(7), device: "xvdb".to_owned() }]
            {
                let failed = Failure { log: log.clone(), ..failure(code.0) };
                let text = from_failure(&failed, subject.clone()).to_string();
                assert!(text.contains("scripts/block add [4711] died"), "{subject:?}: {text}");
                assert!(!text.contains("0s"), "{subject:?}: {text}");
            }
        }
    }
}
