//! Metrics: what is measured of hosts and VMs, and series of it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::Reference;

/// What kind of thing is measured.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Measured {
    #[default]
    Vm,
    Host,
}

impl Measured {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    #[serde(rename = "%")]
    Percent,
    #[serde(rename = "B")]
    Bytes,
    #[serde(rename = "B/s")]
    BytesPerSecond,
    #[serde(rename = "/s")]
    PerSecond,
    #[serde(rename = "W")]
    Watts,
    /// A number as it is.
    #[serde(rename = "")]
    Plain,
}

impl Unit {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Percent => "%",
            Self::Bytes => "B",
            Self::BytesPerSecond => "B/s",
            Self::PerSecond => "/s",
            Self::Watts => "W",
            Self::Plain => "",
        }
    }

    /// A value in words: `12.5 %`, `1.5 MiB/s`.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Bytes => bytes(value),
            Self::BytesPerSecond => format!("{}/s", bytes(value)),
            Self::Percent | Self::Watts => format!("{value:.1} {}", self.as_str()),
            Self::PerSecond => format!("{value:.1}/s"),
            Self::Plain => format!("{value:.2}"),
        }
    }
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut value) = (0, value);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

macro_rules! metrics {
    ($($(#[doc = $summary:literal])+ $variant:ident = $number:literal, $name:literal, $unit:ident, $of:expr;)*) => {
        /// One thing that is measured. Its number is what it is called on disk: never given to another.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[repr(u8)]
        pub enum Metric {
            $(#[doc = concat!($($summary),+)] #[serde(rename = $name)] $variant = $number,)*
        }

        impl Metric {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            #[must_use]
            pub const fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit),* }
            }

            /// What has it.
            #[must_use]
            pub const fn of(self) -> &'static [Measured] {
                match self { $(Self::$variant => $of),* }
            }

            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => concat!($($summary),+)),* }
            }

            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }

            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|metric| metric.number() == number)
            }
        }
    };
}

impl Metric {
    /// Whether disks have it.
    #[must_use]
    pub const fn is_of_disks(self) -> bool {
        matches!(
            self,
            Self::DiskRead | Self::DiskWrite | Self::DiskReadOps | Self::DiskWriteOps | Self::DiskQueueFull
        )
    }

    /// Whether NICs have it.
    #[must_use]
    pub const fn is_of_nics(self) -> bool {
        matches!(
            self,
            Self::NetReceived
                | Self::NetSent
                | Self::NetReceivedPackets
                | Self::NetSentPackets
                | Self::NetDropped
        )
    }
}

const VMS: &[Measured] = &[Measured::Vm];
const HOSTS: &[Measured] = &[Measured::Host];
const BOTH: &[Measured] = &[Measured::Vm, Measured::Host];

metrics! {
    /// How busy the CPUs are: all physical ones of a host, the virtual ones that a VM has online.
    Cpu = 1, "cpu", Percent, BOTH;
    /// Memory: of a host what is not free, of a VM what it has.
    Memory = 2, "memory", Bytes, BOTH;
    /// Load average of the control domain over a minute.
    Load = 3, "load", Plain, HOSTS;
    /// CPU time of the control domain; 100 is one physical CPU.
    Dom0Cpu = 4, "dom0.cpu", Percent, HOSTS;
    /// Memory that the control domain's programs use.
    Dom0Memory = 5, "dom0.memory", Bytes, HOSTS;
    /// Read from disks.
    DiskRead = 6, "disk.read", BytesPerSecond, BOTH;
    /// Written to disks.
    DiskWrite = 7, "disk.write", BytesPerSecond, BOTH;
    /// Read requests.
    DiskReadOps = 8, "disk.read_ops", PerSecond, BOTH;
    /// Write requests.
    DiskWriteOps = 9, "disk.write_ops", PerSecond, BOTH;
    /// How often a disk request had to wait because the host had no room for it.
    DiskQueueFull = 10, "disk.queue_full", PerSecond, VMS;
    /// Received by NICs.
    NetReceived = 11, "net.received", BytesPerSecond, BOTH;
    /// Sent by NICs.
    NetSent = 12, "net.sent", BytesPerSecond, BOTH;
    /// Packets received.
    NetReceivedPackets = 13, "net.received_packets", PerSecond, BOTH;
    /// Packets sent.
    NetSentPackets = 14, "net.sent_packets", PerSecond, BOTH;
    /// Packets dropped, either way.
    NetDropped = 15, "net.dropped", PerSecond, BOTH;
    /// Power: of a host as its sensors count it, of a VM its share by CPU time.
    Power = 16, "power", Watts, BOTH;
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a metric; `xenith metrics list` shows them")]
pub struct ParseMetricError(String);

impl FromStr for Metric {
    type Err = ParseMetricError;

    fn from_str(text: &str) -> Result<Self, ParseMetricError> {
        let found = Self::ALL.iter().copied().find(|metric| metric.as_str() == text);
        found.ok_or_else(|| ParseMetricError(text.to_owned()))
    }
}

/// A metric, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricInfo {
    pub metric: Metric,
    pub unit: Unit,
    pub of: Vec<Measured>,
    pub summary: String,
}

/// Which series are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueryMetrics {
    pub of: Measured,
    /// One VM or host.
    pub object: Option<Reference>,
    /// Without `object`: those that the filter lets through, by name; the first 50 of them.
    pub filter: String,
    /// Empty: all that there are.
    pub metrics: Vec<Metric>,
    /// Of one VM: each of its disks and NICs, in place of their sums and of all else.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub per_device: bool,
    /// Default: an hour before `to`.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub from: Option<OffsetDateTime>,
    /// Default: now.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub to: Option<OffsetDateTime>,
    /// Seconds between two points; 0: as close as a chart needs. It becomes longer where so much is not kept or a
    /// series would have more than 2,000 points.
    pub step_s: u32,
}

/// Series on one grid: point `n` is of the `step_s` seconds that begin at `from` plus `n` steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSeriesList {
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub from: OffsetDateTime,
    pub step_s: u32,
    pub series: Vec<MetricSeries>,
    /// How many objects the filter lets through, of which there may be more than in `series`.
    pub total: u64,
}

/// Of one object and metric. `null`: nothing was measured then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSeries {
    pub of: Measured,
    /// Of the VM or host.
    pub id: String,
    pub name: String,
    /// Of a VM's disk (`xvda`) or NIC (`nic0`, the first); absent: of all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    pub metric: Metric,
    pub unit: Unit,
    pub avg: Vec<Option<f64>>,
    pub min: Vec<Option<f64>>,
    pub max: Vec<Option<f64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_words() {
        for (value, unit, expected) in [
            (12.34, Unit::Percent, "12.3 %"),
            (1_572_864.0, Unit::BytesPerSecond, "1.5 MiB/s"),
            (512.0, Unit::Bytes, "512 B"),
            (3.0, Unit::PerSecond, "3.0/s"),
            (0.5, Unit::Plain, "0.50"),
        ] {
            assert_eq!(unit.show(value), expected);
        }
    }

    #[test]
    fn names_and_numbers_are_unique_and_read_back() {
        for metric in Metric::ALL {
            assert_eq!(metric.as_str().parse(), Ok(*metric));
            assert_eq!(Metric::from_number(metric.number()), Some(*metric));
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.as_str());
        }
        assert_eq!(Metric::from_number(0), None);
        assert!("cpus".parse::<Metric>().is_err());
    }
}
