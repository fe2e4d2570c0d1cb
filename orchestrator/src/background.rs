//! Work that nobody asks for: each task reads what is intended and what is observed, and acts idempotently.

mod balance;
mod health;
pub mod orphans;
pub mod storage;
pub mod store;
mod waves;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_types::event::Severity;

use crate::app::{App, ImportsLeft, RestoreHolds};
use crate::events::Happened;
use crate::fleet::{FleetEvent, Link};

/// How long ended sagas are kept for people to look at.
const ENDED_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// A VM that is started meanwhile may get what a host that has just joined lacks; it is told of with the next look.
const CPU_LEVELS_EVERY: Duration = Duration::from_secs(5);

/// A backup that is held some seconds more keeps its room for no longer than the grace of what is forgotten.
const RESTORE_HOLDS_EVERY: Duration = Duration::from_secs(30);

/// Who has told a new password sees what it did soon.
const SOURCES_EVERY: Duration = Duration::from_secs(30);

/// A thousand hosts that answer at once are one change to whoever looks.
const NETWORKS_TOGETHER: Duration = Duration::from_millis(100);

/// Starts all of it.
pub fn start(app: &Arc<App>, tasks: &TaskSet) {
    let (token, reporter) = (tasks.token(), Arc::clone(app));
    tasks.spawn("event-reporter", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = report(&reporter) => {}
        }
    });
    let (token, looker) = (tasks.token(), Arc::clone(app));
    tasks.spawn("storage-watcher", async move {
        let mut now_and_then = interval(storage::EVERY);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut levels = HashMap::new();
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = now_and_then.tick() => storage::look(&looker, &mut levels).await,
            }
        }
    });
    let (token, networking) = (tasks.token(), Arc::clone(&app.networking));
    tasks.spawn("network-keeper", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = networking.keep() => {}
        }
    });
    start_network_teller(app, tasks);
    start_health_teller(app, tasks);
    let (token, keeper) = (tasks.token(), Arc::clone(app));
    tasks.spawn("ha-keeper", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = crate::app::keep_ha(keeper) => {}
        }
    });
    let (token, switch) = (tasks.token(), Arc::clone(app));
    tasks.spawn("ha-power", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = crate::app::keep_power(switch) => {}
        }
    });
    start_orphan_finder(app, tasks);
    start_hold_lifter(app, tasks);
    start_store_keeper(app, tasks);
    start_cpu_level_keeper(app, tasks);
    let (token, driven) = (tasks.token(), Arc::clone(app));
    tasks.spawn("wave-driver", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = waves::drive(driven) => {}
        }
    });
    start_source_cleaner(app, tasks);
    let (token, balanced) = (tasks.token(), Arc::clone(app));
    tasks.spawn("pool-balancer", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = balance::keep(balanced) => {}
        }
    });
    let (token, reaper) = (tasks.token(), Arc::clone(app));
    tasks.spawn("expiry-reaper", async move {
        let mut hourly = interval(Duration::from_secs(3600));
        hourly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = hourly.tick() => reap(&reaper).await,
            }
        }
    });
}

/// Whoever looks at a network hears that hosts have said something else of theirs.
fn start_network_teller(app: &Arc<App>, tasks: &TaskSet) {
    let (token, teller) = (tasks.token(), Arc::clone(app));
    tasks.spawn("network-teller", async move {
        let telling = async {
            loop {
                teller.networking.answered().await;
                teller.changes.note_noun("network");
                tokio::time::sleep(NETWORKS_TOGETHER).await;
            }
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = telling => {}
        }
    });
}

fn start_health_teller(app: &Arc<App>, tasks: &TaskSet) {
    let (token, counting) = (tasks.token(), Arc::clone(app));
    tasks.spawn("health-teller", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = health::tell(&counting) => {}
        }
    });
}

fn start_cpu_level_keeper(app: &Arc<App>, tasks: &TaskSet) {
    let (token, keeper) = (tasks.token(), Arc::clone(app));
    tasks.spawn("cpu-level-keeper", async move {
        let mut now_and_then = interval(CPU_LEVELS_EVERY);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = now_and_then.tick() => {
                    if let Err(error) = keeper.look_at_cpu_levels().await {
                        tracing::warn!(%error, "what hosts have of CPU features cannot be written down");
                    }
                }
            }
        }
    });
}

fn start_store_keeper(app: &Arc<App>, tasks: &TaskSet) {
    let (token, keeper) = (tasks.token(), Arc::clone(app));
    tasks.spawn("store-keeper", async move {
        let mut now_and_then = interval(store::EVERY);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watching = store::watch_health(&keeper);
        let keeping = async {
            loop {
                now_and_then.tick().await;
                store::checkpoint(&keeper).await;
            }
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = keeping => {}
            () = watching => {}
        }
    });
}

fn start_orphan_finder(app: &Arc<App>, tasks: &TaskSet) {
    let (token, finder) = (tasks.token(), Arc::clone(app));
    tasks.spawn("orphan-finder", async move {
        let (mut often, mut hourly) = (interval(orphans::EVERY), interval(orphans::RECORDS_EVERY));
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        hourly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut over = orphans::Holds::default();
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = often.tick() => {
                    orphans::release(&finder, &mut over).await;
                    orphans::look_at_hosts(&finder).await;
                }
                _ = hourly.tick() => orphans::look_at_records(&finder).await,
            }
        }
    });
}

fn start_source_cleaner(app: &Arc<App>, tasks: &TaskSet) {
    let (token, cleaner) = (tasks.token(), Arc::clone(app));
    tasks.spawn("source-cleaner", async move {
        let mut now_and_then = interval(SOURCES_EVERY);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tried = ImportsLeft::default();
        let cleaning = async {
            loop {
                now_and_then.tick().await;
                if let Err(error) = cleaner.clean_sources(&mut tried).await {
                    tracing::warn!(%error, "what imports left at their sources cannot be looked at");
                }
            }
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = cleaning => {}
        }
    });
}

fn start_hold_lifter(app: &Arc<App>, tasks: &TaskSet) {
    let (token, lifter) = (tasks.token(), Arc::clone(app));
    tasks.spawn("restore-hold-lifter", async move {
        let mut now_and_then = interval(RESTORE_HOLDS_EVERY);
        now_and_then.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut holds = RestoreHolds::default();
        let lifting = async {
            loop {
                now_and_then.tick().await;
                lifter.lift_restore_holds(&mut holds).await;
            }
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = lifting => {}
        }
    });
}

async fn reap(app: &App) {
    if let Err(error) = app.authn.prune().await {
        tracing::warn!(%error, "expired sessions could not be dropped");
    }
    if let Err(error) = crate::rpc::prune_idempotency((&app.db, &*app.vault)).await {
        tracing::warn!(%error, "old idempotency keys could not be dropped");
    }
    let before = OffsetDateTime::now_utc() - ENDED_KEPT;
    app.tasks.trim(Some(before)).await;
    // What is older than what the list holds.
    if let Err(error) = app.engine.prune_ended(before, 10_000).await {
        tracing::warn!(%error, "old tasks could not be dropped");
    }
}

/// Writes what the fleet tells into the event log: hosts lost and found, VMs that crashed.
async fn report(app: &App) {
    let mut events = app.fleet.events();
    let mut crashed = std::collections::HashSet::new();
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            // What was missed is in the inventory; the log has a gap.
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "too much happened at once for the event log");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        match event {
            FleetEvent::Link { host } => {
                let Some(record) = app.views.host(host) else { continue };
                let link = app.fleet.state(host).map(|state| state.link());
                let (severity, kind, message) = match link {
                    Some(Link::Connected) => {
                        (Severity::Info, "host.connected", format!("{} is heard", record.name))
                    }
                    // A task ends its boot, and says what comes of that.
                    Some(Link::Lost { .. }) if record.disarmed => {
                        let message = format!("{} is not heard: it goes down, as it was told", record.name);
                        (Severity::Info, "host.lost", message)
                    }
                    Some(Link::Lost { why }) => {
                        let message = format!("{} is not heard, its VMs are unknown: {why}", record.name);
                        (Severity::Error, "host.lost", message)
                    }
                    _ => continue,
                };
                let subject = format!("host/{host}");
                app.events.note(Happened { severity, kind, subject, message, pool: Some(record.pool) }).await;
            }
            FleetEvent::Vm { vm, .. } if vm.power == Power::Crashed && crashed.insert(vm.vm) => {
                let pool = app.views.vm(vm.vm).map(|record| record.pool);
                let message = format!("{} crashed", vm.name);
                let subject = format!("vm/{}", vm.vm);
                let (severity, kind) = (Severity::Error, "vm.crashed");
                app.events.note(Happened { severity, kind, subject, message, pool }).await;
            }
            FleetEvent::Vm { vm, .. } if vm.power == Power::Crashed => {}
            FleetEvent::Vm { vm, .. } => {
                crashed.remove(&vm.vm);
            }
            _ => {}
        }
    }
}
