//! The plan: rules one by one, waves, hosts that come free, an export of the size of a company.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use xenith_vmware_import::plan::inventory::{
    Bus, DiskMode, Host, Inventory, Power, Tools, Vm, VmDisk, VmNic,
};
use xenith_vmware_import::plan::rules::{RULES, Severity};
use xenith_vmware_import::plan::{self, Settings, rvtools};

use crate::tool::tool;

fn vm(name: &str) -> Vm {
    Vm {
        name: name.to_owned(),
        id: name.to_owned(),
        power: Power::On,
        cbt: Some(true),
        os: "Debian GNU/Linux 12 (64-bit)".to_owned(),
        hostname: name.to_owned(),
        host: "esx1".to_owned(),
        vcpus: 2,
        memory_mib: 4096,
        hardware: 19,
        tools: Tools::Running,
        disks: vec![disk(name)],
        nics: vec![nic(name)],
        ..Vm::default()
    }
}

fn disk(name: &str) -> VmDisk {
    let path = format!("[fast] {name}/{name}.vmdk");
    VmDisk { label: "Hard disk 1".to_owned(), path, capacity_mib: 10_240, ..VmDisk::default() }
}

fn nic(name: &str) -> VmNic {
    VmNic { network: "prod".to_owned(), mac: format!("mac of {name}"), connected: true, ..VmNic::default() }
}

fn first_disk(vm: &mut Vm) -> &mut VmDisk {
    &mut vm.disks[0]
}

type Change = fn(&mut Vm);

/// Each line makes a sound VM into one that the rule speaks about.
const CASES: &[(&str, Change)] = &[
    ("disk-rdm-physical", |v| first_disk(v).rdm_physical = Some(true)),
    ("disk-rdm-virtual", |v| first_disk(v).rdm_physical = Some(false)),
    ("disk-independent-running", |v| first_disk(v).mode = DiskMode::IndependentPersistent),
    ("disk-independent-persistent", |v| {
        first_disk(v).mode = DiskMode::IndependentPersistent;
        v.power = Power::Off;
    }),
    ("disk-nonpersistent", |v| first_disk(v).mode = DiskMode::IndependentNonpersistent),
    ("disk-mode-unknown", |v| first_disk(v).mode = DiskMode::Other),
    ("disk-shared", |v| first_disk(v).shared = true),
    ("disk-same-file", |v| first_disk(v).path = "[fast] other/other.vmdk".to_owned()),
    ("disk-encrypted", |v| first_disk(v).encrypted = true),
    ("disk-nvme", |v| first_disk(v).bus = Bus::Nvme),
    ("disk-ide", |v| first_disk(v).bus = Bus::Ide),
    ("disk-bus-unknown", |v| first_disk(v).bus = Bus::Unknown),
    ("disk-none", |v| v.disks.clear()),
    ("disk-many", |v| v.disks = vec![disk("x"); 61]),
    ("disk-large", |v| first_disk(v).capacity_mib = 3 << 20),
    ("disk-too-large", |v| first_disk(v).capacity_mib = 65 << 20),
    ("disk-zero-size", |v| first_disk(v).capacity_mib = 0),
    ("disk-path-missing", |v| first_disk(v).path.clear()),
    ("cbt-off", |v| v.cbt = Some(false)),
    ("cbt-unknown", |v| v.cbt = None),
    ("cbt-disk-off", |v| first_disk(v).cbt = Some(false)),
    ("cbt-hardware", |v| v.hardware = 4),
    ("snapshots", |v| v.snapshots = 1),
    ("snapshots-many", |v| v.snapshots = 30),
    ("consolidation", |v| v.consolidation_needed = true),
    ("firmware-uefi", |v| v.efi = true),
    ("secure-boot", |v| v.secure_boot = Some(true)),
    ("vtpm", |v| v.vtpm = Some(true)),
    ("vm-encrypted", |v| v.encrypted = Some(true)),
    ("bitlocker", |v| v.bitlocker = Some(true)),
    ("hibernated", |v| v.hibernated = Some(true)),
    ("suspended", |v| v.power = Power::Suspended),
    ("fault-tolerance", |v| v.fault_tolerant = true),
    ("latency-sensitive", |v| v.latency_sensitive = true),
    ("usb", |v| v.usb_devices = 1),
    ("passthrough", |v| v.passthrough = 1),
    ("vgpu", |v| v.vgpu = true),
    ("sriov", |v| v.nics[0].sriov = true),
    ("directpath", |v| v.nics[0].direct_path = true),
    ("serial", |v| v.serial_ports = 1),
    ("cd", |v| v.cd_connected = true),
    ("floppy", |v| v.floppy_connected = true),
    ("nested", |v| v.nested_hypervisor = true),
    ("hot-add", |v| v.hot_add = true),
    ("reservation", |v| v.memory_reservation_mib = 1),
    ("tools-missing", |v| v.tools = Tools::NotInstalled),
    ("tools-stopped", |v| v.tools = Tools::NotRunning),
    ("tools-old", |v| v.tools = Tools::Old),
    ("nic-static-mac", |v| v.nics[0].static_mac = Some(true)),
    ("nic-mac-missing", |v| v.nics[0].mac.clear()),
    ("nic-mac-clash", |v| v.nics[0].mac = "mac of other".to_owned()),
    ("nic-network-unmapped", |v| v.nics[0].network = "elsewhere".to_owned()),
    ("nic-many", |v| v.nics = (0..8).map(|i| nic(&i.to_string())).collect()),
    ("nic-disconnected", |v| v.nics[0].connected = false),
    ("nic-ipv6-only", |v| v.nics[0].addresses = vec!["fe80::1".to_owned()]),
    ("storage-unmapped", |v| first_disk(v).path = "[slow] a/b.vmdk".to_owned()),
    ("storage-space", |v| first_disk(v).capacity_mib = 200_000),
    ("target-memory", |v| v.memory_mib = 1 << 20),
    ("vcpus-many", |v| v.vcpus = 128),
    ("name-clash", |v| v.name = "other".to_owned()),
    ("name-long", |v| v.name = "n".repeat(129)),
    ("name-control", |v| v.name = "a/b".to_owned()),
    ("template", |v| v.template = true),
    ("os-unknown", |v| v.os.clear()),
    ("os-windows", |v| v.os = "Microsoft Windows Server 2022".to_owned()),
    ("os-windows-unseen", |v| v.os = "Microsoft Windows Server 2022".to_owned()),
    ("os-windows-old", |v| v.os = "Microsoft Windows Server 2008 R2".to_owned()),
    ("os-linux-old", |v| v.os = "Red Hat Enterprise Linux 5 (64-bit)".to_owned()),
    ("os-macos", |v| v.os = "Apple macOS 12".to_owned()),
    ("os-appliance", |v| v.os = "VMware Photon OS".to_owned()),
    ("fs-btrfs", |v| v.filesystems = vec!["btrfs".to_owned()]),
    ("hostname-missing", |v| v.hostname.clear()),
];

fn settings() -> Settings {
    let text = "max_host_memory_mib = 524288\nmax_host_cores = 64\n\
        [networks]\nprod = \"bridge-prod\"\n[storage]\nfast = \"sr1\"\n[free_mib]\nsr1 = 100000\n";
    Settings::parse("test", text).unwrap()
}

#[test]
fn each_rule_speaks_when_it_should_and_only_then() {
    let settings = settings();
    let sound = Inventory { vms: vec![vm("sound"), vm("other")], ..Inventory::default() };
    let quiet = plan::make(&sound, &settings);
    assert!(quiet.vms.iter().all(|vm| vm.findings.is_empty()), "{:?}", quiet.vms);
    for (code, change) in CASES {
        let mut inventory = sound.clone();
        change(&mut inventory.vms[0]);
        let plan = plan::make(&inventory, &settings);
        let found: Vec<&str> = plan.vms[0].findings.iter().map(|finding| finding.code).collect();
        assert!(found.contains(code), "{code}: only {found:?} spoke");
        let blocks = plan.vms[0].worst() == Some(Severity::Blocks);
        assert_eq!(plan.blocked.contains(&inventory.vms[0].name), blocks, "{code}");
    }
    let tested: std::collections::BTreeSet<&str> = CASES.iter().map(|case| case.0).collect();
    let untested: Vec<&str> =
        RULES.iter().map(|rule| rule.code).filter(|code| !tested.contains(code)).collect();
    assert!(untested.is_empty(), "rules without a case: {untested:?}");
    assert!(RULES.len() >= 40);
}

#[test]
fn waves_keep_groups_together_and_the_critical_last() {
    let text = "[waves]\nmax_vms = 3\n[vms.db]\ncriticality = 5\n[vms.web]\ndepends_on = [\"db\"]\n\
        [vms.mail]\ncriticality = 9\n";
    let settings = Settings::parse("test", text).unwrap();
    let names = ["web", "mail", "a", "db", "b", "c"];
    let inventory = Inventory { vms: names.iter().map(|name| vm(name)).collect(), ..Inventory::default() };
    let plan = plan::make(&inventory, &settings);
    let waves: Vec<Vec<&str>> =
        plan.waves.iter().map(|wave| wave.vms.iter().map(String::as_str).collect()).collect();
    assert_eq!(waves, [vec!["a", "b", "c"], vec!["db", "web", "mail"]]);
    assert!(plan.waves.iter().all(|wave| wave.estimate.best_seconds < wave.estimate.worst_seconds));
    assert!(Settings::parse("test", "wavs = 1").is_err(), "a misspelt key was accepted");
}

#[test]
fn a_wave_is_as_large_as_its_window_at_the_rate_of_the_line() {
    // 10 GiB each at 10 MiB/s: 1,024 s, of which three fit into an hour; the narrowest place is named.
    let text = "[rates]\noverall = 10.0\nper_vm_fixed_seconds = 1.0\n[waves]\nwindow_hours = 1.0\n";
    let settings = Settings::parse("test", text).unwrap();
    let mut vms: Vec<Vm> = ["a", "b", "c", "d"].iter().map(|name| vm(name)).collect();
    vms[3].disks[0].capacity_mib = 102_400;
    let inventory = Inventory { vms, ..Inventory::default() };
    let waves = plan::make(&inventory, &settings).waves;
    let shape: Vec<(usize, bool)> = waves.iter().map(|wave| (wave.vms.len(), wave.exceeds_window)).collect();
    assert_eq!(
        shape,
        [(3, false), (1, true)],
        "what does not fit even alone has a wave of its own, and it is said"
    );
    assert_eq!((waves[0].estimate.narrowest.as_str(), waves[0].estimate.seconds.round()), ("line", 3072.0));
    let text = "[rates]\nper_host = 1.0\n[waves]\nwindow_hours = 100.0\n";
    let waves = plan::make(&inventory, &Settings::parse("test", text).unwrap()).waves;
    assert_eq!(waves[0].estimate.narrowest, "host esx1");
}

#[test]
fn hosts_come_free_with_one_to_spare() {
    let hosts = (0..4).map(|index| Host {
        name: format!("esx{index}"),
        cluster: "c".to_owned(),
        cores: 16,
        memory_mib: 65_536,
        ..Host::default()
    });
    let vms = (0..8).map(|index| Vm {
        host: format!("esx{}", index % 4),
        memory_mib: 8192,
        ..vm(&format!("vm{index}"))
    });
    let inventory = Inventory { hosts: hosts.collect(), vms: vms.collect(), ..Inventory::default() };
    let settings = Settings::parse("test", "[waves]\nmax_vms = 4").unwrap();
    let freed = plan::make(&inventory, &settings).freed;
    let counts: Vec<usize> = freed.iter().map(|state| state.clusters[0].needed).collect();
    // 64 GiB of VMs on hosts that may hold 57.6 GiB: two and a spare; after four moved: one and a spare; none.
    assert_eq!(counts, [3, 2, 0]);
    assert_eq!(freed[2].clusters[0].free.len(), 4);
}

#[test]
fn fifty_thousand_vms_are_planned_in_seconds() {
    // A build without optimisation is many times slower: there the size only has to be more than a page.
    let count = if cfg!(debug_assertions) { 5_000 } else { 50_000 };
    let dir = tempfile::tempdir().unwrap();
    let mut info = "VM,Powerstate,Template,CPUs,Memory,CBT,In Use MiB,Provisioned MiB,Cluster,Host,\
        OS according to the configuration file,VM ID,HW version,Firmware\n"
        .to_owned();
    let (mut disks, mut nics) = (
        "VM,Disk,Disk Path,Capacity MiB,Raw,Disk Mode,Sharing mode,Thin,Controller,VM ID\n".to_owned(),
        "VM,NIC label,Adapter,Network,Connected,Mac Address,Type,VM ID\n".to_owned(),
    );
    for i in 0..count {
        let (host, net) = (i % 500, i % 40);
        writeln!(
            info,
            "vm{i},poweredOn,False,4,\"8,192\",True,20480,40960,c{},esx{host},Debian,vm-{i},19,bios",
            host / 20
        )
        .unwrap();
        writeln!(disks, "vm{i},Hard disk 1,[ds{}] vm{i}/vm{i}.vmdk,40960,False,persistent,sharingNone,True,SCSI controller 0,vm-{i}", i % 90).unwrap();
        writeln!(
            nics,
            "vm{i},Network adapter 1,VMXNET 3,net{net},True,00:50:56:{:02x}:{:02x}:{:02x},assigned,vm-{i}",
            i >> 16,
            i >> 8 & 255,
            i & 255
        )
        .unwrap();
    }
    let mut hosts = "Host,Cluster,# Cores,# Memory\n".to_owned();
    (0..500).for_each(|i| writeln!(hosts, "esx{i},c{},64,1048576", i / 20).unwrap());
    for (name, text) in [("vInfo", &info), ("vDisk", &disks), ("vNetwork", &nics), ("vHost", &hosts)] {
        std::fs::write(dir.path().join(format!("RVTools_tab{name}.csv")), text).unwrap();
    }
    let started = Instant::now();
    let inventory = rvtools::read(dir.path()).unwrap();
    let plan = plan::make(&inventory, &Settings::default());
    let took = started.elapsed();
    assert_eq!((plan.vms.len(), plan.blocked.len()), (count, 0));
    assert_eq!(inventory.vms[7].memory_mib, 8192);
    assert!(plan.waves.len() >= count / 100);
    assert!(!plan.freed.last().unwrap().clusters[0].free.is_empty());
    // 5 s are promised of an optimised build on an idle machine; this may be neither.
    assert!(took < Duration::from_secs(60), "{took:?}");
    println!("{count} VMs took {took:?}");
    let output = tool(&["plan", dir.path().to_str().unwrap()]);
    assert!(output.status.success());
}
