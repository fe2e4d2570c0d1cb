//! What is pushed. Each subscription is one task of jsonrpsee's, ended by the subscriber or the connection.
//!
//! A subscriber that reads slowly gets merged changes (rows), the newest state (tasks), or reads the log at its own pace
//! (events): nothing is queued without bound. Whoever loses a right, or their session, loses the
//! subscription with the first message a second later.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{Extensions, PendingSubscriptionSink, RpcModule, SubscriptionMessage, SubscriptionSink};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use xenith_common_ids::{SagaId, TaskId};
use xenith_orchestrator_api::{
    Caller, InventoryChange, NounChange, SUBSCRIPTIONS, WatchEvents, WatchRows, WatchTasks,
};
use xenith_orchestrator_inventory::event::Events;
use xenith_orchestrator_inventory::filter::Filter;
use xenith_orchestrator_inventory::host::Hosts;
use xenith_orchestrator_inventory::task::Tasks;
use xenith_orchestrator_inventory::vdi::Vdis;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_inventory::{Change, PageRequest, Rest, Revision, Scope, Shown, WatchEvent};
use xenith_orchestrator_saga::{SagaError, SagaEvent};
use xenith_orchestrator_store::StoreKey;
use xenith_orchestrator_types::{ApiError, Empty, Permission, Reason};

use super::decode::typed;
use super::{Gate, error_object};
use crate::app::{Listed, parse_filter, task_of};
use crate::changes::{self, Changed};
use crate::events::to_api;
use crate::model::EventRecord;

/// A subscriber that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what was looked up of a caller's rights is good. With each message it would be several reads of the
/// store, thousands of times a second.
const RIGHTS: Duration = Duration::from_secs(1);

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
    let [vms, tasks, events, hosts, vdis, changes] = SUBSCRIPTIONS;
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
    module.register_subscription(
        changes.name,
        changes.notification,
        changes.unsubscribe,
        move |params, pending, gate, extensions| async move {
            serve(&gate, (params, pending, extensions), changes.permission, Gate::follow_changes).await;
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
        let inventory = N::inventory(&self.app);
        let write = |row: N::Row| written(&N::item(&self.app, row)?);
        let mut resumed = params.since;
        loop {
            let scope = self.app.scope(&subscriber.caller().await?);
            let known = match resumed.take() {
                Some(mark) => match inventory.since(&mark, &scope) {
                    Ok(Some(since)) => Some(since),
                    Ok(None) => {
                        subscriber.tell(&InventoryChange::<(), ()>::Resync).await?;
                        continue;
                    }
                    Err(error) => return Err(crate::errors::query_error(&error).into()),
                },
                None => params.only_changes.then(|| inventory.revision()),
            };
            let since = match known {
                Some(since) => {
                    let total = inventory.count(&filter, &scope);
                    let revision = inventory.mark(since, &scope);
                    subscriber.tell(&InventoryChange::<(), ()>::Ready { total, revision }).await?;
                    since
                }
                None => self.tell_all::<N>(subscriber, &filter, &scope).await?,
            };
            let mut watch = inventory.watch(since, filter.clone(), scope.clone());
            loop {
                let event = watch.next_shown(&write).await;
                if self.app.scope(&subscriber.caller().await?) != scope {
                    break;
                }
                let WatchEvent::Changes { changes, revision, rest } = event else { break };
                for change in &changes {
                    subscriber
                        .tell(&match change {
                            Change::Added(row) => InventoryChange::Added(&**row),
                            Change::Changed(row) => InventoryChange::Changed(&**row),
                            Change::Removed(id) => InventoryChange::Removed(id.to_string()),
                        })
                        .await?;
                }
                if rest == Rest::None {
                    let revision = inventory.mark(revision, &scope);
                    subscriber.tell(&InventoryChange::<(), ()>::Seen { revision }).await?;
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
                    let revision = N::inventory(&self.app).mark(since, scope);
                    subscriber.tell(&InventoryChange::<(), ()>::Ready { total, revision }).await?;
                    return Ok(since);
                }
            }
        }
    }

    async fn follow_tasks(&self, subscriber: &Subscriber<'_>, params: WatchTasks) -> Result<(), End> {
        let mut events = self.app.engine.subscribe();
        let filter = parse_filter::<Tasks>(&params.filter)?;
        let Some(task) = params.task else { return self.follow_all_tasks(subscriber, events, &filter).await };
        if filter != Filter::All {
            return Err(
                ApiError::invalid("filter", "one task is asked for, which a filter cannot choose").into()
            );
        }
        let only = SagaId::from(task);
        loop {
            if self.tell_task(subscriber, only).await? {
                return Ok(());
            }
            loop {
                match events.recv().await {
                    Ok(event) if event.saga != only => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return Ok(()),
                }
            }
        }
    }

    /// Whether it is over.
    async fn tell_task(&self, subscriber: &Subscriber<'_>, id: SagaId) -> Result<bool, End> {
        let caller = subscriber.caller().await?;
        let record = self.app.engine.get(id).await.map_err(|error| crate::errors::saga_error(&error))?;
        let task = task_of(id, &record, self.app.engine.progress(id));
        if !self.app.sees_task(&caller, Permission::View, &record.meta) {
            // As with every other look at it: hidden is not there.
            return Err(ApiError::not_found("task", &task.id.to_string()).into());
        }
        subscriber.tell(&task).await?;
        Ok(task.status.is_over())
    }

    async fn follow_all_tasks(
        &self,
        subscriber: &Subscriber<'_>,
        mut events: broadcast::Receiver<SagaEvent>,
        filter: &Filter,
    ) -> Result<(), End> {
        // Those that pass and are not over: who was told of them is told when that changes.
        let mut told = HashSet::new();
        self.tell_active(subscriber, filter, &mut told).await?;
        loop {
            match events.recv().await {
                Ok(event) => {
                    let id = event.saga;
                    let caller = subscriber.caller().await?;
                    let record = match self.app.engine.get(id).await {
                        Ok(record) => record,
                        // Dropped since it was heard of.
                        Err(SagaError::NotFound(_)) => continue,
                        Err(error) => return Err(crate::errors::saga_error(&error).into()),
                    };
                    if !self.app.sees_task(&caller, Permission::View, &record.meta) {
                        continue;
                    }
                    let task = task_of(id, &record, self.app.engine.progress(id));
                    let passes = self.passes(id, filter).await;
                    let known =
                        if passes && !task.status.is_over() { !told.insert(id) } else { told.remove(&id) };
                    if passes || known {
                        subscriber.tell(&task).await?;
                    }
                }
                Err(RecvError::Lagged(_)) => self.tell_active(subscriber, filter, &mut told).await?,
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Whether a filter lets a task through, as it is now.
    async fn passes(&self, id: SagaId, filter: &Filter) -> bool {
        if *filter == Filter::All {
            return true;
        }
        self.app.tasks.caught_up().await;
        self.app.tasks.rows.passes(TaskId::from(id), filter, &Scope::everything())
    }

    async fn tell_active(
        &self,
        subscriber: &Subscriber<'_>,
        filter: &Filter,
        told: &mut HashSet<SagaId>,
    ) -> Result<(), End> {
        let caller = subscriber.caller().await?;
        let mut after = None;
        loop {
            let active = self.app.engine.active(after, 500).await;
            let (page, next) = active.map_err(|error| crate::errors::saga_error(&error))?;
            for (id, record) in page {
                if self.app.sees_task(&caller, Permission::View, &record.meta)
                    && self.passes(id, filter).await
                {
                    told.insert(id);
                    subscriber.tell(&task_of(id, &record, self.app.engine.progress(id))).await?;
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn follow_events(&self, subscriber: &Subscriber<'_>, params: WatchEvents) -> Result<(), End> {
        let filter = parse_filter::<Events>(&params.filter)?;
        let mut live = self.app.events.subscribe();
        // The number of the last event that was looked at; `None`: before the first that is heard.
        let mut last = params.since.map(crate::events::sequence);
        if let Some(since) = last {
            let newest = self.app.db.events.page_descending(None, 1).await;
            let newest = newest.map_err(|error| crate::errors::store_error(&error))?;
            let newest = newest.records.first().map(|record| record.key);
            // Of another log: whose numbers these are not.
            last = match newest.is_some_and(|newest| since <= newest) {
                true => Some(self.tell_logged(subscriber, &filter, since).await?),
                false => None,
            };
        }
        loop {
            match live.recv().await {
                Ok((sequence, _)) if last.is_some_and(|last| sequence <= last) => {}
                Ok((sequence, record)) => {
                    last = Some(sequence);
                    self.tell_event(subscriber, &filter, (sequence, &record)).await?;
                }
                // The log has what was missed.
                Err(RecvError::Lagged(missed)) => match last {
                    Some(since) => last = Some(self.tell_logged(subscriber, &filter, since).await?),
                    None => {
                        let message =
                            format_args!("{missed} events were missed; read event.list and subscribe again");
                        return Err(End::Refused(ApiError::new(Reason::Throttled, message)));
                    }
                },
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Events of the log behind `since`. Returns the number of the last one.
    async fn tell_logged(
        &self,
        subscriber: &Subscriber<'_>,
        filter: &Filter,
        mut since: u64,
    ) -> Result<u64, End> {
        let mut after = Some(bytes::Bytes::from(since.encode()));
        while after.is_some() {
            let page = self.app.db.events.page(after, 500).await;
            let page = page.map_err(|error| crate::errors::store_error(&error))?;
            for record in &page.records {
                self.tell_event(subscriber, filter, (record.key, &record.value)).await?;
                since = record.key;
            }
            after = page.next;
        }
        Ok(since)
    }

    /// Nouns of which a call has changed something, as far as the subscriber may read them.
    async fn follow_changes(&self, subscriber: &Subscriber<'_>, _: Empty) -> Result<(), End> {
        let mut live = self.app.changes.subscribe();
        while let Some(changed) = changes::next(&mut live).await {
            let caller = subscriber.caller().await?;
            match changed {
                Changed::Many => subscriber.tell(&NounChange { noun: None }).await?,
                Changed::Nouns(nouns) => {
                    for noun in nouns.into_iter().filter(|noun| changes::may_hear(&caller, noun)) {
                        subscriber.tell(&NounChange { noun: Some(noun.to_owned()) }).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn tell_event(
        &self,
        subscriber: &Subscriber<'_>,
        filter: &Filter,
        (sequence, record): (u64, &EventRecord),
    ) -> Result<(), End> {
        let sight = subscriber.caller().await?.sight(Permission::View);
        let event = to_api(sequence, record);
        // The row is written before anybody hears of the event.
        let passes =
            *filter == Filter::All || self.app.events.rows.passes(event.id, filter, &Scope::everything());
        if passes && crate::app::sees_event(&sight, record) {
            subscriber.tell(&event).await?;
        }
        Ok(())
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
