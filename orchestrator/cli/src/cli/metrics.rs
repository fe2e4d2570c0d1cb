//! What hosts and VMs use.

use clap::{Args, Subcommand, ValueEnum};
use humantime::Duration;
use time::OffsetDateTime;
use xenith_orchestrator_types::metrics::Metric;

use super::Columns;
use super::import::time_of;

#[derive(Debug, Subcommand)]
pub enum MetricsCommand {
    /// List what is measured.
    List(Columns),
    /// Show series: by seconds for an hour, by minutes for a day, by hours for a year.
    Query(Box<MetricsArgs>),
}

/// xenith metrics query web-1 --metric cpu,disk.write --since 6h
///
/// xenith metrics query --filter tag:prod --metric cpu -o json
///
/// xenith metrics query web-1 --per-device --metric disk.read,disk.write
///
/// xenith metrics query xen1 --of host
#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// One VM or host; without it, all that the filter lets through.
    #[arg(value_name = "NAME")]
    pub object: Option<String>,
    #[arg(long, value_enum, default_value = "vm")]
    pub of: MeasuredFlag,
    /// Of these, the first 50 by name: power:running tag:prod
    #[arg(
        short,
        long,
        value_name = "FILTER",
        default_value = "",
        hide_default_value = true,
        conflicts_with = "object"
    )]
    pub filter: String,
    /// Only these; `xenith metrics list` shows them.
    #[arg(short, long = "metric", value_name = "METRIC,…", value_delimiter = ',')]
    pub metrics: Vec<Metric>,
    /// Each disk and NIC of the VM, in place of their sums.
    #[arg(long, requires = "object")]
    pub per_device: bool,
    /// So long before the end (30m, 6h, 30d); without it and --from, an hour.
    #[arg(long, value_name = "DURATION", conflicts_with = "from")]
    pub since: Option<Duration>,
    /// Such as 2026-12-24T22:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    pub from: Option<OffsetDateTime>,
    /// Without it, now.
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    pub to: Option<OffsetDateTime>,
    /// Between two points (1m, 1h); becomes longer where so much is not kept.
    #[arg(long, value_name = "DURATION")]
    pub step: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MeasuredFlag {
    Vm,
    Host,
}
