//! Alarms: what is wrong, by rules about metrics, and who is told.
//!
//! Values are looked at as they come in ([`Alarms::look`]): what that costs follows what is sampled and how many
//! rules watch it, and nobody who asks makes anything be looked at. It waits for nothing; a turn is left for the
//! keeper, of which there is one task ([`keeper`]).
//!
//! What always holds: an alarm that is raised is a record, written in the commit of its event; it ends in the commit
//! that notes that it cleared. Who has to be told is written together with that it was told ([`deliver`] brings it
//! there), so a restart tells nobody twice and forgets nobody. What is pending is in memory only: after a restart its
//! duration begins anew.
//!
//! Some alarms have no rule and are no records of this part: that nothing can be written ([`own`]), what is wrong with hosts
//! that high availability looks after ([`ha`]), and with backups ([`backups`]).

pub mod backups;
mod deliver;
mod ha;
mod keeper;
mod own;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;
use xenith_common_ids::AlarmRuleId;
use xenith_orchestrator_metrics::{AlarmState, Beyond, Condition, Entity, Reading, SLOT, Turn};
use xenith_orchestrator_types::alarm::AlarmWhen;
use xenith_orchestrator_types::metrics::Metric;

use crate::model::AlarmRuleRecord;

pub use ha::{HaAlarm, Trouble, Wrong};
pub use keeper::{is_silenced, start};
pub use own::OwnAlarm;

/// One rule and one of those that it watches.
pub type Watch = (AlarmRuleId, Entity);

/// A turn that is not written yet.
#[derive(Debug, Clone, Copy)]
struct Turned {
    turn: Turn,
    /// `None`: nobody watches it any more.
    value: Option<f64>,
    /// When what was wrong began, or when it was over (seconds).
    at: u64,
}

#[derive(Debug, Clone, Copy)]
struct Watching {
    rule: AlarmRuleId,
    metric: Metric,
    condition: Condition,
}

/// Which rules watch whom now.
#[derive(Debug, Default)]
struct Watched {
    rules: Vec<Watching>,
    /// Places in `rules`.
    of: HashMap<Entity, Vec<u32>>,
}

#[derive(Debug, Default)]
pub struct Alarms {
    watched: RwLock<Arc<Watched>>,
    /// Of those that are not clear.
    states: Mutex<HashMap<Watch, AlarmState>>,
    /// At most one for each watch: the last counts.
    turned: Mutex<HashMap<Watch, Turned>>,
    news: Notify,
    /// The rules or silences were changed.
    changed: Notify,
    /// Somebody has to be told.
    owed: Notify,
    /// The orchestrator cannot write.
    own: Mutex<Option<OwnAlarm>>,
    /// What is wrong with hosts that high availability looks after.
    ha: Mutex<Vec<HaAlarm>>,
}

impl Alarms {
    fn states(&self) -> MutexGuard<'_, HashMap<Watch, AlarmState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turned(&self) -> MutexGuard<'_, HashMap<Watch, Turned>> {
        self.turned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the orchestrator itself.
    #[must_use]
    pub fn own(&self) -> Option<OwnAlarm> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is wrong with hosts that high availability looks after.
    #[must_use]
    pub fn ha(&self) -> Vec<HaAlarm> {
        self.ha.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_ha(&self, alarms: Vec<HaAlarm>) {
        *self.ha.lock().unwrap_or_else(PoisonError::into_inner) = alarms;
    }

    fn set_own(&self, own: Option<OwnAlarm>) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = own;
    }

    fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds new values against the rules.
    pub fn look(&self, reading: &Reading) {
        let watched = self.watched();
        let Some(rules) = watched.of.get(&reading.entity) else { return };
        let at = u64::from(reading.slot) * u64::from(SLOT);
        for place in rules {
            let Some(watching) = watched.rules.get(*place as usize) else { continue };
            let measured = reading.values.iter().find(|(metric, _)| *metric == watching.metric);
            if let Some((_, value)) = measured {
                self.evaluate(watching, reading.entity, (*value, at));
            }
        }
    }

    fn evaluate(&self, watching: &Watching, entity: Entity, (value, at): (f64, u64)) {
        let watch = (watching.rule, entity);
        let turn = {
            let mut states = self.states();
            let state = states.get(&watch).copied().unwrap_or_default();
            let (next, turn) = watching.condition.evaluate(state, value, at);
            match next {
                AlarmState::Clear => states.remove(&watch),
                next => states.insert(watch, next),
            };
            let since = if let AlarmState::Raised { since } = next { since } else { at };
            turn.map(|turn| Turned { turn, value: Some(value), at: since })
        };
        if let Some(turned) = turn {
            self.turned().insert(watch, turned);
            self.news.notify_one();
        }
    }

    /// To be called when rules or silences were written.
    pub fn changed(&self) {
        self.changed.notify_one();
    }
}

/// What the rule asks of values.
fn condition(rule: &AlarmRuleRecord) -> Condition {
    Condition {
        beyond: match rule.when {
            AlarmWhen::Above => Beyond::Above,
            AlarmWhen::Below => Beyond::Below,
        },
        threshold: rule.threshold,
        clear: rule.clear,
        duration: rule.for_s,
    }
}
