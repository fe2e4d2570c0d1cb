//! Two samples and what lies between them; many samples and the slots that they get.

use std::collections::HashMap;

use proptest::prelude::*;
use xenith_common_ids::{DomId, VmId};
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::DiskDevice;
use xenith_hypervisor_agent_types::metrics::DeviceReadings;

use super::*;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_800_000_000_000;

fn mib(mib: u64) -> MemoryMiB {
    MemoryMiB::new(mib).unwrap()
}

fn host(busy_ns: u64) -> HostSample {
    HostSample {
        cpus: 4,
        busy_ns,
        dom0_cpu_time_ns: 0,
        memory_total: mib(4096),
        memory_free: mib(1024),
        dom0_memory: mib(512),
        dom0_memory_available: Some(mib(128)),
        load: Some(0.5),
        energy_uj: None,
        disk: None,
        nic: None,
    }
}

fn vm(id: VmId, domid: u32, cpu_time_ns: u64) -> VmSample {
    let devices = DeviceReadings::default();
    VmSample { vm: id, domid: DomId(domid), cpu_time_ns, vcpus_online: 2, memory: mib(256), devices }
}

fn sample(number: u64, host: HostSample, vms: Vec<VmSample>) -> Sample {
    Sample { number, clock_ms: 1000 + number * 5000, host, vms }
}

/// What the second of two samples gives.
fn second(first: Sample, then: Sample) -> HashMap<Entity, HashMap<Metric, f64>> {
    let mut rates = HostRates::new(HostId::new());
    rates.take("a", first, START);
    let readings = rates.take("a", then, START + 5000);
    readings.into_iter().map(|reading| (reading.entity, reading.values.into_iter().collect())).collect()
}

#[test]
fn a_host_and_its_vms() {
    let id = VmId::new();
    let before = sample(1, HostSample { energy_uj: Some(7), ..host(SECOND) }, vec![vm(id, 3, SECOND)]);
    let energy_uj = Some(7 + 500_000_000);
    let now = sample(2, HostSample { energy_uj, ..host(11 * SECOND) }, vec![vm(id, 3, 6 * SECOND)]);
    let values = second(before, now);
    let of_vm = &values[&Entity::Vm(id)];
    assert_eq!(of_vm[&Metric::Cpu], 50.0, "one of two for five seconds");
    assert_eq!(of_vm[&Metric::Memory], f64::from(256 << 20));
    assert_eq!(of_vm[&Metric::Power], 50.0, "half of what ran, half of 100 W");
    assert!(!of_vm.contains_key(&Metric::DiskRead), "it has no disk that is counted");
    let of_host = values.iter().find(|(entity, _)| **entity != Entity::Vm(id)).unwrap().1;
    assert_eq!((of_host[&Metric::Cpu], of_host[&Metric::Power], of_host[&Metric::Load]), (50.0, 100.0, 0.5));
    assert_eq!(of_host[&Metric::Dom0Memory], f64::from(384 << 20));
    assert!(!of_host.contains_key(&Metric::DiskRead));
}

#[test]
fn counters_that_began_anew() {
    let id = VmId::new();
    for (name, before, now, expected) in [
        ("it ran on", Some((3, 10)), (3, 15), 50.0),
        ("the same domain counts from 0", Some((3, 10)), (3, 5), 50.0),
        ("another domain, with more than the last one had", Some((3, 1)), (4, 5), 50.0),
        ("it was not there", None, (4, 5), 50.0),
        ("nothing can be more than all", Some((3, 0)), (3, 100), 100.0),
    ] {
        let before = before.map(|(domid, seconds)| vm(id, domid, seconds * SECOND));
        let now = vm(id, now.0, now.1 * SECOND);
        let values = second(sample(1, host(0), before.into_iter().collect()), sample(2, host(0), vec![now]));
        assert_eq!(values[&Entity::Vm(id)][&Metric::Cpu], expected, "{name}");
    }
}

#[test]
fn disks_and_cards_are_summed_and_may_come_and_go() {
    let id = VmId::new();
    let disk = |device: u8, read_bytes| {
        (DiskDevice::nth(device).unwrap(), DiskCounters { read_bytes, ..DiskCounters::default() })
    };
    let nic = |number: u16, sent_bytes| (number, NicCounters { sent_bytes, ..NicCounters::default() });
    let with = |disks, nics| VmSample { devices: DeviceReadings { disks, nics }, ..vm(id, 3, 0) };
    let before = with(vec![disk(0, 1000), disk(1, 5000)], vec![nic(0, 10)]);
    // xvdb went, xvdc came.
    let now = with(vec![disk(0, 2000), disk(2, 500)], vec![nic(0, 20), nic(1, 90)]);
    let values = second(sample(1, host(0), vec![before]), sample(2, host(0), vec![now]));
    let of = |entity: Entity, metric: Metric| values.get(&entity).map(|values| values[&metric]);
    let vm = Entity::Vm(id);
    assert_eq!((of(vm, Metric::DiskRead), of(vm, Metric::NetSent)), (Some(300.0), Some(20.0)));
    // And each on its own; what went has no values.
    let disks = [0, 1, 2].map(|index| of(Entity::Disk(id, index), Metric::DiskRead));
    assert_eq!(disks, [Some(200.0), None, Some(100.0)]);
    let nics = [0, 1].map(|number| of(Entity::Nic(id, number), Metric::NetSent));
    assert_eq!(nics, [Some(2.0), Some(18.0)]);
}

#[test]
fn one_disk_and_one_card_are_what_the_vm_is() {
    let id = VmId::new();
    let disks = vec![(DiskDevice::nth(0).unwrap(), DiskCounters::default())];
    let devices = DeviceReadings { disks, nics: vec![(0, NicCounters::default())] };
    let now = VmSample { devices, ..vm(id, 3, 0) };
    let values = second(sample(1, host(0), vec![now.clone()]), sample(2, host(0), vec![now]));
    assert_eq!(values.len(), 2, "the host, and the VM: {values:?}");
}

#[test]
fn the_first_sample_of_a_run_has_no_rates() {
    let mut rates = HostRates::new(HostId::new());
    let first = |readings: Vec<Reading>| readings[0].values.iter().any(|(metric, _)| *metric == Metric::Cpu);
    assert!(!first(rates.take("a", sample(1, host(0), vec![]), START)));
    assert!(first(rates.take("a", sample(2, host(0), vec![]), START + 5000)));
    assert!(!first(rates.take("b", sample(1, host(0), vec![]), START + 10_000)), "another run");
    let twice = rates.take("b", sample(1, host(0), vec![]), START + 10_001);
    assert!(!first(twice), "the same again is no time to divide by");
}

#[test]
fn what_waited_for_a_connection_gets_the_slots_in_which_it_was_measured() {
    let mut rates = HostRates::new(HostId::new());
    let mut slots = Vec::new();
    for number in 1..=3 {
        slots.push(rates.take("a", sample(number, host(0), vec![]), START + number * 5000)[0].slot);
    }
    // Ten samples at once, after the connection was gone.
    for number in 4..=13 {
        slots.push(rates.take("a", sample(number, host(0), vec![]), START + 13 * 5000 + 300)[0].slot);
    }
    assert!(slots.windows(2).all(|pair| pair[1] == pair[0] + 1), "{slots:?}");
}

#[test]
fn a_clock_that_was_set_is_followed() {
    let mut rates = HostRates::new(HostId::new());
    rates.take("a", sample(1, host(0), vec![]), START);
    for ahead in [3_600_000, 7_200_000, 1_000_000] {
        let slot = rates.take("a", sample(2, host(0), vec![]), START + ahead)[0].slot;
        assert_eq!(u64::from(slot), (START + ahead) / 5000, "{ahead}");
    }
}

proptest! {
    /// Whatever the jitter and wherever in a slot samples fall, each slot gets one.
    #[test]
    fn slots_are_neither_skipped_nor_doubled(
        begin in 0u64..5000,
        jitter in prop::collection::vec((0u64..400, 0u64..800), 200),
        drift in 0u64..3,
    ) {
        let mut rates = HostRates::new(HostId::new());
        let mut slots = Vec::new();
        for (number, (early, late)) in (1..).zip(jitter) {
            let mut sample = sample(number, host(0), vec![]);
            sample.clock_ms += early;
            let received = START + begin + number * (5000 + drift) + early + late;
            slots.push(rates.take("a", sample, received)[0].slot);
        }
        prop_assert!(slots.windows(2).all(|pair| pair[1] == pair[0] + 1), "{:?}", slots);
    }
}
