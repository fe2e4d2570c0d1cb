//! Tasks: sagas as people see them.

use async_trait::async_trait;
use xenith_common_ids::{SagaId, TaskId};
use xenith_orchestrator_api::task::TaskApi;
use xenith_orchestrator_api::{Call, Sight};
use xenith_orchestrator_saga::{Outcome, Phase, SagaRecord, StepProgress};
use xenith_orchestrator_types::task::{ListTasks, StepStatus, Task, TaskRef, TaskStatus, TaskStep};
use xenith_orchestrator_types::{ApiError, ListRequest, Page, Permission};

use super::App;
use crate::errors::saga_error;

const fn saga_id(task: TaskId) -> SagaId {
    SagaId::from_bytes(*task.as_bytes())
}

/// A saga's record as a task.
#[must_use]
pub(crate) fn task_of(id: SagaId, record: &SagaRecord, progress: Option<StepProgress>) -> Task {
    let (status, message, at) = match &record.phase {
        Phase::Running { step } => (TaskStatus::Running, None, *step),
        Phase::Unwinding { step, reason } => (TaskStatus::RollingBack, Some(reason.clone()), *step),
        Phase::Parked { parked } => (TaskStatus::Parked, Some(parked.reason.clone()), parked.step),
        Phase::Ended { outcome } => match outcome {
            Outcome::Done => (TaskStatus::Done, None, record.steps.len()),
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
        id: TaskId::from_bytes(*id.as_bytes()),
        method: record.meta.labels.get("method").cloned().unwrap_or_default(),
        title: record.meta.title.clone(),
        subjects: record.meta.subjects.clone(),
        user: record.meta.labels.get("user").and_then(|user| user.parse().ok()),
        status,
        percent: u8::try_from(percent.min(100)).unwrap_or(100),
        message: message.or(progress.map(|progress| progress.message).filter(|message| !message.is_empty())),
        steps: record.steps.iter().enumerate().map(step).collect(),
        created: record.created,
        ended: record.ended,
    }
}

impl App {
    /// Whether any of a task's subjects is visible to the caller. A task about nothing that is left is for who
    /// sees everything.
    pub(crate) fn sees_task(&self, sight: &Sight, subjects: &[String]) -> bool {
        if *sight == Sight::All {
            return true;
        }
        subjects.iter().any(|subject| match subject.split_once('/') {
            Some(("vm", id)) => {
                let vm = id.parse().ok().and_then(|id| self.views.vm(id));
                vm.is_some_and(|vm| sight.covers(Some(vm.pool), &vm.tags))
            }
            Some(("host" | "vdi", _)) | None | Some(_) => false,
        })
    }

    /// The task, if the caller sees it and has `permission` for what it works on.
    async fn find_task(
        &self,
        call: &Call,
        task: TaskId,
        permission: Permission,
    ) -> Result<(SagaId, SagaRecord), ApiError> {
        let id = saga_id(task);
        let record = self.engine.get(id).await.map_err(|error| saga_error(&error))?;
        if !self.sees_task(&call.caller.sight(Permission::View), &record.meta.subjects) {
            return Err(ApiError::not_found("task", &task.to_string()));
        }
        if !self.sees_task(&call.caller.sight(permission), &record.meta.subjects) {
            return Err(call.caller.forbidden(permission));
        }
        Ok((id, record))
    }

    pub(crate) async fn task(&self, id: SagaId) -> Result<Task, ApiError> {
        let record = self.engine.get(id).await.map_err(|error| saga_error(&error))?;
        Ok(task_of(id, &record, self.engine.progress(id)))
    }
}

#[async_trait]
impl TaskApi for App {
    async fn list(&self, call: &Call, request: ListTasks) -> Result<Page<Task>, ApiError> {
        let sight = call.caller.sight(Permission::View);
        let about = match &request.vm {
            Some(vm) => Some(format!("vm/{}", self.find_vm(call, vm, Permission::View).await?.key)),
            None => None,
        };
        let wanted = |record: &SagaRecord| {
            self.sees_task(&sight, &record.meta.subjects)
                && about.as_ref().is_none_or(|about| record.meta.subjects.contains(about))
        };
        let limit = ListRequest { limit: request.limit, ..ListRequest::default() }.effective_limit();
        let mut tasks = self.tasks(&request, limit, &wanted).await?;
        tasks.sort_by(|a, b| b.created.cmp(&a.created).then(b.id.cmp(&a.id)));
        if let Some(after) = request.cursor.as_ref().and_then(|cursor| cursor.parse::<TaskId>().ok()) {
            tasks.retain(|task| task.id < after);
        }
        let total = tasks.len() as u64;
        let more = tasks.len() > limit;
        tasks.truncate(limit);
        let next = tasks.last().filter(|_| more).map(|task| task.id.to_string());
        Ok(Page { items: tasks, total, next })
    }

    async fn get(&self, call: &Call, request: TaskRef) -> Result<Task, ApiError> {
        let (id, record) = self.find_task(call, request.task, Permission::View).await?;
        Ok(task_of(id, &record, self.engine.progress(id)))
    }

    async fn cancel(&self, call: &Call, request: TaskRef) -> Result<Task, ApiError> {
        let (id, _) = self.find_task(call, request.task, Permission::Operate).await?;
        self.engine.cancel(id, &call.caller.name).await.map_err(|error| saga_error(&error))?;
        self.task(id).await
    }

    async fn retry(&self, call: &Call, request: TaskRef) -> Result<Task, ApiError> {
        let (id, _) = self.find_task(call, request.task, Permission::Operate).await?;
        self.engine.retry(id).await.map_err(|error| saga_error(&error))?;
        self.task(id).await
    }

    async fn abandon(&self, call: &Call, request: TaskRef) -> Result<Task, ApiError> {
        let (id, record) = self.find_task(call, request.task, Permission::View).await?;
        self.engine.abandon(id, &call.caller.name).await.map_err(|error| saga_error(&error))?;
        // What it held is free again: a person has decided that.
        for subject in &record.meta.subjects {
            if let Some(vm) = subject.strip_prefix("vm/").and_then(|vm| vm.parse().ok()) {
                self.db
                    .vms
                    .modify(&vm, |record: &mut crate::model::VmRecord| {
                        if record.held_by == Some(id) {
                            record.held_by = None;
                        }
                    })
                    .await
                    .map_err(|error| crate::errors::store_error(&error))?;
            }
        }
        self.task(id).await
    }
}

impl App {
    async fn tasks(
        &self,
        request: &ListTasks,
        limit: usize,
        wanted: &(dyn Fn(&SagaRecord) -> bool + Sync),
    ) -> Result<Vec<Task>, ApiError> {
        let mut tasks = Vec::new();
        let mut after = None;
        loop {
            let (page, next) = self.engine.active(after, 500).await.map_err(|error| saga_error(&error))?;
            for (id, record) in page.iter().filter(|(_, record)| wanted(record)) {
                tasks.push(task_of(*id, record, self.engine.progress(*id)));
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        if request.active {
            return Ok(tasks);
        }
        // Newest first: only as many pages as the answer needs.
        let before = request.cursor.as_ref().and_then(|cursor| cursor.parse::<TaskId>().ok());
        let (mut after, mut ended) = (None, 0);
        loop {
            let (page, next) = self.engine.ended(after, 200).await.map_err(|error| saga_error(&error))?;
            for (id, record) in page.iter().filter(|(_, record)| wanted(record)) {
                let task = task_of(*id, record, None);
                if before.is_none_or(|before| task.id < before) {
                    ended += 1;
                    tasks.push(task);
                }
            }
            match next {
                Some(next) if ended <= limit => after = Some(next),
                _ => return Ok(tasks),
            }
        }
    }
}
