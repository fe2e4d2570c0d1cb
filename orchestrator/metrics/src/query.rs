//! Series on a grid, put together of minutes and records.
//!
//! Minutes are looked at first, then records: an hour that becomes a record in between is then seen twice, never
//! missed, and what minutes told of is left out of the records.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use xenith_orchestrator_store::{Keyspace, ScanRequest, StoreError};
use xenith_orchestrator_types::metrics::Metric;

use crate::code::{GAP, Sum, Triple};
use crate::minute::{SLOTS, whole_of_slots};
use crate::plan::{Plan, plan};
use crate::rows::Rows;
use crate::{DAY, DAYS, Entity, HOUR, HOURS, MINUTE, Metrics, SLOT, record, whole};

/// Which series are wanted. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub entities: Vec<Entity>,
    /// Empty: all that there are.
    pub metrics: Vec<Metric>,
    pub from: u64,
    pub to: u64,
    /// Seconds; 0: what a chart can show.
    pub step: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub avg: f64,
    pub min: f64,
    pub max: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub entity: Entity,
    pub metric: Metric,
    /// `None`: nothing was measured.
    pub points: Vec<Option<Point>>,
}

/// Series in the order of the entities asked for, of each in the order of the metrics' numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub plan: Plan,
    pub series: Vec<Series>,
}

/// The grid of each metric of one entity, being filled.
struct Grid<'a> {
    plan: Plan,
    wanted: &'a [Metric],
    sums: BTreeMap<Metric, Vec<Sum>>,
}

impl Grid<'_> {
    fn wants(&self, metric: Metric) -> bool {
        self.wanted.is_empty() || self.wanted.contains(&metric)
    }

    /// `at`: seconds at which the stretch of the triple begins. What is not wanted is left out.
    fn add(&mut self, metric: Metric, at: u32, triple: Triple) {
        if !self.wants(metric) {
            return;
        }
        let Some(place) = at.checked_sub(self.plan.from).map(|since| since / self.plan.step) else { return };
        let sums = self.sums.entry(metric).or_insert_with(|| vec![Sum::default(); self.plan.count as usize]);
        if let Some(sum) = sums.get_mut(place as usize) {
            sum.add(triple);
        }
    }

    fn series(self, entity: Entity) -> impl Iterator<Item = Series> {
        self.sums.into_iter().map(move |(metric, sums)| {
            let point = |sum: &Sum| sum.values().map(|(avg, min, max)| Point { avg, min, max });
            Series { entity, metric, points: sums.iter().map(point).collect() }
        })
    }

    fn add_slots(&mut self, rows: &Rows) {
        for (minute, row) in rows {
            for (metric, slots) in row {
                for (slot, code) in (minute * SLOTS..).zip(slots).filter(|(_, code)| **code != GAP) {
                    self.add(*metric, slot * SLOT, Triple { avg: *code, min: *code, max: *code });
                }
            }
        }
    }

    fn add_minutes(&mut self, rows: &Rows) {
        for (minute, row) in rows {
            for (metric, slots) in row {
                self.add(*metric, minute * MINUTE, whole_of_slots(slots));
            }
        }
    }

    /// Hours are made of minutes, so that they are what their record will be.
    fn add_hours(&mut self, rows: &Rows) {
        let mut hours: BTreeMap<(u32, Metric), Sum> = BTreeMap::new();
        for (minute, row) in rows {
            for (metric, slots) in row {
                hours.entry((minute / 60, *metric)).or_default().add(whole_of_slots(slots));
            }
        }
        for ((hour, metric), sum) in hours {
            self.add(metric, hour * HOUR, sum.triple());
        }
    }
}

impl Metrics {
    /// Costs what the records of the stretch of time hold, for each entity.
    pub async fn query(&self, query: &Query, now: u64) -> Result<Answer, StoreError> {
        let plan = plan((whole(query.from), whole(query.to)), query.step, whole(now));
        let mut series = Vec::new();
        for entity in &query.entities {
            let mut grid = Grid { plan, wanted: &query.metrics, sums: BTreeMap::new() };
            let rows = self.rows(*entity, plan.from / MINUTE..plan.end().div_ceil(MINUTE)).await?;
            match plan.resolution {
                SLOT => grid.add_slots(&rows),
                MINUTE => {
                    grid.add_minutes(&rows);
                    let told = rows.into_keys().collect();
                    self.add_recorded_minutes(&mut grid, *entity, &told).await?;
                }
                _ => {
                    grid.add_hours(&rows);
                    let told = rows.into_keys().map(|minute| minute / 60).collect();
                    self.add_recorded_hours(&mut grid, *entity, told).await?;
                }
            }
            series.extend(grid.series(*entity));
        }
        Ok(Answer { plan, series })
    }

    async fn add_recorded_minutes(
        &self,
        grid: &mut Grid<'_>,
        entity: Entity,
        told: &HashSet<u32>,
    ) -> Result<(), StoreError> {
        let hours = (grid.plan.from / HOUR, grid.plan.end().div_ceil(HOUR));
        for (hour, value) in self.records(HOURS, entity, hours).await? {
            let Some(columns) = record::read(&value, 60, |metric| grid.wants(metric)) else { continue };
            for (metric, triples) in columns {
                for (minute, triple) in (hour * 60..).zip(triples) {
                    if !told.contains(&minute) {
                        grid.add(metric, minute * MINUTE, triple);
                    }
                }
            }
        }
        Ok(())
    }

    async fn add_recorded_hours(
        &self,
        grid: &mut Grid<'_>,
        entity: Entity,
        mut told: HashSet<u32>,
    ) -> Result<(), StoreError> {
        let hours = (grid.plan.from / HOUR, grid.plan.end().div_ceil(HOUR));
        // Hours first: those that become a day in between are then seen twice, and left out of the day.
        for (hour, value) in self.records(HOURS, entity, hours).await? {
            if !told.insert(hour) {
                continue;
            }
            let Some(columns) = record::read(&value, 60, |metric| grid.wants(metric)) else { continue };
            for (metric, triples) in columns {
                grid.add(metric, hour * HOUR, whole_of(&triples));
            }
        }
        let days = (grid.plan.from / DAY, grid.plan.end().div_ceil(DAY));
        for (day, value) in self.records(DAYS, entity, days).await? {
            let Some(columns) = record::read(&value, 24, |metric| grid.wants(metric)) else { continue };
            for (metric, triples) in columns {
                for (hour, triple) in (day * 24..).zip(triples) {
                    if !told.contains(&hour) {
                        grid.add(metric, hour * HOUR, triple);
                    }
                }
            }
        }
        Ok(())
    }

    /// The records of `entity` from one period to before another.
    pub(crate) async fn records(
        &self,
        keyspace: Keyspace,
        entity: Entity,
        (from, end): (u32, u32),
    ) -> Result<Vec<(u32, Bytes)>, StoreError> {
        let mut records = Vec::new();
        let mut after = from.checked_sub(1).map(|before| Bytes::from(entity.key(before)));
        loop {
            let mut request = ScanRequest::prefix(keyspace, entity.to_bytes(), 512);
            request.after = after;
            let page = self.store.scan(request).await?;
            for entry in page.entries {
                let Some((_, period)) = Entity::parse_key(&entry.key) else { continue };
                if period >= end {
                    return Ok(records);
                }
                records.push((period, entry.value));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(records),
            }
        }
    }
}

/// One triple of several.
pub(crate) fn whole_of(triples: &[Triple]) -> Triple {
    let mut sum = Sum::default();
    triples.iter().for_each(|triple| sum.add(*triple));
    sum.triple()
}
