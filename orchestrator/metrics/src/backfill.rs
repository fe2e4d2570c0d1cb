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
    /// Writes days (since 1970) of 24 values; how many bytes that are.
    pub async fn write_days(&self, entity: Entity, days: &[Past]) -> Result<usize, StoreError> {
        self.write_past(DAYS, entity, days).await
    }

    /// Writes hours (since 1970) of 60 values; how many bytes that are.
    pub async fn write_hours(&self, entity: Entity, hours: &[Past]) -> Result<usize, StoreError> {
        self.write_past(HOURS, entity, hours).await
    }

    async fn write_past(
        &self,
        keyspace: Keyspace,
        entity: Entity,
        past: &[Past],
    ) -> Result<usize, StoreError> {
        let mut bytes = 0;
        for together in past.chunks(TOGETHER) {
            let mut transaction = Transaction::new();
            for (period, columns) in together {
                let columns: Vec<_> =
                    columns.iter().map(|(metric, values)| (*metric, spread(values))).collect();
                let value = record::write(&columns);
                bytes += value.len() + entity.key(*period).len();
                transaction = transaction.put(keyspace, entity.key(*period), value);
            }
            self.store.commit(transaction).await?;
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
