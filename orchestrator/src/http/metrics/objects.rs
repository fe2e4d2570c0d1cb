//! The newest values of hosts and VMs, for Prometheus.
//!
//! What is measured has one label, `vm` or `host`: an id, which never changes. Whatever may, a name, a pool, the host where
//! a VM is, would make another series of it when it does, in which a rate or an alert begins anew. So that is a label of
//! figures of their own (`xenith_vm_info`, `xenith_host_info`) to join with. A value that is not fresh is left out rather than told again: Prometheus then knows that it is gone. At most [`MOST`] VMs are told;
//! `xenith_vms_left_out` says how many are not.

use std::fmt::Write as _;

use xenith_orchestrator_api::Caller;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_inventory::{Inventory, Noun, PageRequest};
use xenith_orchestrator_metrics::Entity;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::metrics::{Measured, Metric, Unit};

use crate::app::metrics::device_name;
use crate::app::{App, parse_filter};
use crate::errors::query_error;
use crate::metering;

/// With 13 values each about 20 MB of text.
const MOST: usize = 20_000;
const PAGE: usize = 1000;
/// Seconds after which a value is no longer how things are.
const FRESH: u64 = 30;

/// Labels of a device, and its newest values.
type OfDevice = (String, Vec<(Metric, f64)>);

/// Something and its label, as it stands between the braces.
type Labelled = (Entity, String);

pub async fn text(app: &App, caller: &Caller, filter: &str) -> Result<String, ApiError> {
    let (hosts, _) = rows(app, &app.views.hosts, "", caller).await?;
    let (vms, left_out) = rows::<Vms>(app, &app.views.vms, filter, caller).await?;
    let shown = |named: Option<&str>| escaped(named.unwrap_or_default());
    let mut text = String::new();
    head(&mut text, "xenith_host_info", "What a host is called.");
    let mut of_hosts: Vec<Labelled> = Vec::with_capacity(hosts.len());
    for row in &hosts {
        let labels = format!("host=\"{}\"", row.id);
        let (name, pool) = (escaped(&row.name), shown(row.pool.as_deref()));
        let _infallible = writeln!(text, "xenith_host_info{{{labels},name=\"{name}\",pool=\"{pool}\"}} 1");
        of_hosts.push((row.id.into(), labels));
    }
    head(&mut text, "xenith_vm_info", "What a VM is called, and where it is.");
    let mut of_vms: Vec<Labelled> = Vec::with_capacity(vms.len());
    for row in &vms {
        let labels = format!("vm=\"{}\"", row.id);
        let (at, pool) = (row.host.as_ref(), row.pool.as_ref());
        let host = at.map(|host| host.id.to_string()).unwrap_or_default();
        let (name, host_name) = (escaped(&row.name), shown(at.map(|host| host.name.as_str())));
        let pool = shown(pool.map(|pool| pool.name.as_str()));
        let more = format!("name=\"{name}\",host=\"{host}\",host_name=\"{host_name}\",pool=\"{pool}\"");
        let _infallible = writeln!(text, "xenith_vm_info{{{labels},{more}}} 1");
        of_vms.push((row.id.into(), labels));
    }
    head(&mut text, "xenith_vms_left_out", "VMs that are not told of, because there are too many.");
    let _infallible = writeln!(text, "xenith_vms_left_out {left_out}");
    families(app, Measured::Host, &of_hosts, &mut text);
    families(app, Measured::Vm, &of_vms, &mut text);
    devices(app, &of_vms, &mut text);
    Ok(text)
}

/// The rows that the caller may see, and how many there are besides.
async fn rows<N: Noun>(
    app: &App,
    inventory: &Inventory<N>,
    filter: &str,
    caller: &Caller,
) -> Result<(Vec<N::Row>, u64), ApiError> {
    let mut request = PageRequest::first(parse_filter::<N>(filter)?, app.scope(caller), PAGE);
    let mut rows = Vec::new();
    loop {
        let (inventory, wanted) = (inventory.clone(), request.clone());
        let page = app.readers.run(move || inventory.page(&wanted)).await?;
        let page = page.map_err(|error| query_error(&error))?;
        rows.extend(page.rows);
        request.cursor = page.next;
        if request.cursor.is_none() || rows.len() >= MOST {
            let left_out = page.total.saturating_sub(rows.len() as u64);
            return Ok((rows, left_out));
        }
    }
}

fn families(app: &App, of: Measured, objects: &[Labelled], text: &mut String) {
    let oldest = metering::now().saturating_sub(FRESH);
    let fresh = |entity: Entity| app.metering.series.latest(entity).filter(|(at, _)| *at >= oldest);
    let values: Vec<_> = objects
        .iter()
        .filter_map(|(entity, labels)| fresh(*entity).map(|(_, values)| (labels, values)))
        .collect();
    for metric in Metric::ALL.iter().filter(|metric| metric.of().contains(&of)) {
        let name = name(of, *metric);
        head(text, &name, metric.summary().trim());
        for (labels, values) in &values {
            if let Some((_, value)) = values.iter().find(|(known, _)| known == metric) {
                let _infallible = writeln!(text, "{name}{{{labels}}} {value}");
            }
        }
    }
}

/// Of VMs with several disks or NICs: of one that is alone, its VM's say the same.
fn devices(app: &App, vms: &[Labelled], text: &mut String) {
    let oldest = metering::now().saturating_sub(FRESH);
    let (mut disks, mut nics): (Vec<OfDevice>, Vec<OfDevice>) = (Vec::new(), Vec::new());
    for (vm, labels) in vms.iter().filter_map(|(entity, labels)| Some((entity.vm()?, labels))) {
        for device in app.metering.series.devices(vm) {
            let newest = app.metering.series.latest(device).filter(|(at, _)| *at >= oldest);
            let (Some((_, values)), Some(name)) = (newest, device_name(device)) else { continue };
            let of_device = (format!("{labels},device=\"{name}\""), values);
            match device {
                Entity::Disk(..) => disks.push(of_device),
                _ => nics.push(of_device),
            }
        }
    }
    for metric in Metric::ALL.iter().copied() {
        let of = if metric.is_of_disks() { &disks } else { &nics };
        if of.is_empty() || !(metric.is_of_disks() || metric.is_of_nics()) {
            continue;
        }
        let name = format!("xenith_vm_device_{}", named(metric));
        head(text, &name, metric.summary().trim());
        for (labels, values) in of {
            if let Some((_, value)) = values.iter().find(|(known, _)| *known == metric) {
                let _infallible = writeln!(text, "{name}{{{labels}}} {value}");
            }
        }
    }
}

fn head(text: &mut String, name: &str, help: &str) {
    let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// `xenith_vm_disk_read_bytes_per_second`.
fn name(of: Measured, metric: Metric) -> String {
    format!("xenith_{of}_{}", named(metric))
}

/// With its unit.
fn named(metric: Metric) -> String {
    let unit = match metric.unit() {
        Unit::Percent => "_percent",
        Unit::Bytes => "_bytes",
        Unit::BytesPerSecond => "_bytes_per_second",
        Unit::PerSecond => "_per_second",
        Unit::Watts => "_watts",
        Unit::Plain => "",
    };
    format!("{}{unit}", metric.as_str().replace('.', "_"))
}

/// A label's value, by the text format's rules.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels() {
        assert_eq!(name(Measured::Vm, Metric::DiskReadOps), "xenith_vm_disk_read_ops_per_second");
        assert_eq!(name(Measured::Host, Metric::Load), "xenith_host_load");
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
