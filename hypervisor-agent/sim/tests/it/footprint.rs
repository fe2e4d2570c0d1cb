//! What a fleet costs: fifty guests on each of ten thousand hosts must fit on one machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_common_ids::{IncarnationId, VmId};
use xenith_hypervisor_agent_backend::{Hypervisor, Start};
use xenith_hypervisor_agent_sim::{SimConfig, SimHypervisor};
use xenith_hypervisor_agent_types::{DiskAccess, DiskDevice, DomainDisk, DomainIdentity};

use crate::fixture::{nic, spec};

const HOSTS: usize = 200;
const GUESTS: usize = 50;

/// Resident bytes of this process (`man 5 proc`, statm's second field, in pages of 4 KiB).
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Set in the child that measures.
const CHILD: &str = "XENITH_SIM_FOOTPRINT";

/// Measured in a process of its own: other tests in this one allocate too.
#[test]
fn a_fleet_is_small() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(measure());
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["footprint::a_fleet_is_small", "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("bytes a guest"), "{out}{err}");
    println!("{out}");
}

async fn measure() {
    let config = Arc::new(SimConfig::default());
    let start = resident();
    let hosts: Vec<_> = (0..HOSTS)
        .map(|index| {
            let hostname = format!("host-{index}");
            SimHypervisor::builder().config(config.clone()).seed(index as u64).hostname(hostname).build()
        })
        .collect();
    let with_hosts = resident();
    let began = Instant::now();
    let mut guest = spec("web");
    guest.nics.push(nic(1));
    let path = "/var/lib/xenith/sr/0198c0de-0000-7000-8000-000000000000/disk.raw".into();
    guest.disks.push(DomainDisk { device: DiskDevice::nth(0).unwrap(), path, access: DiskAccess::ReadWrite });
    for host in &hosts {
        for index in 0..GUESTS {
            guest.name = format!("application-server-{index}").parse().unwrap();
            guest.identity = DomainIdentity { vm: VmId::new(), incarnation: IncarnationId::new() };
            host.create(&guest, Start::Running).await.unwrap();
        }
    }
    let created = began.elapsed();
    let with_guests = resident();
    let began = Instant::now();
    for host in &hosts {
        assert_eq!(host.domains().await.unwrap().len(), GUESTS);
    }
    let listed = began.elapsed();
    let per_host = with_hosts.saturating_sub(start) / HOSTS;
    let per_guest = with_guests.saturating_sub(with_hosts) / (HOSTS * GUESTS);
    println!(
        "{per_host} bytes a host, {per_guest} bytes a guest; {} us a create, {} us a list",
        created.as_micros() / (HOSTS * GUESTS) as u128,
        listed.as_micros() / HOSTS as u128
    );
    assert!(per_guest < 2048, "{per_guest} bytes a guest");
    for host in hosts {
        host.shut_down(Duration::from_secs(5)).await.unwrap();
    }
}
