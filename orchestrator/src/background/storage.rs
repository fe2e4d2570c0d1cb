//! Looks at every SR from time to time, and says when one fills up.

use std::collections::HashMap;
use std::time::Duration;

use xenith_common_ids::{HostId, SrId};
use xenith_hypervisor_agent_types::SrSpace;
use xenith_orchestrator_types::event::Severity;

use super::orphans::Recorded;
use crate::app::{App, scan_sr};
use crate::events::Happened;
use crate::fleet::SeenSr;

pub const EVERY: Duration = Duration::from_secs(30);

/// How full an SR is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    #[default]
    Roomy,
    Filling,
    Full,
}

impl Level {
    /// Free space in parts of the whole. It is left again a little later than it is entered, so that one disk that
    /// comes and goes is one event.
    #[must_use]
    pub fn of(space: SrSpace, before: Self) -> Self {
        let free = space.free.saturating_mul(1000).checked_div(space.total).unwrap_or(1000);
        let margin = |level: Self| if before >= level { 20 } else { 0 };
        match free {
            free if free < 30 + margin(Self::Full) => Self::Full,
            free if free < 100 + margin(Self::Filling) => Self::Filling,
            _ => Self::Roomy,
        }
    }
}

/// Scans what is attached where hosts are heard, one after the other: this is no hurry.
pub async fn look(app: &App, levels: &mut HashMap<SrId, Level>) {
    let declared = match app.db.srs.all().await {
        Ok((declared, _)) => declared,
        Err(error) => return tracing::warn!(%error, "the SRs cannot be read"),
    };
    let mut recorded = match Recorded::read(app).await {
        Ok(recorded) => recorded,
        Err(error) => return tracing::warn!(%error, "what SRs must hold cannot be read"),
    };
    let mut news = false;
    for (host, record) in app.views.hosts() {
        let Some(state) = app.fleet.state(host).filter(|state| state.is_heard()) else {
            recorded.missed(&record);
            continue;
        };
        let local = record.local_sr.map(|sr| (sr, format!("local-{}", record.name)));
        let attached = declared.iter().filter(|sr| sr.value.hosts.contains(&host));
        let attached = attached.map(|sr| (sr.key, sr.value.name.clone()));
        let pool = app.views.pool(record.pool).map(|pool| pool.name);
        for (sr, name) in local.into_iter().chain(attached) {
            let known = recorded.of(app, sr);
            match scan_sr(&app.fleet, host, sr).await {
                Ok(facts) => {
                    let seen = SeenSr { space: facts.space, copy_on_write: facts.copy_on_write };
                    news |= state.note_sr(sr, Ok(seen));
                    tell(app, (sr, &name, host), facts.space, levels).await;
                    if let Some(known) = &known {
                        recorded.compare((&name, &record), pool.as_ref(), (known, &facts));
                    }
                }
                Err(error) => {
                    news |= state.note_sr(sr, Err(error.to_string()));
                    recorded.missed(&record);
                }
            }
        }
    }
    if news {
        app.changes.note_noun("sr");
    }
    recorded.tell(app).await;
}

async fn tell(
    app: &App,
    (sr, name, host): (SrId, &str, HostId),
    space: SrSpace,
    levels: &mut HashMap<SrId, Level>,
) {
    let before = levels.get(&sr).copied().unwrap_or_default();
    let now = Level::of(space, before);
    levels.insert(sr, now);
    if now == before {
        return;
    }
    let free = space.free >> 20;
    let (severity, kind, message) = match now {
        Level::Roomy => (Severity::Info, "sr.roomy", format!("{name} has room again: {free} MiB are free")),
        Level::Filling => (Severity::Warning, "sr.filling", format!("{name} fills up: {free} MiB are free")),
        Level::Full => (
            Severity::Error,
            "sr.full",
            format!("{name} is all but full: {free} MiB are free; its hosts pause VMs on it before it is"),
        ),
    };
    let pool = app.views.host(host).map(|record| record.pool);
    let subject = format!("sr/{sr}");
    app.events.note(Happened { severity, kind, subject, message, pool }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_left_later_than_they_are_entered() {
        let space = |free| SrSpace { total: 1000, free, ..SrSpace::default() };
        let mut level = Level::Roomy;
        for (free, expected) in [
            (500, Level::Roomy),
            (100, Level::Roomy),
            (99, Level::Filling),
            (110, Level::Filling),
            (29, Level::Full),
            (45, Level::Full),
            (50, Level::Filling),
            (119, Level::Filling),
            (120, Level::Roomy),
        ] {
            level = Level::of(space(free), level);
            assert_eq!(level, expected, "{free}");
        }
        assert_eq!(Level::of(SrSpace::default(), Level::Roomy), Level::Roomy);
    }
}
