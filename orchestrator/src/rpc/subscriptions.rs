//! What is pushed. Each subscription is one task of jsonrpsee's, ended by the subscriber or the connection.
//!
//! A subscriber that reads slowly gets merged changes (VMs), the newest state (tasks), or is ended with an
//! error (events): nothing is queued without bound. Whoever loses a right, or their session, loses the
//! subscription with the first message a second later.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{Extensions, PendingSubscriptionSink, RpcModule, SubscriptionMessage, SubscriptionSink};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::broadcast::error::RecvError;
use xenith_common_ids::SagaId;
use xenith_orchestrator_api::{Caller, InventoryChange, SUBSCRIPTIONS, WatchEvents, WatchRows, WatchTasks};
use xenith_orchestrator_inventory::filter::Filter;
use xenith_orchestrator_inventory::host::Hosts;
use xenith_orchestrator_inventory::vdi::Vdis;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_inventory::{Change, PageRequest, Revision, Scope, Shown, WatchEvent};
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::decode::typed;
use super::{Gate, error_object};
use crate::app::{Listed, parse_filter, task_of};
use crate::events::to_api;

/// A subscriber that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what was looked up of a caller's rights is good. With each message it would be several reads of the
/// store, thousands of times a second.
const RIGHTS: Duration = Duration::from_secs(1);

/// Whether a task was asked for by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    ThisOne,
    AnyOfMany,
}

/// Why a subscription ends before its subscriber wants.
enum End {
    Gone,
    Refused(ApiError),
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

pub fn register(module: &mut RpcModule<Gate>) -> Result<(), jsonrpsee::core::RegisterMethodError> {
    let [vms, tasks, events, hosts, vdis] = SUBSCRIPTIONS;
    module.register_subscription(
        vms.name,
        vms.notification,
        vms.unsubscribe,
        move |params, pending, gate, extensions| async move {
            serve(&gate, (params, pending, extensions), vms.permission, Gate::follow::<Vms>).await;
        },
    )?;
    module.register_subscription(
        tasks.name,
        tasks.notification,
        tasks.unsubscribe,
        move |params, pending, gate, extensions| async move {
            serve(&gate, (params, pending, extensions), tasks.permission, Gate::follow_tasks).await;
        },
    )?;
    module.register_subscription(
        events.name,
        events.notification,
        events.unsubscribe,
        move |params, pending, gate, extensions| async move {
            serve(&gate, (params, pending, extensions), events.permission, Gate::follow_events).await;
        },
    )?;
    module.register_subscription(
        hosts.name,
        hosts.notification,
        hosts.unsubscribe,
        move |params, pending, gate, extensions| async move {
            serve(&gate, (params, pending, extensions), hosts.permission, Gate::follow::<Hosts>).await;
        },
    )?;
    module.register_subscription(
        vdis.name,
        vdis.notification,
        vdis.unsubscribe,
        move |params, pending, gate, extensions| async move {
            serve(&gate, (params, pending, extensions), vdis.permission, Gate::follow::<Vdis>).await;
        },
    )?;
    Ok(())
}

/// Admits, parses, accepts, and runs until the subscriber or the follower ends it.
async fn serve<P: serde::de::DeserializeOwned + Send>(
    gate: &Gate,
    (params, pending, extensions): (Params<'static>, PendingSubscriptionSink, Extensions),
    permission: Permission,
    follow: impl AsyncFn(&Gate, &Subscriber<'_>, P) -> Result<(), End>,
) {
    let admitted = gate.admit(&extensions, permission).await.map_err(|(_, error)| error);
    let ready = admitted.and_then(|caller| Ok((caller, typed::<P>(&params)?)));
    let (caller, params) = match ready {
        Ok(ready) => ready,
        Err(error) => return pending.reject(error_object(&error)).await,
    };
    let Ok(sink) = pending.accept().await else { return };
    let known = Mutex::new((Instant::now(), caller));
    let subscriber = Subscriber { gate, sink: &sink, extensions: &extensions, permission, known };
    let ended = tokio::select! {
        () = sink.closed() => return,
        ended = follow(gate, &subscriber, params) => ended,
    };
    if let Err(End::Refused(error)) = ended {
        let object: ErrorObjectOwned = error_object(&error);
        subscriber.tell(&serde_json::json!({ "error": object })).await.unwrap_or(());
    }
}

struct Subscriber<'a> {
    gate: &'a Gate,
    sink: &'a SubscriptionSink,
    extensions: &'a Extensions,
    permission: Permission,
    /// Who it was, and when that was looked up.
    known: Mutex<(Instant, Caller)>,
}

impl Subscriber<'_> {
    /// Who it is, still. That is no call: it does not count against how many the caller may make.
    async fn caller(&self) -> Result<Caller, End> {
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.0.elapsed() < RIGHTS {
                return Ok(known.1.clone());
            }
        }
        let caller = self.gate.known(self.extensions, self.permission).await.map_err(|(_, error)| error)?;
        caller.check(self.permission)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), caller.clone());
        Ok(caller)
    }

    async fn tell(&self, item: &impl Serialize) -> Result<(), End> {
        let message =
            serde_json::value::to_raw_value(item).map_err(|error| End::Refused(ApiError::internal(error)))?;
        self.sink.send_timeout(SubscriptionMessage::from(message), PATIENCE).await.map_err(|_| End::Gone)
    }
}

impl Gate {
    async fn follow<N: Listed>(&self, subscriber: &Subscriber<'_>, params: WatchRows) -> Result<(), End> {
        let filter = parse_filter::<N>(&params.filter)?;
        let write = |row: N::Row| written(&N::item(&self.app, row)?);
        loop {
            let scope = self.app.scope(&subscriber.caller().await?);
            let since = if params.only_changes {
                let since = N::inventory(&self.app).revision();
                let total = N::inventory(&self.app).count(&filter, &scope);
                subscriber.tell(&InventoryChange::<(), ()>::Ready { total }).await?;
                since
            } else {
                self.tell_all::<N>(subscriber, &filter, &scope).await?
            };
            let mut watch = N::inventory(&self.app).watch(since, filter.clone(), scope.clone());
            loop {
                let event = watch.next_shown(&write).await;
                if self.app.scope(&subscriber.caller().await?) != scope {
                    break;
                }
                let WatchEvent::Changes { changes, .. } = event else { break };
                for change in &changes {
                    subscriber
                        .tell(&match change {
                            Change::Added(row) => InventoryChange::Added(&**row),
                            Change::Changed(row) => InventoryChange::Changed(&**row),
                            Change::Removed(id) => InventoryChange::Removed(id.to_string()),
                        })
                        .await?;
                }
            }
            subscriber.tell(&InventoryChange::<(), ()>::Resync).await?;
        }
    }

    /// The rows that are there, page by page. Returns the revision to watch from: the first page's, so that
    /// what changed between the pages comes again.
    async fn tell_all<N: Listed>(
        &self,
        subscriber: &Subscriber<'_>,
        filter: &Filter,
        scope: &Scope,
    ) -> Result<Revision, End> {
        let mut request = PageRequest::first(filter.clone(), scope.clone(), 1000);
        let (mut first, mut total) = (None, 0);
        loop {
            let page = N::inventory(&self.app).page(&request);
            let page = page.map_err(|error| crate::errors::query_error(&error))?;
            let since = *first.get_or_insert(page.revision);
            for item in page.rows.into_iter().filter_map(|row| N::item(&self.app, row)) {
                total += 1;
                subscriber.tell(&InventoryChange::<_, ()>::Added(item)).await?;
            }
            match page.next {
                Some(next) => request.cursor = Some(next),
                None => {
                    subscriber.tell(&InventoryChange::<(), ()>::Ready { total }).await?;
                    return Ok(since);
                }
            }
        }
    }

    async fn follow_tasks(&self, subscriber: &Subscriber<'_>, params: WatchTasks) -> Result<(), End> {
        let mut events = self.app.engine.subscribe();
        let only = params.task.map(|task| SagaId::from_bytes(*task.as_bytes()));
        match only {
            Some(task) if self.tell_task(subscriber, task, Only::ThisOne).await? => return Ok(()),
            Some(_) => {}
            None => self.tell_active(subscriber).await?,
        }
        loop {
            match events.recv().await {
                Ok(event) if only.is_none_or(|only| only == event.saga) => {
                    let which = if only.is_some() { Only::ThisOne } else { Only::AnyOfMany };
                    if self.tell_task(subscriber, event.saga, which).await? && only.is_some() {
                        return Ok(());
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => match only {
                    Some(task) if self.tell_task(subscriber, task, Only::ThisOne).await? => return Ok(()),
                    Some(_) => {}
                    None => self.tell_active(subscriber).await?,
                },
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Whether it is over.
    async fn tell_task(&self, subscriber: &Subscriber<'_>, id: SagaId, only: Only) -> Result<bool, End> {
        let caller = subscriber.caller().await?;
        let task = self.app.task(id).await?;
        if !self.app.sees_task(&caller.sight(Permission::View), &task.subjects) {
            // As with every other look at it: hidden is not there.
            return match only {
                Only::ThisOne => Err(ApiError::not_found("task", &task.id.to_string()).into()),
                Only::AnyOfMany => Ok(false),
            };
        }
        subscriber.tell(&task).await?;
        Ok(task.status.is_over())
    }

    async fn tell_active(&self, subscriber: &Subscriber<'_>) -> Result<(), End> {
        let sight = subscriber.caller().await?.sight(Permission::View);
        let mut after = None;
        loop {
            let active = self.app.engine.active(after, 500).await;
            let (page, next) = active.map_err(|error| crate::errors::saga_error(&error))?;
            for (id, record) in page {
                if self.app.sees_task(&sight, &record.meta.subjects) {
                    subscriber.tell(&task_of(id, &record, self.app.engine.progress(id))).await?;
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn follow_events(&self, subscriber: &Subscriber<'_>, _: WatchEvents) -> Result<(), End> {
        let mut events = self.app.events.subscribe();
        loop {
            match events.recv().await {
                Ok((sequence, record)) => {
                    let sight = subscriber.caller().await?.sight(Permission::View);
                    if crate::app::sees_event(&sight, &record) {
                        subscriber.tell(&to_api(sequence, &record)).await?;
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    let message =
                        format_args!("{missed} events were missed; read event.list and subscribe again");
                    return Err(End::Refused(ApiError::new(Reason::Throttled, message)));
                }
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }
}

fn written(item: &impl Serialize) -> Option<Shown> {
    match serde_json::value::to_raw_value(item) {
        Ok(text) => Some(Arc::<RawValue>::from(text)),
        Err(error) => {
            tracing::error!(%error, "a row cannot be written as JSON");
            None
        }
    }
}
