//! Series of what hosts and VMs use.

use async_trait::async_trait;
use time::OffsetDateTime;
use xenith_common_ids::VmId;
use xenith_hypervisor_agent_types::{DiskDevice, VmSpec};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::metrics::MetricsApi;
use xenith_orchestrator_inventory::PageRequest;
use xenith_orchestrator_inventory::host::Hosts;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_metrics::{Answer, Entity, Plan, Point, Query, Series};
use xenith_orchestrator_types::metrics::{
    Measured, Metric, MetricInfo, MetricSeries, MetricSeriesList, QueryMetrics,
};
use xenith_orchestrator_types::{ApiError, Empty, Permission, Reason};

use super::{App, parse_filter};
use crate::errors::store_error;
use crate::metering;

/// Objects of one answer: of a year that is as many records as one look at the store should read.
const MOST: usize = 50;
const DEFAULT_STRETCH: i64 = 3600;

/// Something that the caller may look at.
type Named = (Entity, String);

fn times(request: &QueryMetrics) -> Result<(u64, u64), ApiError> {
    let to = request.to.unwrap_or_else(OffsetDateTime::now_utc).unix_timestamp();
    let from = request.from.map_or(to - DEFAULT_STRETCH, OffsetDateTime::unix_timestamp);
    match (u64::try_from(from), u64::try_from(to)) {
        (Ok(from), Ok(to)) if from <= to => Ok((from, to)),
        (Ok(_), Ok(_)) => Err(ApiError::invalid("from", "it is after `to`")),
        _ => Err(ApiError::invalid("from", "nothing was measured before 1970")),
    }
}

/// A metric that this kind of thing has not is a mistake that an empty answer would hide.
fn check(of: Measured, metrics: &[Metric]) -> Result<(), ApiError> {
    match metrics.iter().find(|metric| !metric.of().contains(&of)) {
        Some(metric) => Err(ApiError::invalid("metrics", format_args!("a {of} has no metric {metric}"))),
        None => Ok(()),
    }
}

/// Five digits: more than was kept, and half of what a float is written with.
fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let scale = 10f64.powf(4.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

/// As people call a disk or NIC of a VM, and Prometheus: it does not change while the device is there.
#[must_use]
pub fn device_name(entity: Entity) -> Option<String> {
    match entity {
        Entity::Host(_) | Entity::Vm(_) => None,
        Entity::Disk(_, index) => DiskDevice::nth(index).map(|device| device.to_string()),
        Entity::Nic(_, number) => Some(format!("nic{number}")),
    }
}

/// The series of a VM's devices. Of one that is alone of its kind the VM's are its own, where it has none.
fn of_devices(series: Vec<Series>, alone: &[Entity]) -> Vec<Series> {
    let (of_vm, mut all): (Vec<Series>, Vec<Series>) =
        series.into_iter().partition(|series| matches!(series.entity, Entity::Vm(_)));
    for series in of_vm {
        let of_kind = |device: &&Entity| match device {
            Entity::Disk(..) => series.metric.is_of_disks(),
            _ => series.metric.is_of_nics(),
        };
        let Some(device) = alone.iter().copied().find(|device| of_kind(&device)) else { continue };
        let known = all.iter_mut().find(|other| other.entity == device && other.metric == series.metric);
        match known {
            // It was not always alone.
            Some(known) => {
                for (point, whole) in known.points.iter_mut().zip(series.points) {
                    *point = point.take().or(whole);
                }
            }
            None => all.push(Series { entity: device, ..series }),
        }
    }
    all.sort_by_key(|series| (series.entity, series.metric));
    all
}

fn to_api(series: &Series, names: &[Named]) -> MetricSeries {
    let named = names.iter().find(|(entity, _)| *entity == series.entity);
    let column = |of: fn(&Point) -> f64| {
        series.points.iter().map(|point| point.as_ref().map(|point| rounded(of(point)))).collect()
    };
    MetricSeries {
        of: series.entity.kind(),
        id: match series.entity {
            Entity::Host(host) => host.to_string(),
            Entity::Vm(vm) | Entity::Disk(vm, _) | Entity::Nic(vm, _) => vm.to_string(),
        },
        name: named.map(|(_, name)| name.clone()).unwrap_or_default(),
        device: device_name(series.entity),
        metric: series.metric,
        unit: series.metric.unit(),
        avg: column(|point| point.avg),
        min: column(|point| point.min),
        max: column(|point| point.max),
    }
}

impl App {
    /// What a request is about, and how many there are in all.
    async fn measured(&self, call: &Call, request: &QueryMetrics) -> Result<(Vec<Named>, u64), ApiError> {
        match (&request.object, request.of) {
            (Some(_), _) if !request.filter.is_empty() => {
                Err(ApiError::invalid("filter", "give an object or a filter, not both"))
            }
            (Some(vm), Measured::Vm) => {
                let found = self.find_vm(call, vm, Permission::View).await;
                if let Err(error) = &found
                    && error.reason() == Reason::NotFound
                    && self.find_host(call, vm).await.is_ok()
                {
                    let hint = format_args!("there is no VM {vm:?}, but a host: ask with `of` (--of) host");
                    return Err(ApiError::invalid("object", hint));
                }
                let vm = found?;
                Ok((vec![(vm.key.into(), vm.value.spec.name.to_string())], 1))
            }
            (Some(host), Measured::Host) => {
                let host = self.find_host(call, host).await?;
                Ok((vec![(host.key.into(), host.value.name)], 1))
            }
            (None, Measured::Vm) => {
                let wanted = self.some(call, parse_filter::<Vms>(&request.filter)?);
                let page = self.page(&self.views.vms, wanted).await?;
                Ok((page.rows.into_iter().map(|row| (row.id.into(), row.name)).collect(), page.total))
            }
            (None, Measured::Host) => {
                let wanted = self.some(call, parse_filter::<Hosts>(&request.filter)?);
                let page = self.page(&self.views.hosts, wanted).await?;
                Ok((page.rows.into_iter().map(|row| (row.id.into(), row.name)).collect(), page.total))
            }
        }
    }

    fn some(&self, call: &Call, filter: xenith_orchestrator_inventory::filter::Filter) -> PageRequest {
        PageRequest::first(filter, self.scope(&call.caller), MOST)
    }
}

/// A VM's disks and NICs, and of those the ones that are alone of their kind.
fn devices(vm: VmId, spec: &VmSpec) -> (Vec<Entity>, Vec<Entity>) {
    let disk = match &spec.disks[..] {
        [only] => Some(Entity::Disk(vm, only.device.index())),
        _ => None,
    };
    let nic = (spec.nics.len() == 1).then_some(Entity::Nic(vm, 0));
    (Entity::devices_of(vm).collect(), disk.into_iter().chain(nic).collect())
}

impl App {
    /// The series of each disk and NIC of one VM.
    async fn query_devices(&self, call: &Call, request: QueryMetrics) -> Result<MetricSeriesList, ApiError> {
        let (Some(vm), Measured::Vm) = (&request.object, request.of) else {
            return Err(ApiError::invalid("per_device", "belongs to one VM: name it as the object"));
        };
        let is_of_devices = |metric: &Metric| metric.is_of_disks() || metric.is_of_nics();
        if let Some(metric) = request.metrics.iter().find(|metric| !is_of_devices(metric)) {
            let problem = format_args!("{metric} is not of disks or NICs");
            return Err(ApiError::invalid("metrics", problem));
        }
        let (from, to) = times(&request)?;
        let found = self.find_vm(call, vm, Permission::View).await?;
        let (mut entities, alone) = devices(found.key, &found.value.spec);
        let named = entities.iter().map(|entity| (*entity, found.value.spec.name.to_string()));
        let names: Vec<Named> = named.collect();
        entities.push(found.key.into());
        let every = Metric::ALL.iter().copied().filter(is_of_devices).collect();
        let metrics = if request.metrics.is_empty() { every } else { request.metrics };
        let query = Query { entities, metrics, from, to, step: request.step_s };
        let answer = self.metering.series.query(&query, metering::now()).await;
        let Answer { plan, series } = answer.map_err(|error| store_error(&error))?;
        listed(plan, &of_devices(series, &alone), (&names, 1))
    }
}

fn listed(
    plan: Plan,
    series: &[Series],
    (names, total): (&[Named], u64),
) -> Result<MetricSeriesList, ApiError> {
    Ok(MetricSeriesList {
        from: OffsetDateTime::from_unix_timestamp(plan.from.into()).map_err(ApiError::internal)?,
        step_s: plan.step,
        series: series.iter().map(|series| to_api(series, names)).collect(),
        total,
    })
}

#[async_trait]
impl MetricsApi for App {
    async fn list(&self, _: &Call, _: Empty) -> Result<Vec<MetricInfo>, ApiError> {
        let info = |metric: &Metric| MetricInfo {
            metric: *metric,
            unit: metric.unit(),
            of: metric.of().to_vec(),
            summary: metric.summary().trim().to_owned(),
        };
        Ok(Metric::ALL.iter().map(info).collect())
    }

    async fn query(&self, call: &Call, request: QueryMetrics) -> Result<MetricSeriesList, ApiError> {
        check(request.of, &request.metrics)?;
        if request.per_device {
            return self.query_devices(call, request).await;
        }
        let (from, to) = times(&request)?;
        let (names, total) = self.measured(call, &request).await?;
        let entities = names.iter().map(|(entity, _)| *entity).collect();
        let query = Query { entities, metrics: request.metrics, from, to, step: request.step_s };
        let answer = self.metering.series.query(&query, metering::now()).await;
        let Answer { plan, series } = answer.map_err(|error| store_error(&error))?;
        listed(plan, &series, (&names, total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_digits() {
        for (value, expected) in [
            (0.0, 0.0),
            (12.345_678, 12.346),
            (4_294_967_296.0, 4_295_000_000.0),
            (0.001_234_567, 0.001_234_6),
        ] {
            assert_eq!(rounded(value), expected, "{value}");
        }
    }

    #[test]
    fn of_a_disk_that_is_alone_the_vms_series_is_its_own() {
        let vm = VmId::new();
        let point = |value: f64| Some(Point { avg: value, min: value, max: value });
        let series = |entity: Entity, metric: Metric, points: &[Option<Point>]| Series {
            entity,
            metric,
            points: points.to_vec(),
        };
        let disk = Entity::Disk(vm, 0);
        let all = vec![
            series(vm.into(), Metric::DiskRead, &[point(3.0), point(2.0)]),
            series(vm.into(), Metric::NetSent, &[point(9.0), point(9.0)]),
            series(disk, Metric::DiskRead, &[point(1.0), None]),
            series(Entity::Disk(vm, 1), Metric::DiskRead, &[point(2.0), None]),
        ];
        let told = of_devices(all.clone(), &[disk]);
        let expected = [
            series(disk, Metric::DiskRead, &[point(1.0), point(2.0)]),
            series(Entity::Disk(vm, 1), Metric::DiskRead, &[point(2.0), None]),
        ];
        assert_eq!(told, expected, "there were two, and there is one now");
        let told = of_devices(all[..2].to_vec(), &[disk, Entity::Nic(vm, 0)]);
        let shown: Vec<_> =
            told.iter().map(|series| (device_name(series.entity).unwrap(), series.metric)).collect();
        assert_eq!(shown, [("xvda".to_owned(), Metric::DiskRead), ("nic0".to_owned(), Metric::NetSent)]);
        assert_eq!(of_devices(all[..2].to_vec(), &[]), []);
    }

    #[test]
    fn metrics_of_the_wrong_kind_are_refused() {
        assert!(check(Measured::Vm, &[Metric::Cpu, Metric::DiskQueueFull]).is_ok());
        let error = check(Measured::Vm, &[Metric::Cpu, Metric::Load]).unwrap_err();
        assert_eq!(error.message, "metrics: a vm has no metric load");
    }
}
