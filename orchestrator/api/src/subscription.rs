//! What is pushed over a WebSocket. Each subscription first sends what is there, then what changes.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use xenith_common_ids::{TaskId, VmId};
use xenith_orchestrator_types::Permission;
use xenith_orchestrator_types::event::Event;
use xenith_orchestrator_types::task::Task;
use xenith_orchestrator_types::vm::VmRow;

/// Parameters of `vm.subscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchVms {
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

/// One message of `vm.subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind", content = "value")]
pub enum InventoryChange {
    /// Was not there, or did not pass the filter, until now.
    Added(VmRow),
    Changed(VmRow),
    /// Is gone, or no longer passes the filter.
    Removed(VmId),
    /// What was there at first is complete.
    Ready {
        total: u64,
    },
    /// Too much was missed: forget everything, the list follows again.
    Resync,
}

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
}

/// All of them.
pub const SUBSCRIPTIONS: [SubscriptionInfo; 3] = [
    SubscriptionInfo {
        name: "vm.subscribe",
        unsubscribe: "vm.unsubscribe",
        notification: "vm.changed",
        summary: "Follows the VMs that a filter lets through.",
        permission: Permission::View,
        params: |generator| generator.subschema_for::<WatchVms>(),
        item: |generator| generator.subschema_for::<InventoryChange>(),
    },
    SubscriptionInfo {
        name: "task.subscribe",
        unsubscribe: "task.unsubscribe",
        notification: "task.changed",
        summary: "Follows tasks: each message is a task as it is now.",
        permission: Permission::View,
        params: |generator| generator.subschema_for::<WatchTasks>(),
        item: |generator| generator.subschema_for::<Task>(),
    },
    SubscriptionInfo {
        name: "event.subscribe",
        unsubscribe: "event.unsubscribe",
        notification: "event.happened",
        summary: "Follows events from now on.",
        permission: Permission::View,
        params: |generator| generator.subschema_for::<WatchEvents>(),
        item: |generator| generator.subschema_for::<Event>(),
    },
];
