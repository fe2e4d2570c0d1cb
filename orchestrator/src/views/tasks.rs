//! The read model of tasks: which there are, for the list. What a task is doing right now is asked of the engine.
//!
//! One task writes it. It starts from a full read of the log and follows the engine's events; if it was too slow for
//! those it reads all again. Whose tasks a caller may see depends on the VMs and hosts that they work on, so a VM
//! that comes, goes, or changes its pool or tags changes the rows of its tasks. (A host stays in its pool.)
//!
//! Bounded: of the tasks that are over, the newest [`KEPT`] are kept, in the log as here.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use xenith_common_ids::{HostId, SagaId, TaskId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_inventory::filter::{self, Filter};
use xenith_orchestrator_inventory::task::{TaskRow, TaskStatus, Tasks};
use xenith_orchestrator_inventory::{Delta, Inventory, Noun, PageRequest, Scope};
use xenith_orchestrator_saga::{EventKind, Outcome, Phase, SagaEngine, SagaError, SagaEvent, SagaRecord};

use super::Views;

/// Tasks that are over, kept for people to look at. What was asked for and how it ended is in the audit log for
/// ever.
pub const KEPT: usize = 100_000;
/// So many more before the oldest are dropped: in pieces that are worth a commit.
const SLACK: usize = 1000;
/// Records read at once.
const PAGE: usize = 500;

/// See the module's documentation.
pub struct TaskList {
    pub rows: Inventory<Tasks>,
    engine: SagaEngine,
    views: Arc<Views>,
    of_vm: Mutex<HashMap<VmId, HashSet<TaskId>>>,
    waiting: mpsc::Sender<oneshot::Sender<()>>,
}

impl std::fmt::Debug for TaskList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TaskList({:?})", self.rows)
    }
}

const fn status(phase: &Phase) -> TaskStatus {
    match phase {
        Phase::Running { .. } => TaskStatus::Running,
        Phase::Unwinding { .. } => TaskStatus::RollingBack,
        Phase::Parked { .. } | Phase::Ended { outcome: Outcome::Parked { .. } } => TaskStatus::Parked,
        Phase::Ended { outcome: Outcome::Done } => TaskStatus::Done,
        Phase::Ended { outcome: Outcome::RolledBack { .. } } => TaskStatus::RolledBack,
        Phase::Ended { outcome: Outcome::Abandoned { .. } } => TaskStatus::Abandoned,
    }
}

fn vms(subjects: &[String]) -> impl Iterator<Item = VmId> + '_ {
    subjects.iter().filter_map(|subject| subject.strip_prefix("vm/")?.parse().ok())
}

fn hosts(subjects: &[String]) -> impl Iterator<Item = HostId> + '_ {
    subjects.iter().filter_map(|subject| subject.strip_prefix("host/")?.parse().ok())
}

/// What the list of tasks that are over, oldest first, is asked with.
fn over() -> Filter {
    filter::parse(Tasks::SCHEMA, "-status:running,rolling-back,parked").unwrap_or(Filter::All)
}

impl TaskList {
    /// Reads everything, then follows until `tasks` end. Before sagas are recovered, so that nothing is missed.
    pub async fn start(
        engine: &SagaEngine,
        views: &Arc<Views>,
        tasks: &TaskSet,
    ) -> Result<Arc<Self>, SagaError> {
        let events = engine.subscribe();
        let (waiting, asked) = mpsc::channel(64);
        let mut list = Self {
            rows: Inventory::new(),
            engine: engine.clone(),
            views: Arc::clone(views),
            of_vm: Mutex::default(),
            waiting,
        };
        let rows = list.read().await?;
        list.rows = Inventory::load(rows);
        let list = Arc::new(list);
        let (follower, token) = (Arc::clone(&list), tasks.token());
        tasks.spawn("task-list", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = follower.follow(events, asked) => {}
            }
        });
        Ok(list)
    }

    /// Waits until everything that has happened by now is in the rows: who began a task sees it in the list.
    pub async fn caught_up(&self) {
        let (done, heard) = oneshot::channel();
        if self.waiting.send(done).await.is_ok() {
            // An error: the orchestrator is stopping.
            let _stopping = heard.await;
        }
    }

    async fn read(&self) -> Result<Vec<TaskRow>, SagaError> {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = self.engine.active(after, PAGE).await?;
            rows.extend(page.iter().map(|(id, record)| self.row(*id, record)));
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let (mut after, mut ended) = (None, 0);
        loop {
            let (page, next) = self.engine.ended(after, PAGE).await?;
            ended += page.len();
            rows.extend(page.iter().map(|(id, record)| self.row(*id, record)));
            match next {
                Some(next) if ended < KEPT => after = Some(next),
                _ => return Ok(rows),
            }
        }
    }

    fn row(&self, id: SagaId, record: &SagaRecord) -> TaskRow {
        let id = TaskId::from(id);
        {
            let mut of_vm = self.of_vm.lock().unwrap_or_else(PoisonError::into_inner);
            for vm in vms(&record.meta.subjects) {
                of_vm.entry(vm).or_default().insert(id);
            }
        }
        let (pools, tags) = self.seen_by(&record.meta.subjects);
        TaskRow {
            id,
            title: record.meta.title.clone(),
            method: record.meta.labels.get("method").cloned().unwrap_or_default(),
            status: status(&record.phase),
            user: Some(record.meta.who.clone()),
            subjects: record.meta.subjects.clone(),
            pools,
            tags,
            created: Some(record.created),
            ended: record.ended,
        }
    }

    /// Whose pools and tags show a task to who does not see everything.
    fn seen_by(&self, subjects: &[String]) -> (Vec<String>, Vec<String>) {
        let (mut pools, mut tags) = (Vec::new(), Vec::new());
        for vm in vms(subjects).filter_map(|vm| self.views.vm(vm)) {
            pools.extend(self.views.pool(vm.pool).map(|pool| pool.name));
            tags.extend(vm.tags.iter().cloned());
        }
        for host in hosts(subjects).filter_map(|host| self.views.host(host)) {
            pools.extend(self.views.pool(host.pool).map(|pool| pool.name));
        }
        for labels in [&mut pools, &mut tags] {
            labels.sort_unstable();
            labels.dedup();
        }
        (pools, tags)
    }

    async fn follow(
        &self,
        mut events: broadcast::Receiver<SagaEvent>,
        mut asked: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        loop {
            tokio::select! {
                event = events.recv() => self.hear(event).await,
                vms = self.views.regrouped() => self.regroup(&vms),
                Some(done) = asked.recv() => {
                    // As many as there are now: what comes meanwhile is not waited for.
                    for _ in 0..events.len() {
                        self.hear(events.recv().await).await;
                    }
                    let _asker_is_gone = done.send(());
                }
            }
            if self.rows.len() > KEPT + SLACK {
                self.trim(None).await;
            }
        }
    }

    async fn hear(&self, event: Result<SagaEvent, RecvError>) {
        match event {
            Ok(event) => match event.what {
                EventKind::Queued
                | EventKind::Started { resumed: true }
                | EventKind::Unwinding { .. }
                | EventKind::Ended { .. } => self.look_at(event.saga).await,
                _ => {}
            },
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "too much happened at once for the list of tasks; it reads all again");
                match self.read().await {
                    Ok(rows) => {
                        self.rows.apply(rows.into_iter().map(Delta::Put));
                    }
                    Err(error) => tracing::error!(%error, "tasks cannot be read"),
                }
            }
            // The engine is stopping, and so are we.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }

    async fn look_at(&self, saga: SagaId) {
        match self.engine.get(saga).await {
            Ok(record) => {
                self.rows.apply([Delta::Put(self.row(saga, &record))]);
            }
            Err(SagaError::NotFound(_)) => self.forget(&[TaskId::from(saga)]),
            Err(error) => tracing::warn!(%error, "a task cannot be read"),
        }
    }

    /// VMs came, went, or belong to others now.
    fn regroup(&self, changed: &HashSet<VmId>) {
        let tasks: HashSet<TaskId> = {
            let of_vm = self.of_vm.lock().unwrap_or_else(PoisonError::into_inner);
            changed.iter().filter_map(|vm| of_vm.get(vm)).flatten().copied().collect()
        };
        let again = tasks.into_iter().filter_map(|task| {
            let mut row = self.rows.get(task, &Scope::everything())?;
            (row.pools, row.tags) = self.seen_by(&row.subjects);
            Some(Delta::Put(row))
        });
        self.rows.apply(again);
    }

    /// Those that were left as they are, the newest thousand.
    #[must_use]
    pub fn abandoned(&self) -> Vec<SagaId> {
        self.newest("status:abandoned")
    }

    /// Restores and proofs that were rolled back or left as they are, the newest thousand.
    #[must_use]
    pub fn restores_given_up(&self) -> Vec<SagaId> {
        self.newest("method:backup.restore,backup.prove status:rolled-back,abandoned")
    }

    fn newest(&self, text: &str) -> Vec<SagaId> {
        let Ok(filter) = filter::parse(Tasks::SCHEMA, text) else { return Vec::new() };
        let page = self.rows.page(&PageRequest::first(filter, Scope::everything(), SLACK));
        page.map_or_else(|_| Vec::new(), |page| page.rows.iter().map(|row| SagaId::from(row.id)).collect())
    }

    fn forget(&self, tasks: &[TaskId]) {
        {
            let mut of_vm = self.of_vm.lock().unwrap_or_else(PoisonError::into_inner);
            for task in tasks {
                let Some(row) = self.rows.get(*task, &Scope::everything()) else { continue };
                for vm in vms(&row.subjects) {
                    if let Some(of_vm) = of_vm.get_mut(&vm) {
                        of_vm.remove(task);
                    }
                }
            }
            of_vm.retain(|_, tasks| !tasks.is_empty());
        }
        self.rows.apply(tasks.iter().copied().map(Delta::Remove));
    }

    /// Drops the oldest of those that are over: those that are too many, and those begun before a time.
    pub async fn trim(&self, before: Option<OffsetDateTime>) {
        let mut request = PageRequest::first(over(), Scope::everything(), SLACK);
        "created".clone_into(&mut request.sort);
        loop {
            let page = match self.rows.page(&request) {
                Ok(page) => page,
                Err(error) => return tracing::error!(%error, "old tasks cannot be found"),
            };
            let too_many = usize::try_from(page.total).unwrap_or(usize::MAX).saturating_sub(KEPT);
            let old = |(index, row): &(usize, TaskRow)| {
                *index < too_many || before.is_some_and(|before| row.created < Some(before))
            };
            let old: Vec<TaskId> =
                page.rows.into_iter().enumerate().take_while(old).map(|(_, row)| row.id).collect();
            if old.is_empty() {
                return;
            }
            let sagas: Vec<SagaId> = old.iter().map(|task| SagaId::from(*task)).collect();
            if let Err(error) = self.engine.delete_ended(&sagas).await {
                return tracing::warn!(%error, "old tasks could not be dropped");
            }
            self.forget(&old);
        }
    }
}
