//! Records of days and hours that were not sampled here, for benches.

use xenith_orchestrator_store::{Keyspace, StoreError, Transaction};
use xenith_orchestrator_types::metrics::Metric;

use crate::code::{Triple, encode};
use crate::{DAYS, Entity, HOURS, Metrics, record};

/// A period, and the values of each metric in it.
type Past = (u32, Vec<(Metric, Vec<f64>)>);

/// Records of one transaction.
const TOGETHER: usize = 100;

impl Metrics {
    /// Writes days (since 1970) of 24 values, the same of all these entities; how many bytes that are of each.
    pub async fn write_days(&self, entities: &[Entity], days: &[Past]) -> Result<usize, StoreError> {
        self.write_past(DAYS, entities, days).await
    }

    /// Writes hours (since 1970) of 60 values, the same of all these entities; how many bytes that are of each.
    pub async fn write_hours(&self, entities: &[Entity], hours: &[Past]) -> Result<usize, StoreError> {
        self.write_past(HOURS, entities, hours).await
    }

    async fn write_past(
        &self,
        keyspace: Keyspace,
        entities: &[Entity],
        past: &[Past],
    ) -> Result<usize, StoreError> {
        let mut bytes = 0;
        for together in past.chunks(TOGETHER) {
            let record = |(period, columns): &Past| {
                let column = |(metric, values): &(Metric, Vec<f64>)| (*metric, spread(values));
                (*period, record::write(&columns.iter().map(column).collect::<Vec<_>>()))
            };
            let records: Vec<(u32, Vec<u8>)> = together.iter().map(record).collect();
            bytes += records.iter().map(|(_, value)| Entity::KEY_BYTES + value.len()).sum::<usize>();
            for entity in entities {
                let put = |transaction: Transaction, (period, value): &(u32, Vec<u8>)| {
                    transaction.put(keyspace, entity.key(*period), value.clone())
                };
                self.store.commit(records.iter().fold(Transaction::new(), put)).await?;
            }
        }
        Ok(bytes)
    }
}

/// As if there had been less and more.
fn spread(values: &[f64]) -> Vec<Triple> {
    let triple = |value: &f64| {
        let [min, avg, max] = [0.9, 1.0, 1.2].map(|factor| encode(value * factor));
        Triple { avg, min, max }
    };
    values.iter().map(triple).collect()
}
