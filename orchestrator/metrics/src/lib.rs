//! What was measured of hosts and VMs, at falling resolution in bounded space: every 5 seconds for an hour, every
//! minute for a day, every hour for a year.
//!
//! What always holds:
//! * A value is kept as a [`code`] of 16 bits, to 0.04 % of itself. What was not measured is a gap, never 0.
//! * In memory is the minute under way and, packed, the last one. A minute that is over is in the store when the next
//!   [`Metrics::flush`] returns, its slots as they were measured: in a sheet of some hundred entities together. One to
//!   two hours after its end an hour's sheets become records, one for each entity and hour (of minutes), of which 24
//!   become one of a day (of hours) later. Each is written once. What a record costs follows what changed in it: a
//!   constant takes a bit more than a byte for 32 points.
//! * The sheets of a group and hour are deleted in the last transaction that writes their records: a crash anywhere
//!   leaves sheets, records, or both with the same in them. What is lost is what was not flushed.
//! * Who is not measured any more keeps what was, until it is too old; one that does not exist any more for
//!   [`GONE_KEPT`] at most.
//!
//! Who else touches it: the orchestrator's fleet records, its API queries, one task flushes. The store is one of its
//! own, so that losing it loses no intended state, and a disk that is full stops nothing else.
//!
//! Nothing here reads a clock: every call is given the time, in seconds since 1970.

mod alarm;
#[cfg(feature = "test-support")]
mod backfill;
mod close;
mod code;
mod entity;
mod expire;
mod flush;
mod memory;
mod minute;
mod pack;
mod plan;
mod query;
mod rates;
mod record;
mod rows;
mod sheet;

use std::sync::Arc;

use xenith_common_ids::{HostId, VmId};
use xenith_orchestrator_store::{Keyspace, Schema, StateStore, StoreError};
use xenith_orchestrator_types::metrics::Metric;

pub use alarm::{AlarmState, Beyond, Condition, HOLE, Turn};
pub use entity::Entity;
pub use flush::PARTS;
pub use plan::{MAX_POINTS, Plan, RESOLUTIONS, plan};
pub use query::{Answer, Point, Query, Series};
pub use rates::{HostRates, Reading};

use memory::Memory;

/// Seconds of the finest resolution: one slot.
pub const SLOT: u32 = 5;
const MINUTE: u32 = 60;
const HOUR: u32 = 3600;
const DAY: u32 = 86_400;

/// How long what was measured of something is kept after it was deleted.
pub const GONE_KEPT: u32 = 30 * DAY;

/// By hour, group and minute: what was measured, by slots.
const SHEETS: Keyspace = Keyspace::new("metrics.sheet");
/// By entity and hour: its minutes.
const HOURS: Keyspace = Keyspace::new("metrics.hour");
/// By entity and day: its hours.
const DAYS: Keyspace = Keyspace::new("metrics.day");

/// What the store of metrics has.
#[must_use]
pub fn schema() -> Schema {
    Schema::new(1).with(&[SHEETS, HOURS, DAYS])
}

/// All series.
pub struct Metrics {
    store: Arc<dyn StateStore>,
    memory: Memory,
    closing: close::Closing,
    cursors: expire::Cursors,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("entities", &self.memory.len()).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Opens what is in `store`.
    pub async fn open(store: Arc<dyn StateStore>, now: u64) -> Result<Self, StoreError> {
        let now = whole(now);
        let closing = close::Closing::find(&*store, now).await?;
        Ok(Self { store, memory: Memory::new(now), closing, cursors: expire::Cursors::default() })
    }

    /// Notes what was measured of `entity` in a slot (see [`Reading`]). What is older than its newest by more than
    /// some minutes is dropped.
    pub fn record(&self, reading: &Reading) {
        self.memory.record(reading.entity, reading.slot, &reading.values);
    }

    /// The newest values, and when they were measured (seconds). Of somebody who is silent, those before it.
    #[must_use]
    pub fn latest(&self, entity: Entity) -> Option<(u64, Vec<(Metric, f64)>)> {
        self.memory.latest(entity)
    }

    /// Disks and NICs of a VM that have newest values of their own, as [`Self::latest`].
    #[must_use]
    pub fn devices(&self, vm: VmId) -> Vec<Entity> {
        self.memory.devices(vm)
    }

    /// Entities that are in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the series in memory take, without the allocator's own.
    #[must_use]
    pub fn bytes_in_memory(&self) -> usize {
        self.memory.bytes()
    }
}

/// Seconds as they are counted here: enough until 2106.
fn whole(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

impl From<VmId> for Entity {
    fn from(vm: VmId) -> Self {
        Self::Vm(vm)
    }
}

impl From<HostId> for Entity {
    fn from(host: HostId) -> Self {
        Self::Host(host)
    }
}
