//! What a command can end with: an exit code for scripts, and for people what happened and what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use xenith_common_ids::TaskId;
use xenith_orchestrator_client::ClientError;
use xenith_orchestrator_types::console::close;
use xenith_orchestrator_types::task::{Task, TaskStatus};
use xenith_orchestrator_types::{ApiError, Reason};

use crate::words;

#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The arguments do not fit together, or a file has what nobody takes.
    #[error("{problem}")]
    Usage { problem: String, next: Option<String> },
    #[error("cannot {what} {path}", path = path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{title}: {status}", title = .0.title, status = words::ended(.0.status))]
    TaskEnded(Box<Task>),
    #[error("task {task} still runs after {}", humantime::format_duration(*.waited))]
    StillRunning { task: TaskId, waited: Duration },
    #[error("{title}: runs on as task {task}")]
    Interrupted { title: String, task: TaskId },
    #[error("nothing was done")]
    Declined,
    #[error("the audit log is not whole: {problem}")]
    AuditBroken { problem: String },
    /// The file that is to be imported.
    #[error(transparent)]
    Import(xenith_vmware_import::ImportError),
    /// Of many, each told above.
    #[error("{failed} of {of} were left alone")]
    Partly { failed: usize, of: usize },
    /// Disks did not get to their host.
    #[error("{problem}")]
    Upload { problem: String, next: String },
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl CliError {
    pub fn usage(problem: impl Into<String>) -> Self {
        Self::Usage { problem: problem.into(), next: None }
    }

    pub fn usage_next(problem: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Usage { problem: problem.into(), next: Some(next.into()) }
    }

    /// Documented in docs/cli.md and `xenith --help`; tested. 2 is clap's for wrong usage, too.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => client_code(error),
            Self::Usage { .. } => 2,
            Self::Import(error) => {
                if error.exit_code() == 2 {
                    2
                } else {
                    1
                }
            }
            Self::Upload { .. } => 6,
            Self::File { .. } | Self::Declined | Self::AuditBroken { .. } | Self::Partly { .. } => 1,
            Self::TaskEnded(_) => 7,
            Self::StillRunning { .. } => 8,
            Self::Interrupted { .. } => 130,
            // The reader has what it wanted: `xenith vm list | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 1,
        }
    }

    /// Further lines: why, and what stands behind it.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Client(ClientError::Api(error)) => api_details(error),
            Self::Client(ClientError::Unreachable { source, .. }) => vec![words::io(source)],
            Self::Client(ClientError::Unexpected { source, .. }) => vec![source.to_string()],
            Self::File { source, .. } => vec![words::io(source)],
            Self::TaskEnded(task) => task.message.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// The next step, where there is one.
    pub fn next(&self) -> Option<String> {
        match self {
            Self::Client(error) => client_next(error),
            Self::Usage { next, .. } => next.clone(),
            Self::Upload { next, .. } => Some(next.clone()),
            Self::TaskEnded(task) => task_next(task),
            Self::StillRunning { task, .. } | Self::Interrupted { task, .. } => {
                Some(format!("follow it: xenith task wait {task}; stop it: xenith task cancel {task}"))
            }
            Self::AuditBroken { .. } => {
                Some("keep a copy of the orchestrator's data folder before anything else is done".into())
            }
            Self::File { .. } | Self::Declined | Self::Output(_) | Self::Import(_) | Self::Partly { .. } => {
                None
            }
        }
    }
}

impl From<ApiError> for CliError {
    fn from(error: ApiError) -> Self {
        Self::Client(ClientError::Api(error))
    }
}

fn client_code(error: &ClientError) -> u8 {
    match error {
        ClientError::Api(error) => reason_code(error.reason()),
        ClientError::BadUrl { .. } | ClientError::Refused { code: -32601, .. } => 2,
        ClientError::Unreachable { .. }
        | ClientError::Untrusted { .. }
        | ClientError::NotOrchestrator { .. }
        | ClientError::Lost { .. }
        | ClientError::TimedOut { .. } => 6,
        ClientError::ConsoleClosed { code: close::NOT_ALLOWED, .. } => 4,
        ClientError::ConsoleClosed { code: close::LOST, .. } => 6,
        ClientError::Refused { .. }
        | ClientError::ConsoleClosed { .. }
        | ClientError::Unexpected { .. }
        | ClientError::Tls(_) => 1,
    }
}

pub fn reason_code(reason: Reason) -> u8 {
    match reason {
        Reason::Invalid => 2,
        Reason::NotFound | Reason::Ambiguous => 3,
        Reason::Unauthenticated | Reason::Forbidden => 4,
        Reason::Conflict | Reason::WrongState | Reason::NoPlacement => 5,
        Reason::HostUnreachable => 6,
        Reason::HostFailed | Reason::Throttled | Reason::ReadOnly | Reason::Internal => 1,
    }
}

fn api_details(error: &ApiError) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(field) = error.data.field.as_ref().filter(|field| !error.message.contains(field.as_str())) {
        lines.push(format!("field: {field}"));
    }
    lines.extend(error.data.candidates.iter().map(|candidate| format!("could be: {candidate}")));
    lines.extend(error.data.detail.iter().cloned());
    lines
}

fn client_next(error: &ClientError) -> Option<String> {
    let again = |key: &Option<String>| {
        key.as_ref().map(|key| {
            format!(
                "it may have taken effect; repeat the command with --idempotency-key {key}, then it does so once"
            )
        })
    };
    match error {
        ClientError::Api(error) => reason_next(error),
        ClientError::Unreachable { .. } => {
            Some("check the address (xenith context list) and that the orchestrator runs".into())
        }
        ClientError::Untrusted { .. } => Some(
            "nothing was sent; if the certificate was changed on purpose, get its fingerprint from the \
             orchestrator's log and run: xenith login URL --fingerprint SHA256"
                .into(),
        ),
        ClientError::NotOrchestrator { .. } => Some("check the address: xenith context list".into()),
        ClientError::Lost { key, .. } | ClientError::TimedOut { key, .. } => again(key),
        ClientError::Refused { code: -32601, .. } => {
            Some("xenith rpc rpc.discover lists the methods; `xenith system info` tells its version".into())
        }
        ClientError::Unexpected { .. } => Some("compare `xenith --version` with `xenith system info`".into()),
        ClientError::BadUrl { .. }
        | ClientError::Refused { .. }
        | ClientError::ConsoleClosed { .. }
        | ClientError::Tls(_) => None,
    }
}

fn reason_next(error: &ApiError) -> Option<String> {
    let next = match error.reason() {
        Reason::Unauthenticated if std::env::var_os("XENITH_TOKEN").is_some() => {
            "XENITH_TOKEN is set; unset it or give it a token that works".to_owned()
        }
        Reason::Unauthenticated => "sign in: xenith login".to_owned(),
        Reason::Forbidden => "xenith whoami shows your roles; an admin can change them".to_owned(),
        Reason::Ambiguous => "name it by its id".to_owned(),
        Reason::HostUnreachable => "xenith host list shows which hosts are heard".to_owned(),
        Reason::Throttled => match error.data.retry_after_s {
            Some(seconds) => format!("try again in {seconds} s"),
            None => "try again in a while".to_owned(),
        },
        Reason::ReadOnly => {
            "free space on the orchestrator's disk; xenith system health tells more".to_owned()
        }
        Reason::Internal => "the orchestrator's log has more".to_owned(),
        Reason::NotFound
        | Reason::Invalid
        | Reason::Conflict
        | Reason::WrongState
        | Reason::NoPlacement
        | Reason::HostFailed => return None,
    };
    Some(next)
}

fn task_next(task: &Task) -> Option<String> {
    let id = task.id;
    match task.status {
        TaskStatus::Parked => Some(format!(
            "put right what it says, then: xenith task retry {id}; or leave it so: xenith task abandon {id}"
        )),
        TaskStatus::RolledBack => Some(format!("all was undone; its steps: xenith task get {id}")),
        TaskStatus::Abandoned => Some(format!("its steps: xenith task get {id}")),
        TaskStatus::Running | TaskStatus::RollingBack | TaskStatus::Done => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_exit_code() {
        let codes = Reason::ALL.map(|reason| (reason.as_str(), reason_code(reason)));
        assert_eq!(
            codes,
            [
                ("unauthenticated", 4),
                ("forbidden", 4),
                ("not-found", 3),
                ("ambiguous", 3),
                ("invalid", 2),
                ("conflict", 5),
                ("wrong-state", 5),
                ("no-placement", 5),
                ("host-unreachable", 6),
                ("host-failed", 1),
                ("throttled", 1),
                ("read-only", 1),
                ("internal", 1),
            ]
        );
    }

    /// The rows of a section of a manual.
    fn rows(manual: &'static str, section: &str) -> Vec<&'static str> {
        let found = manual.split("\n## ").find(|text| text.lines().next() == Some(section));
        let found = found.unwrap_or_else(|| panic!("there is no section {section}"));
        found.lines().filter(|line| line.starts_with("| ")).collect()
    }

    #[test]
    fn the_manual_tells_each_reason_with_its_codes() {
        let rows = rows(include_str!("../../../docs/errors.md"), "API");
        let words: Vec<_> = rows.into_iter().filter(|row| row.starts_with("| `")).collect();
        assert_eq!(words.len(), Reason::ALL.len(), "one row for each: {words:#?}");
        for reason in Reason::ALL {
            let row = format!("| `{}` | {} | {} |", reason.as_str(), reason.code(), reason_code(reason));
            assert!(words.iter().any(|shown| shown.starts_with(&row)), "docs/errors.md needs a row {row:?}");
        }
    }

    #[test]
    fn the_manual_tells_each_exit_code() {
        let rows = rows(include_str!("../../../docs/cli.md"), "Exit codes");
        let told: Vec<u8> =
            rows.iter().filter_map(|row| row.split('|').nth(1)?.trim().parse().ok()).collect();
        assert_eq!(told, [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]);
        assert!(Reason::ALL.iter().all(|reason| told.contains(&reason_code(*reason))));
    }
}
