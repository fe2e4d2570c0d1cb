//! A store with a made-up time.

use std::sync::Arc;

use xenith_common_ids::VmId;
use xenith_orchestrator_metrics::{Answer, Entity, Metrics, Query, Reading, SLOT, schema};
use xenith_orchestrator_store::{MemoryStore, StateStore};
use xenith_orchestrator_types::metrics::Metric;

/// The first second of a day.
pub const DAY_ONE: u64 = 20_000 * 86_400;

pub struct World {
    pub store: Arc<dyn StateStore>,
    pub metrics: Metrics,
    pub now: u64,
}

impl World {
    pub async fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new(&schema())), DAY_ONE).await
    }

    pub async fn over(store: Arc<dyn StateStore>, now: u64) -> Self {
        let metrics = Metrics::open(Arc::clone(&store), now).await.unwrap();
        Self { store, metrics, now }
    }

    /// As after a crash: what was in memory only is gone.
    pub async fn crash(self) -> Self {
        Self::over(self.store, self.now).await
    }

    pub fn record(&self, entity: Entity, at: u64, values: &[(Metric, f64)]) {
        let slot = u32::try_from(at).unwrap() / SLOT;
        self.metrics.record(&Reading { entity, slot, values: values.to_vec() });
    }

    /// Lets `seconds` pass in which `entities` say `value` every five seconds; flushes each minute, expires too.
    pub async fn live(&mut self, entities: &[Entity], seconds: u64, value: impl Fn(u64) -> f64) {
        for _ in 0..seconds / 5 {
            for entity in entities {
                self.record(*entity, self.now, &[(Metric::Cpu, value(self.now))]);
            }
            self.now += 5;
            if self.now % 60 == 5 {
                self.metrics.flush(self.now).await.unwrap();
                self.metrics.expire(self.now, |_| true).await.unwrap();
            }
        }
    }

    pub async fn query(&self, entity: Entity, from: u64, step: u32) -> Answer {
        let query = Query { entities: vec![entity], metrics: vec![Metric::Cpu], from, to: self.now, step };
        self.metrics.query(&query, self.now).await.unwrap()
    }
}

pub fn vm() -> Entity {
    VmId::new().into()
}

/// A VM of a group of those that are written together.
pub fn vm_of(group: u16, number: u16) -> Entity {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    id[14..].copy_from_slice(&group.to_be_bytes());
    VmId::from_bytes(id).into()
}

/// Whether the points that are there are `expected`, to what a code can hold.
pub fn about(answer: &Answer, expected: impl Fn(u64) -> f64) -> usize {
    let Some(series) = answer.series.first() else { return 0 };
    let mut there = 0;
    for (n, point) in (0..).zip(&series.points) {
        let Some(point) = point else { continue };
        there += 1;
        let at = u64::from(answer.plan.from) + n * u64::from(answer.plan.step);
        let expected = expected(at);
        assert!((point.avg / expected - 1.0).abs() < 0.001, "{} for {expected} at {at}", point.avg);
        assert!(point.min <= point.avg && point.avg <= point.max, "{point:?}");
    }
    there
}
