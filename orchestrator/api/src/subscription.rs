//! What is pushed over a WebSocket. Each subscription first sends what is there, then what changes.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xenith_common_ids::{EventId, HostId, TaskId, VdiId, VmId};
use xenith_orchestrator_types::event::Event;
use xenith_orchestrator_types::host::Host;
use xenith_orchestrator_types::task::Task;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::vm::VmRow;
use xenith_orchestrator_types::{Empty, Permission};

/// Parameters of `vm.subscribe`, `host.subscribe` and `vdi.subscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchRows {
    /// The filter language, as for lists. Empty: everything.
    pub filter: String,
    /// Leaves out what is there and begins with the first change: for who shows pages of `vm.list`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_changes: bool,
    /// Goes on from here: `revision` of a page, of `ready` or of `seen`. What changed since comes, and nothing else; a row
    /// comes as `changed` whether it was there before or not. `resync` where that cannot be told: it is too long ago, the
    /// orchestrator has started again, or the caller sees something else than then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Parameters of `task.subscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchTasks {
    /// One task: the subscription ends with it. Otherwise all that the caller may see.
    pub task: Option<TaskId>,
    /// The filter language, as for `task.list`; not together with `task`. A task that no longer passes is told one last
    /// time, as it is then.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter: String,
}

/// Parameters of `event.subscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchEvents {
    /// The filter language, as for `event.list`. Empty: everything.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// The event that was told last: those that happened since come first, as far as they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<EventId>,
}

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
    /// What was there at first is complete; with `since` or `only_changes` it comes at once.
    Ready {
        total: u64,
        /// Good for `since`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        revision: String,
    },
    /// Everything up to this revision was told; good for `since`.
    Seen {
        revision: String,
    },
    /// Too much was missed: forget everything, the list follows again.
    Resync,
}

impl<Row, Id> InventoryChange<Row, Id> {
    /// Where a subscription may go on after this message.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::Ready { revision, .. } | Self::Seen { revision } => {
                Some(revision.as_str()).filter(|revision| !revision.is_empty())
            }
            Self::Added(_) | Self::Changed(_) | Self::Removed(_) | Self::Resync => None,
        }
    }
}

/// One message of `vm.subscribe`.
pub type VmChange = InventoryChange<VmRow, VmId>;
/// One message of `host.subscribe`.
pub type HostChange = InventoryChange<Host, HostId>;
/// One message of `vdi.subscribe`.
pub type VdiChange = InventoryChange<Vdi, VdiId>;

/// One message of `change.subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NounChange {
    /// As methods have it before the dot. Without one, too much was missed: it may be any.
    pub noun: Option<String>,
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
    /// Whether parameters are what the subscription takes.
    pub takes: fn(&Value) -> Result<(), serde_json::Error>,
}

/// All of them.
pub const SUBSCRIPTIONS: [SubscriptionInfo; 6] = [
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
        summary: "Follows events, from now on or from a given one.",
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
    SubscriptionInfo {
        name: "change.subscribe",
        unsubscribe: "change.unsubscribe",
        notification: "change.made",
        summary: "Tells of which nouns a call has changed something: a hint to read again what has no subscription.",
        permission: Permission::View,
        params: |generator| generator.subschema_for::<Empty>(),
        item: |generator| generator.subschema_for::<NounChange>(),
        takes: |params| Empty::deserialize(params).map(drop),
    },
];
