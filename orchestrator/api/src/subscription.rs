//! What is pushed over a WebSocket. Each subscription first sends what is there, then what changes.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xenith_common_ids::{HostId, TaskId, VdiId, VmId};
use xenith_orchestrator_types::Permission;
use xenith_orchestrator_types::event::Event;
use xenith_orchestrator_types::host::Host;
use xenith_orchestrator_types::task::Task;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::vm::VmRow;

/// Parameters of `vm.subscribe`, `host.subscribe` and `vdi.subscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchRows {
    /// The filter language, as for lists. Empty: everything.
    pub filter: String,
    /// Leaves out what is there and begins with the first change: for who shows pages of `vm.list`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_changes: bool,
}

/// Parameters of `task.subscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchTasks {
    /// One task: the subscription ends with it. Otherwise all that the caller may see.
    pub task: Option<TaskId>,
}

/// Parameters of `event.subscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchEvents {}

/// One message about the rows of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
#[schemars(rename = "{Row}Change")]
pub enum InventoryChange<Row, Id> {
    /// Was not there, or did not pass the filter, until now.
    Added(Row),
    Changed(Row),
    /// Is gone, or no longer passes the filter.
    Removed(Id),
    /// What was there at first is complete.
    Ready {
        total: u64,
    },
    /// Too much was missed: forget everything, the list follows again.
    Resync,
}

/// One message of `vm.subscribe`.
pub type VmChange = InventoryChange<VmRow, VmId>;
/// One message of `host.subscribe`.
pub type HostChange = InventoryChange<Host, HostId>;
/// One message of `vdi.subscribe`.
pub type VdiChange = InventoryChange<Vdi, VdiId>;

/// A subscription, for tables and documents.
#[derive(Clone, Copy)]
pub struct SubscriptionInfo {
    pub name: &'static str,
    pub unsubscribe: &'static str,
    pub notification: &'static str,
    pub summary: &'static str,
    pub permission: Permission,
    pub params: fn(&mut SchemaGenerator) -> Schema,
    pub item: fn(&mut SchemaGenerator) -> Schema,
    /// Whether parameters are what the subscription takes.
    pub takes: fn(&Value) -> Result<(), serde_json::Error>,
}

/// All of them.
pub const SUBSCRIPTIONS: [SubscriptionInfo; 5] = [
    SubscriptionInfo {
        name: "vm.subscribe",
        unsubscribe: "vm.unsubscribe",
        notification: "vm.changed",
        summary: "Follows the VMs that a filter lets through.",
        permission: Permission::View,
        params: |generator| generator.subschema_for::<WatchRows>(),
        item: |generator| generator.subschema_for::<VmChange>(),
        takes: |params| WatchRows::deserialize(params).map(drop),
    },
    SubscriptionInfo {
        name: "task.subscribe",
        unsubscribe: "task.unsubscribe",
        notification: "task.changed",
        summary: "Follows tasks: each message is a task as it is now.",
        permission: Permission::View,
        params: |generator| generator.subschema_for::<WatchTasks>(),
        item: |generator| generator.subschema_for::<Task>(),
        takes: |params| WatchTasks::deserialize(params).map(drop),
    },
    SubscriptionInfo {
        name: "event.subscribe",
        unsubscribe: "event.unsubscribe",
        notification: "event.happened",
        summary: "Follows events from now on.",
        permission: Permission::View,
        params: |generator| generator.subschema_for::<WatchEvents>(),
        item: |generator| generator.subschema_for::<Event>(),
        takes: |params| WatchEvents::deserialize(params).map(drop),
    },
    SubscriptionInfo {
        name: "host.subscribe",
        unsubscribe: "host.unsubscribe",
        notification: "host.changed",
        summary: "Follows the hosts that a filter lets through.",
        permission: Permission::View,
        params: |generator| generator.subschema_for::<WatchRows>(),
        item: |generator| generator.subschema_for::<HostChange>(),
        takes: |params| WatchRows::deserialize(params).map(drop),
    },
    SubscriptionInfo {
        name: "vdi.subscribe",
        unsubscribe: "vdi.unsubscribe",
        notification: "vdi.changed",
        summary: "Follows the VDIs that a filter lets through.",
        permission: Permission::View,
        params: |generator| generator.subschema_for::<WatchRows>(),
        item: |generator| generator.subschema_for::<VdiChange>(),
        takes: |params| WatchRows::deserialize(params).map(drop),
    },
];
