//! A made-up host in a folder.

use tempfile::TempDir;

use super::*;

fn host(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        put(folder.path(), path, text);
    }
    folder
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn statistics(root: &Path, folder: &str, files: &[(&str, u64)]) {
    for (name, value) in files {
        put(root, &format!("{folder}/statistics/{name}"), &format!("{value}\n"));
    }
}

#[test]
fn disks_and_cards_of_the_domains_that_were_asked_for() {
    let folder = host(&[
        // A disk that QEMU serves, a console, and a folder of somebody else.
        ("sys/bus/xen-backend/devices/vbd-3-51728/nodename", "backend/qdisk/3/51728"),
        ("sys/bus/xen-backend/devices/console-3-0/nodename", "x"),
        ("sys/class/net/vif3.0-emu/address", "x"),
    ]);
    let root = folder.path();
    let disk = [("rd_req", 10), ("wr_req", 20), ("rd_sect", 8), ("wr_sect", 16), ("oo_req", 3)];
    for name in ["vbd-3-51712", "vbd-4-51712", "vbd-3-268439552"] {
        statistics(root, &format!("sys/bus/xen-backend/devices/{name}"), &disk);
    }
    let nic = [
        ("rx_bytes", 1),
        ("tx_bytes", 2),
        ("rx_packets", 3),
        ("tx_packets", 4),
        ("rx_dropped", 5),
        ("tx_dropped", 6),
    ];
    for name in ["vif3.1", "vif3.0", "vif4.0", "xenbr0"] {
        statistics(root, &format!("sys/class/net/{name}"), &nic);
    }
    // One that is named after its MAC is told by its device.
    statistics(root, "sys/class/net/x002OV00001", &nic);
    let device = root.join("sys/class/net/x002OV00001/device");
    std::os::unix::fs::symlink("../../../vif-3-2", device).unwrap();
    let readings = SysMeters::new(root).read(&[DomId(3), DomId(9)]);
    assert_eq!(readings.devices.keys().collect::<Vec<_>>(), [&DomId(3)]);
    let of = &readings.devices[&DomId(3)];
    let expected =
        DiskCounters { read_ops: 10, write_ops: 20, read_bytes: 4096, written_bytes: 8192, queue_full: 3 };
    let (xvda, xvdq) = (DiskDevice::nth(0).unwrap(), DiskDevice::nth(16).unwrap());
    assert_eq!(of.disks, [(xvda, expected), (xvdq, expected)]);
    let expected =
        NicCounters { received_bytes: 2, sent_bytes: 1, received_packets: 4, sent_packets: 3, dropped: 11 };
    assert_eq!(of.nics, [(0, expected), (1, expected), (2, expected)]);
    assert_eq!((readings.disk, readings.nic), (None, None), "nothing there is hardware");
}

#[test]
fn the_machine_itself() {
    let folder = host(&[
        ("proc/loadavg", "0.52 0.41 0.30 1/234 5678\n"),
        ("proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable:  524288 kB\n"),
        ("sys/block/sda/device/model", "x"),
        ("sys/block/sda/stat", "100 1 16 5 200 2 32 6 0 7 8 0 0 0 0 0 0\n"),
        ("sys/block/nvme0n1/device/model", "x"),
        ("sys/block/nvme0n1/stat", "1 0 2 0 3 0 4 0 0 0 0\n"),
        ("sys/block/loop0/stat", "9 9 9 9 9 9 9 9 9 9 9\n"),
        ("sys/class/net/eth0/device/vendor", "x"),
    ]);
    let root = folder.path();
    let nic = [
        ("rx_bytes", 1),
        ("tx_bytes", 2),
        ("rx_packets", 3),
        ("tx_packets", 4),
        ("rx_dropped", 0),
        ("tx_dropped", 0),
    ];
    statistics(root, "sys/class/net/eth0", &nic);
    let readings = SysMeters::new(root).read(&[]);
    assert_eq!(readings.load, Some(0.52));
    assert_eq!(readings.dom0_memory_available.map(MemoryMiB::mib), Some(512));
    let disk = readings.disk.unwrap();
    assert_eq!((disk.read_ops, disk.write_ops, disk.read_bytes, disk.written_bytes), (101, 203, 9216, 18432));
    let nic = readings.nic.unwrap();
    assert_eq!((nic.received_bytes, nic.sent_bytes), (1, 2), "the host's own card is not turned round");
    assert_eq!(readings.energy_uj, None);
}

#[test]
fn energy_goes_on_where_a_zone_begins_anew() {
    let zone = |name: &str, file: &str| format!("sys/class/powercap/{name}/{file}");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, kind) in [
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "dram"),
        ("intel-rapl:2", "psys"),
    ] {
        put(root, &zone(name, "name"), &format!("{kind}\n"));
        put(root, &zone(name, "max_energy_range_uj"), "1000\n");
        put(root, &zone(name, "energy_uj"), "900\n");
    }
    let meters = SysMeters::new(root);
    assert_eq!(meters.read(&[]).energy_uj, Some(0));
    put(root, &zone("intel-rapl:0", "energy_uj"), "950");
    put(root, &zone("intel-rapl:0:0", "energy_uj"), "999");
    put(root, &zone("intel-rapl:0:1", "energy_uj"), "901");
    assert_eq!(meters.read(&[]).energy_uj, Some(51));
    put(root, &zone("intel-rapl:1", "energy_uj"), "20");
    assert_eq!(meters.read(&[]).energy_uj, Some(171));
}

#[test]
fn a_meter_of_the_whole_machine_counts_before_its_processors() {
    let meter = |file: &str| format!("sys/class/hwmon/hwmon1/device/{file}");
    let folder = host(&[
        // Others measure a card, or nothing.
        ("sys/class/hwmon/hwmon0/name", "amdgpu\n"),
        ("sys/class/hwmon/hwmon0/power1_average", "7000000\n"),
        ("sys/class/hwmon/hwmon1/device/name", "power_meter\n"),
        ("sys/class/hwmon/hwmon1/device/power1_average", "100000000\n"),
        ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
        ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "1000\n"),
        ("sys/class/powercap/intel-rapl:0/energy_uj", "900\n"),
    ]);
    let (root, mut energy) = (folder.path(), Energy::default());
    let mut count = |seconds| energy.count(root, std::time::Duration::from_secs(seconds));
    assert_eq!((count(10), count(15)), (Some(0), Some(500_000_000)), "100 W for 5 s");
    put(root, &meter("power1_average"), "200000000");
    assert_eq!(count(20), Some(1_250_000_000), "150 W on the way to 200");
    fs::remove_file(root.join(meter("power1_average"))).unwrap();
    assert_eq!(count(25), None, "the processors' would be another figure");
    put(root, &meter("power1_average"), "200000000");
    assert_eq!((count(60), count(65)), (Some(1_250_000_000), Some(2_250_000_000)));
}

#[test]
fn a_host_that_has_nothing_of_it_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(SysMeters::new(folder.path()).read(&[DomId(1)]), KernelReadings::default());
    put(folder.path(), "sys/bus/xen-backend/devices/vbd-1-51712/statistics/rd_req", "not a number");
    assert_eq!(SysMeters::new(folder.path()).read(&[DomId(1)]), KernelReadings::default());
}

#[test]
fn numbers_of_disks() {
    for (number, name) in [
        (51712, Some("xvda")),
        (51728, Some("xvdb")),
        (51952, Some("xvdp")),
        (51713, Some("xvda")),
        ((1 << 28) | (16 << 8), Some("xvdq")),
        ((1 << 28) | (26 << 8), None),
        (768, None),
    ] {
        assert_eq!(disk_device(number).map(|device| device.to_string()).as_deref(), name, "{number}");
    }
}
