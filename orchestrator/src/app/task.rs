//! Tasks: sagas as people see them.

use std::collections::HashSet;
use std::sync::LazyLock;

use async_trait::async_trait;
use xenith_common_ids::{SagaId, TaskId};
use xenith_orchestrator_api::task::TaskApi;
use xenith_orchestrator_api::{Call, Caller, Sight, methods};
use xenith_orchestrator_inventory::PageRequest;
use xenith_orchestrator_inventory::task::Tasks;
use xenith_orchestrator_saga::{Meta, Outcome, Phase, SagaError, SagaRecord, StepProgress};
use xenith_orchestrator_types::list::effective_limit;
use xenith_orchestrator_types::task::{ListTasks, StepStatus, Task, TaskRef, TaskStatus, TaskStep};
use xenith_orchestrator_types::{ApiError, Page, Permission};

use super::begin::{TOKEN, USER};
use super::{App, parse_filter};
use crate::errors::{saga_error, store_error};
use crate::model::HostRecord;
use crate::sagas::Said;

/// A saga's record as a task.
#[must_use]
pub(crate) fn task_of(id: SagaId, record: &SagaRecord, progress: Option<StepProgress>) -> Task {
    let (status, message, at) = match &record.phase {
        Phase::Running { step } => (TaskStatus::Running, None, *step),
        Phase::Unwinding { step, reason } => (TaskStatus::RollingBack, Some(reason.clone()), *step),
        Phase::Parked { parked } => (TaskStatus::Parked, Some(parked.reason.clone()), parked.step),
        Phase::Ended { outcome } => match outcome {
            Outcome::Done => (TaskStatus::Done, Said::of(record), record.steps.len()),
            Outcome::RolledBack { reason } => (TaskStatus::RolledBack, Some(reason.clone()), 0),
            Outcome::Parked { reason } => (TaskStatus::Parked, Some(reason.clone()), 0),
            Outcome::Abandoned { reason } => (TaskStatus::Abandoned, Some(reason.clone()), 0),
        },
    };
    let step = |(index, name): (usize, &String)| {
        let step = match status {
            TaskStatus::Done => StepStatus::Done,
            TaskStatus::RolledBack => StepStatus::Undone,
            _ if index < at => StepStatus::Done,
            TaskStatus::Running | TaskStatus::RollingBack if index == at => StepStatus::Running,
            TaskStatus::RollingBack => StepStatus::Undone,
            _ => StepStatus::Waiting,
        };
        TaskStep { name: name.clone(), status: step }
    };
    let within = progress.as_ref().map_or(0, |progress| usize::from(progress.percent));
    let count = record.steps.len().max(1);
    let percent = if status == TaskStatus::Done { 100 } else { (at * 100 + within) / count };
    Task {
        id: TaskId::from(id),
        method: record.meta.labels.get("method").cloned().unwrap_or_default(),
        title: record.meta.title.clone(),
        subjects: record.meta.subjects.clone(),
        user: record.meta.labels.get(USER).and_then(|user| user.parse().ok()),
        user_name: record.meta.who.clone(),
        status,
        percent: u8::try_from(percent.min(100)).unwrap_or(100),
        message: message.or(progress.map(|progress| progress.message).filter(|message| !message.is_empty())),
        steps: record.steps.iter().enumerate().map(step).collect(),
        created: record.created,
        ended: record.ended,
    }
}

/// What begins tasks that are an admin's affair.
static OF_ADMINS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let of_admins = [Permission::Administer, Permission::System, Permission::Secure];
    let all = methods().into_iter().filter(|info| of_admins.contains(&info.permission));
    all.map(|info| info.name).collect()
});

/// What it takes to cancel a task, or to try it again: to operate what it works on; to be an admin there, where that is what
/// it took to begin it. Who may not update a host neither stops that half-way nor has it begin once more.
fn to_interfere(meta: &Meta) -> Permission {
    let of_admins = meta.labels.get("method").is_some_and(|method| OF_ADMINS.contains(method.as_str()));
    if of_admins { Permission::Administer } else { Permission::Operate }
}

/// A token's task is that token's: who has another one of the same user may be meant to see less.
fn began(caller: &Caller, meta: &Meta) -> bool {
    let is = |label: &str, id: Option<String>| id.is_some() && meta.labels.get(label) == id.as_ref();
    let user = caller.user.map(|user| user.to_string());
    is(USER, user) && caller.token.is_none_or(|token| is(TOKEN, Some(token.to_string())))
}

impl App {
    /// Whether the caller began the task, or reaches its VM or the pool of its host. A task about nothing that is
    /// left is for who began it and who sees everything.
    pub(crate) fn sees_task(&self, caller: &Caller, permission: Permission, meta: &Meta) -> bool {
        let sight = caller.sight(permission);
        if sight == Sight::All || began(caller, meta) {
            return true;
        }
        meta.subjects.iter().any(|subject| self.covers_subject(&sight, subject) == Some(true))
    }

    /// Whether the caller is an admin of all VMs that the task works on, or of its hosts where it works on none that is
    /// there. To have begun it is not enough.
    fn administers_task(&self, caller: &Caller, meta: &Meta) -> bool {
        let sight = caller.sight(Permission::Administer);
        let covered = |kind: &str| -> Vec<bool> {
            let subjects = meta.subjects.iter().filter(|subject| subject.starts_with(kind));
            subjects.filter_map(|subject| self.covers_subject(&sight, subject)).collect()
        };
        let (vms, hosts) = (covered("vm/"), covered("host/"));
        let judged = if vms.is_empty() { hosts } else { vms };
        sight == Sight::All || (!judged.is_empty() && judged.into_iter().all(|covered| covered))
    }

    /// The task, if the caller sees it.
    async fn find_task(&self, call: &Call, task: TaskId) -> Result<(SagaId, SagaRecord), ApiError> {
        let id = SagaId::from(task);
        let record = self.engine.get(id).await.map_err(|error| saga_error(&error))?;
        if !self.sees_task(&call.caller, Permission::View, &record.meta) {
            return Err(ApiError::not_found("task", &task.to_string()));
        }
        Ok((id, record))
    }

    /// As [`Self::find_task`], one that the caller may cancel and retry.
    async fn find_own_task(&self, call: &Call, task: TaskId) -> Result<SagaId, ApiError> {
        let (id, record) = self.find_task(call, task).await?;
        let needed = to_interfere(&record.meta);
        if !self.sees_task(&call.caller, needed, &record.meta) {
            return Err(call.caller.forbidden(needed));
        }
        Ok(id)
    }

    pub(crate) async fn task(&self, id: SagaId) -> Result<Task, ApiError> {
        let record = self.engine.get(id).await.map_err(|error| saga_error(&error))?;
        Ok(task_of(id, &record, self.engine.progress(id)))
    }
}

#[async_trait]
impl TaskApi for App {
    async fn list(&self, call: &Call, request: ListTasks) -> Result<Page<Task>, ApiError> {
        let mut filter = parse_filter::<Tasks>(&request.filter)?;
        if request.active {
            filter = filter.and(parse_filter::<Tasks>("status:running,rolling-back,parked")?);
        }
        if let Some(vm) = &request.vm {
            let vm = self.find_vm(call, vm, Permission::View).await?.key;
            filter = filter.and(parse_filter::<Tasks>(&format!("subject:=\"vm/{vm}\""))?);
        }
        self.tasks.caught_up().await;
        let wanted = PageRequest {
            filter,
            scope: self.scope(&call.caller),
            sort: request.sort,
            cursor: request.cursor,
            limit: effective_limit(request.limit),
        };
        let page = self.page(&self.tasks.rows, wanted).await?;
        let mut items = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            let id = SagaId::from(row.id);
            match self.engine.get(id).await {
                // Who may see it is known for certain only now: its VM may have gone since the row was written.
                Ok(record) if self.sees_task(&call.caller, Permission::View, &record.meta) => {
                    items.push(task_of(id, &record, self.engine.progress(id)));
                }
                Ok(_) => {}
                // Dropped since the row was read.
                Err(SagaError::NotFound(_)) => {}
                Err(error) => return Err(saga_error(&error)),
            }
        }
        Ok(Page { items, total: page.total, next: page.next, revision: None })
    }

    async fn get(&self, call: &Call, request: TaskRef) -> Result<Task, ApiError> {
        let (id, record) = self.find_task(call, request.task).await?;
        Ok(task_of(id, &record, self.engine.progress(id)))
    }

    async fn cancel(&self, call: &Call, request: TaskRef) -> Result<Task, ApiError> {
        let id = self.find_own_task(call, request.task).await?;
        self.engine.cancel(id, &call.caller.name).await.map_err(|error| saga_error(&error))?;
        self.task(id).await
    }

    async fn retry(&self, call: &Call, request: TaskRef) -> Result<Task, ApiError> {
        let id = self.find_own_task(call, request.task).await?;
        self.engine.retry(id).await.map_err(|error| saga_error(&error))?;
        self.task(id).await
    }

    async fn abandon(&self, call: &Call, request: TaskRef) -> Result<Task, ApiError> {
        let (id, record) = self.find_task(call, request.task).await?;
        if !self.administers_task(&call.caller, &record.meta) {
            return Err(call.caller.forbidden(Permission::Administer));
        }
        self.engine.abandon(id, &call.caller.name).await.map_err(|error| saga_error(&error))?;
        // What it held is free again: a person has decided that.
        for subject in &record.meta.subjects {
            if let Some(host) = subject.strip_prefix("host/").and_then(|host| host.parse().ok()) {
                self.db
                    .hosts
                    .modify(&host, |record: &mut HostRecord| record.let_go(id))
                    .await
                    .map_err(|error| store_error(&error))?;
            }
            if let Some(vm) = subject.strip_prefix("vm/").and_then(|vm| vm.parse().ok()) {
                self.db
                    .vms
                    .modify(&vm, |record: &mut crate::model::VmRecord| {
                        if record.held_by == Some(id) {
                            record.held_by = None;
                        }
                    })
                    .await
                    .map_err(|error| store_error(&error))?;
            }
        }
        self.task(id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_begin_a_task_of_admins_may_not_stop_it() {
        let begun_by = |method: &str| Meta {
            labels: [("method".to_owned(), method.to_owned())].into(),
            ..Meta::default()
        };
        for (method, needed) in [
            ("vm.start", Permission::Operate),
            ("vm.create", Permission::Operate),
            ("ha.restart", Permission::Operate),
            ("pool.update", Permission::Administer),
            ("host.set_management", Permission::Administer),
            ("import.start", Permission::Administer),
        ] {
            assert_eq!(to_interfere(&begun_by(method)), needed, "{method}");
        }
        assert_eq!(to_interfere(&Meta::default()), Permission::Operate);
    }
}
