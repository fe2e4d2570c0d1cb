//! What people and their browsers do: look at pages, search, open one VM, follow changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::{Notify, Semaphore};
use xenith_common_ids::VmId;
use xenith_orchestrator_api::{InventoryChange, WatchRows, vm};
use xenith_orchestrator_client::{Client, Update, VmChanges};
use xenith_orchestrator_types::ListRequest;
use xenith_orchestrator_types::vm::VmRef;

use crate::orchestrator::{Door, USERS};
use crate::report::Times;

const FILTERS: [&str; 10] = [
    "",
    "power:running",
    "power:stopped",
    "tag:prod",
    "tag:prod,test -tag:web",
    "memory:>200MiB vcpus:1",
    "name:/^db-.*7$/",
    "host:xen7",
    "billing",
    "billing 99",
];
const ORDERS: [&str; 6] = ["", "-name", "memory", "-memory", "host", "power"];

async fn timed<T>(
    work: impl Future<Output = Result<T, xenith_orchestrator_client::ClientError>>,
) -> Result<Duration> {
    let begun = Instant::now();
    work.await?;
    Ok(begun.elapsed())
}

/// Does it on a thread of its own, before the agents' in the queue for a CPU, and before the orchestrator's where the
/// machine allows that: people do not sit at the hosts, and what is measured is not how long others keep them from
/// looking at the clock. A thread has the priority of the one that makes it: call this from one that runs no agent.
pub async fn apart<T, F>(work: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("clients".into()).spawn(move || {
        let _without_the_right_to_it = setpriority_process(Some(gettid()), -5);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(work()));
        let _run_failed_elsewhere = done.send(outcome);
    })?;
    outcome.await.context("a thread of clients has panicked")?
}

/// Keeps a user below the rate that it may keep up, however quick the answers are.
const PAUSE: Duration = Duration::from_millis(4);

/// One after the other, until `end`.
async fn repeat(end: Instant, mut each: impl AsyncFnMut(usize) -> Result<Duration>) -> Result<Times> {
    let mut times = Times::default();
    let mut turn = 0;
    while Instant::now() < end {
        times.add(each(turn).await?);
        turn += 1;
    }
    Ok(times)
}

/// Pages of 100 of every filter in every order, two pages each.
pub async fn pages(client: &Client, end: Instant) -> Result<Times> {
    let mut cursor = None;
    repeat(end, async |turn| {
        let view = turn / 2;
        let request = ListRequest {
            filter: FILTERS[view % FILTERS.len()].into(),
            sort: ORDERS[view / FILTERS.len() % ORDERS.len()].into(),
            limit: 100,
            cursor: if turn % 2 == 0 { None } else { cursor.take() },
        };
        let begun = Instant::now();
        cursor = client.call::<vm::List>(&request).await?.next;
        let took = begun.elapsed();
        // As many as fifty people look at in a second who never rest.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(took)
    })
    .await
}

pub async fn searches(client: &Client, filters: &[&str], end: Instant) -> Result<Times> {
    repeat(end, async |turn| {
        let filter = filters[turn % filters.len()].into();
        let request = ListRequest { filter, limit: 100, ..ListRequest::default() };
        let took = timed(client.call::<vm::List>(&request)).await?;
        tokio::time::sleep(PAUSE).await;
        Ok(took)
    })
    .await
}

pub async fn gets(client: &Client, vms: &[VmId], end: Instant) -> Result<Times> {
    repeat(end, async |turn| {
        let vm = vms[turn * 7919 % vms.len()].to_string();
        let took = timed(client.call::<vm::Get>(&VmRef { vm })).await?;
        tokio::time::sleep(PAUSE).await;
        Ok(took)
    })
    .await
}

/// Changes that were made, and who is still to be told: when, and what the guest says from then on.
pub type Made = Arc<Mutex<HashMap<VmId, (Instant, bool)>>>;

/// What one subscriber saw.
#[derive(Debug, Default)]
pub struct Told {
    pub times: Times,
    pub rows: u64,
    pub resyncs: u64,
}

/// Changes that were made, who follows, and the end.
#[derive(Clone)]
pub struct Following {
    pub made: Made,
    /// Counts who has its first list.
    pub ready: Arc<Semaphore>,
    pub end: Arc<Notify>,
}

/// A subscriber for each filter, all until the end.
pub async fn follow_all(door: Door, filters: Vec<String>, following: Following) -> Result<Told> {
    let mut sessions = Vec::new();
    for user in 0..USERS {
        sessions.push(door.sign_in(user).await?);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (filter, session) in filters.into_iter().zip(sessions.iter().cycle()) {
        let client = door.connect(session.clone()).await?;
        tasks.spawn(follow(client, filter, following.clone()));
    }
    let mut all = Told::default();
    while let Some(told) = tasks.join_next().await {
        let told = told??;
        all.rows += told.rows;
        all.resyncs += told.resyncs;
        all.times.extend(told.times);
    }
    Ok(all)
}

/// Follows `filter` until the end, as the UI does: without the rows that are there.
async fn follow(client: Client, filter: String, following: Following) -> Result<Told> {
    let Following { made, ready, end } = following;
    let mut watch = client.watch::<VmChanges>(&WatchRows { filter, only_changes: true, since: None }).await?;
    let mut told = Told::default();
    let mut listed = false;
    loop {
        let update = tokio::select! {
            update = watch.next() => update?,
            () = end.notified() => return Ok(told),
        };
        match update {
            Some(Update::Item(InventoryChange::Added(row) | InventoryChange::Changed(row))) => {
                told.rows += u64::from(listed);
                let made = made.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((at, talks)) = made.get(&row.id)
                    && row.os.is_some() == *talks
                    && listed
                {
                    told.times.add(at.elapsed());
                }
            }
            Some(Update::Item(InventoryChange::Ready { .. })) => {
                listed = true;
                ready.add_permits(1);
            }
            Some(Update::Item(InventoryChange::Resync)) => told.resyncs += 1,
            Some(Update::Item(InventoryChange::Removed(_) | InventoryChange::Seen { .. })) => {}
            Some(Update::Interrupted | Update::Continued | Update::Resumed) => {
                bail!("a subscriber lost its connection")
            }
            None => bail!("a subscription ended"),
        }
    }
}
