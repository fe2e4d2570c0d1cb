//! Starting sagas, and what is promised to them before a host's own figures show it.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use xenith_common_ids::{HostId, SagaId, TaskId};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_saga::{Meta, Saga, SagaError};
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use crate::errors::{saga_error, store_error};
use crate::model::VmRecord;

/// The labels of a saga that say who began it, and with which token.
pub(super) const USER: &str = "user";
pub(super) const TOKEN: &str = "token";

/// How long a host takes to report memory that a start has taken: two of the agent's samples.
const PROMISE: Duration = Duration::from_secs(25);

/// Memory that starts under way will take, by host.
#[derive(Debug, Default)]
pub struct Promises(VecDeque<(Instant, HostId, u64)>);

impl Promises {
    fn drop_old(&mut self) {
        while self.0.front().is_some_and(|(made, ..)| made.elapsed() > PROMISE) {
            self.0.pop_front();
        }
    }

    pub fn make(&mut self, host: HostId, mib: u64) {
        self.drop_old();
        self.0.push_back((Instant::now(), host, mib));
    }

    /// In MiB.
    pub fn of(&mut self, host: HostId) -> u64 {
        self.drop_old();
        self.0.iter().filter(|(_, of, _)| *of == host).map(|(_, _, mib)| mib).sum()
    }
}

/// What a task is called and about.
pub(super) struct About<'a> {
    pub method: &'static str,
    pub title: String,
    pub subjects: Vec<String>,
    pub object: Option<&'a str>,
}

impl App {
    /// Logs a saga together with `transaction` and lets it run.
    pub(super) async fn begin<S: Saga>(
        &self,
        call: &Call,
        (id, params): (SagaId, &S::Params),
        about: About<'_>,
        transaction: Transaction,
    ) -> Result<TaskStarted, ApiError> {
        let labels = [("method".to_owned(), about.method.to_owned())];
        let user = call.caller.user.map(|user| (USER.to_owned(), user.to_string()));
        let token = call.caller.token.map(|token| (TOKEN.to_owned(), token.to_string()));
        let meta = Meta {
            title: about.title,
            who: call.caller.name.clone(),
            subjects: about.subjects,
            labels: labels.into_iter().chain(user).chain(token).collect(),
        };
        let transaction = match call.record() {
            Some(of) => self.audit.expect_end_in(transaction, id, &call.caller, (about.method, of)),
            None => transaction,
        };
        match self.engine.start_with::<S>(id, params, meta, transaction).await {
            Ok(_) => {
                let task = TaskId::from(id);
                Ok(TaskStarted { task, object: about.object.map(ToOwned::to_owned) })
            }
            Err(SagaError::Store(error)) if error.is_conflict() => Err(ApiError::new(
                Reason::Conflict,
                "a name or address that this needs was taken, or the object was changed, at the same moment; \
                 look again and try again",
            )),
            Err(error) => Err(saga_error(&error)),
        }
    }

    /// Refuses to start a VM on a host that is in maintenance, before anything else is promised. Where a VM is defined it
    /// stays, so no other host is chosen for it.
    pub(super) async fn may_start_on(&self, call: &Call, host: HostId) -> Result<(), ApiError> {
        // What was said last, which the read model may not have heard yet.
        let record = self.db.hosts.get(&host).await.map_err(|e| store_error(&e))?;
        let Some(record) = record.filter(|record| record.value.maintenance) else { return Ok(()) };
        let name = &record.value.name;
        let sees = call.caller.sight(Permission::View).covers(Some(record.value.pool), []);
        let message = if sees {
            format!(
                "{name} is in maintenance and starts no VMs; when that is over: xenith host set-maintenance {name} off"
            )
        } else {
            "the host of this VM is in maintenance and starts no VMs; ask who looks after it".to_owned()
        };
        Err(ApiError::new(Reason::WrongState, message))
    }

    pub(super) fn promise(&self, host: HostId, mib: u64) {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner).make(host, mib);
    }

    pub(super) fn promised(&self, host: HostId) -> u64 {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner).of(host)
    }
}

/// Refuses a VM that another operation works on, and one that stands by for another.
pub(super) fn free(record: &VmRecord) -> Result<(), ApiError> {
    unheld(record)?;
    if record.standby_of.is_none() {
        return Ok(());
    }
    let name = &record.spec.name;
    let message = format_args!(
        "{name} stands by for another VM and follows its backups; let it take over with `xenith standby fail-over \
         {name}`, or make it a VM like any other with `xenith standby release {name}`"
    );
    Err(ApiError::new(Reason::WrongState, message))
}

/// Refuses a VM that another operation works on.
pub(super) fn unheld(record: &VmRecord) -> Result<(), ApiError> {
    record.held_by.map_or(Ok(()), |saga| Err(held(&record.spec.name, saga)))
}

/// It is worked on by another operation.
pub(super) fn held(name: impl std::fmt::Display, saga: SagaId) -> ApiError {
    ApiError::new(
        Reason::WrongState,
        format_args!(
            "{name} is being worked on by task {saga}; wait for it, or look at it with `xenith task get {saga}`"
        ),
    )
}
