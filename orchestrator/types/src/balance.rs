//! Which VMs of a pool should be elsewhere: how that is decided, what is proposed, and what was done.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, PoolId, TaskId, VmId};

use crate::Reference;

/// What a plan is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BalanceGoal {
    /// No host is much fuller than the others.
    #[default]
    Performance,
    /// As few hosts as can be, so that others can be powered off.
    Density,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BalanceMode {
    /// Somebody asks for a plan.
    #[default]
    Off,
    /// Plans are made and shown, and somebody carries them out.
    Propose,
    /// Plans are made and carried out.
    Automatic,
}

macro_rules! words {
    ($name:ident, $what:literal: $($variant:ident = $text:literal),*) => {
        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().copied().find(|one| one.as_str() == text);
                found.ok_or_else(|| format!(concat!("{:?} is not ", $what), text))
            }
        }
    };
}

words!(BalanceGoal, "a goal; use performance or density": Performance = "performance", Density = "density");
words!(BalanceMode, "a mode; use off, propose or automatic":
    Off = "off", Propose = "propose", Automatic = "automatic");

/// How a pool is balanced. How full a host is: of its memory or of its processors, of what there is less left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BalancePolicy {
    pub mode: BalanceMode,
    pub goal: BalanceGoal,
    /// For performance: a host that is so much above the mean gives VMs away. In percent of what it has.
    pub threshold_percent: u8,
    /// For performance: a host that would not become less full by so much keeps its VMs.
    pub min_gain_percent: u8,
    /// No host is filled further than this.
    pub ceiling_percent: u8,
    /// Moves of one plan.
    pub moves: u32,
    /// Moves at the same time.
    pub at_once: u32,
    /// Of these, so many to or from one host.
    pub per_host: u32,
    /// Moves that begin within an hour.
    pub per_hour: u32,
    /// A VM that was moved stays so long where it is.
    pub cool_down_minutes: u32,
    /// For density that is carried out by itself: hosts that others do without are switched off, and on again when there is
    /// too little room. Only hosts with power control.
    pub power_hosts: bool,
    /// Of the pool, so many hosts stay on.
    pub hosts_on: u32,
    /// After a host was switched, none is switched off for so long.
    pub power_cool_down_minutes: u32,
}

impl Default for BalancePolicy {
    fn default() -> Self {
        Self {
            mode: BalanceMode::Off,
            goal: BalanceGoal::Performance,
            threshold_percent: 10,
            min_gain_percent: 5,
            ceiling_percent: 80,
            moves: 20,
            at_once: 4,
            per_host: 2,
            per_hour: 60,
            cool_down_minutes: 60,
            power_hosts: false,
            hosts_on: 2,
            power_cool_down_minutes: 30,
        }
    }
}

/// Changes how a pool is balanced; what is not given stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBalance {
    pub pool: Reference,
    #[serde(default)]
    pub mode: Option<BalanceMode>,
    #[serde(default)]
    pub goal: Option<BalanceGoal>,
    /// 1 to 100.
    #[serde(default)]
    pub threshold_percent: Option<u8>,
    /// 0 to 100.
    #[serde(default)]
    pub min_gain_percent: Option<u8>,
    /// 1 to 100.
    #[serde(default)]
    pub ceiling_percent: Option<u8>,
    /// 1 to 500.
    #[serde(default)]
    pub moves: Option<u32>,
    /// 1 to 100.
    #[serde(default)]
    pub at_once: Option<u32>,
    /// 1 to 100.
    #[serde(default)]
    pub per_host: Option<u32>,
    /// 1 to 1000.
    #[serde(default)]
    pub per_hour: Option<u32>,
    /// 0 to 10080, a week.
    #[serde(default)]
    pub cool_down_minutes: Option<u32>,
    #[serde(default)]
    pub power_hosts: Option<bool>,
    /// 1 to 1000; at least 2 where high availability is on.
    #[serde(default)]
    pub hosts_on: Option<u32>,
    /// 0 to 10080, a week.
    #[serde(default)]
    pub power_cool_down_minutes: Option<u32>,
}

/// Makes a plan and carries it out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BalancePool {
    pub pool: Reference,
    /// Without one, that of the pool.
    #[serde(default)]
    pub goal: Option<BalanceGoal>,
}

/// A VM that is to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedMove {
    pub vm: VmId,
    pub name: String,
    pub from: HostId,
    pub from_name: String,
    pub to: HostId,
    pub to_name: String,
    /// MiB that are copied. 0: the VM is off, and its definition moves.
    pub memory: u64,
    pub reason: String,
}

/// A host that a plan changes, or that has no VMs once it is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BalancedHost {
    pub host: HostId,
    pub name: String,
    pub memory_percent: u8,
    pub memory_percent_after: u8,
    pub cpu_percent: u8,
    pub cpu_percent_after: u8,
}

/// A host without VMs, once a plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmptyHost {
    pub host: HostId,
    pub name: String,
}

/// What would be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BalancePlan {
    pub goal: BalanceGoal,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub made: OffsetDateTime,
    pub moves: Vec<PlannedMove>,
    /// How full the hosts that it changes are.
    pub hosts: Vec<BalancedHost>,
    /// For density: hosts that can be powered off then.
    pub power_off: Vec<EmptyHost>,
    /// What could not be done, and why.
    pub notes: Vec<String>,
}

/// A host that balancing has switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AsleepHost {
    pub host: HostId,
    pub name: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: OffsetDateTime,
    /// It was switched on, and is not heard yet.
    pub comes_up: bool,
}

/// How a pool is balanced, and how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BalanceStatus {
    pub pool: PoolId,
    pub policy: BalancePolicy,
    /// What moves VMs at the moment.
    pub task: Option<TaskId>,
    /// Moves that began within the last hour.
    pub moved_last_hour: u32,
    /// The newest plan that nobody has carried out; gone when nothing is to be done any more.
    pub proposal: Option<BalancePlan>,
    /// Hosts that are off until there is too little room.
    #[serde(default)]
    pub asleep: Vec<AsleepHost>,
}
