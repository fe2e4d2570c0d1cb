//! A host from nothing to off: boots, runs guests of both kinds, keeps its disk over a power cut.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use xenith_lab::guest::{self, GuestKind, GuestView, XlGuest};
use xenith_lab::{Disks, HostSpec, LabHost, LabPaths, Progress, attach};

const MINUTE: Duration = Duration::from_secs(60);

fn spec(disks: Disks) -> HostSpec {
    HostSpec { name: "smoke".into(), disks, ..HostSpec::numbered(1) }
}

async fn run(host: &LabHost, command: &str) -> String {
    host.shell().run(command, 4 * MINUTE).await.unwrap()
}

/// Waits until `command` succeeds in dom0.
async fn until(host: &LabHost, command: &str, limit: Duration) {
    let deadline = Instant::now() + limit;
    while !host.shell().exec(command, MINUTE).await.unwrap().success() {
        assert!(Instant::now() < deadline, "never true: {command}\n{}", host.console_tail());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn create(host: &LabHost, guest: &XlGuest) -> u32 {
    let name = &guest.name;
    let path = format!("/root/{name}.cfg");
    host.shell().put_bytes(guest.config().as_bytes(), &path, 0o644, MINUTE).await.unwrap();
    run(host, &format!("xl create -q {path}")).await;
    run(host, &format!("xl domid {name}")).await.trim().parse().unwrap()
}

/// Lives from create to clean shutdown, with a disk on the thin pool and an address on the bridge.
async fn guest_lives(host: &LabHost, kind: GuestKind, address: Ipv4Addr) {
    let guest = XlGuest {
        name: format!("guest-{kind}"),
        kind,
        memory_mib: 128,
        address: Some(address),
        disk: Some(format!("/dev/pool/{kind}")),
    };
    run(host, &format!("lvcreate -q -y -T pool/thin -V 64M -n {kind}")).await;
    let started = Instant::now();
    let domain = create(host, &guest).await;
    let created = started.elapsed();
    let view = GuestView::new(host.shell(), domain);
    view.wait_ready(4 * MINUTE).await.unwrap();
    eprintln!(
        "{kind}: created {:.1} s, ready {:.1} s",
        created.as_secs_f32(),
        started.elapsed().as_secs_f32()
    );

    assert_eq!(view.read("data/os_distro").await.unwrap().as_deref(), Some("xenith-test"));
    assert_eq!(view.read("attr/vif/0/ipv4/0").await.unwrap(), Some(address.to_string()));
    let log = format!("/var/log/xen/console/guest-guest-{kind}.log");
    until(host, &format!("grep -q {} {log}", guest::READY), MINUTE).await;
    run(host, &format!("busybox ping -c 1 -W 20 {address}")).await;

    assert_eq!(view.order("write-pattern 7", 2 * MINUTE).await.unwrap(), "ok");
    assert_eq!(view.order("check-pattern 7", 2 * MINUTE).await.unwrap(), "ok");
    let other = view.order("check-pattern 8", 2 * MINUTE).await.unwrap();
    assert!(other.starts_with("failed"), "{other}");

    run(host, &format!("xl mem-set guest-{kind} 100")).await;
    let ballooned = format!("test \"$(xl list guest-{kind} | awk 'NR==2 {{print $3}}')\" -le 100");
    until(host, &ballooned, MINUTE).await;

    run(host, &format!("xl shutdown -w guest-{kind}")).await;
    until(host, &format!("! xl domid guest-{kind} 2>/dev/null"), 2 * MINUTE).await;
}

/// A crash is seen by Xen as one, and the domain goes.
async fn guest_crashes(host: &LabHost) {
    let guest =
        XlGuest { name: "crash".into(), kind: GuestKind::Pvh, memory_mib: 128, address: None, disk: None };
    let domain = create(host, &guest).await;
    let view = GuestView::new(host.shell(), domain);
    view.wait_ready(4 * MINUTE).await.unwrap();
    let order = format!("xenstore-write /local/domain/{domain}/xenith/command '1 crash'");
    run(host, &order).await;
    until(host, "grep -q 'reason code 3' /var/log/xen/xl-crash.log", 2 * MINUTE).await;
    until(host, "! xl domid crash 2>/dev/null", 2 * MINUTE).await;
}

#[tokio::test]
async fn a_host_boots_runs_guests_and_survives_a_power_cut() {
    let paths = LabPaths::from_env();
    let progress = Progress::stderr();
    let started = Instant::now();
    let mut host = LabHost::boot(&paths, spec(Disks::Fresh), &progress).await.unwrap();
    eprintln!("boot: {:.1} s, {:?}", started.elapsed().as_secs_f32(), host.accel());
    if let Some(why) = host.restarted() {
        eprintln!("the host was started twice: {why}");
    }
    assert!(LabHost::boot(&paths, spec(Disks::Keep), &progress).await.is_err(), "two QEMUs on one disk");

    let info = run(&host, "xl info").await;
    assert!(info.contains("xen_minor") && info.contains("hvm"), "{info}");
    eprintln!(
        "dom0 at rest: {}",
        run(&host, "free -m | awk 'NR==2 {print $3 \" MiB used of \" $2}'").await.trim()
    );
    let same = attach(&paths, "smoke").unwrap();
    assert_eq!(same.run("hostname", MINUTE).await.unwrap().trim(), "smoke");

    run(&host, "vgcreate -q pool /dev/vdb && lvcreate -q -y --type thin-pool -L 1G -n thin pool").await;
    guest::install(host.shell(), host.rootfs()).await.unwrap();
    guest_lives(&host, GuestKind::Pvh, Ipv4Addr::new(10, 0, 2, 101)).await;
    guest_lives(&host, GuestKind::Pv, Ipv4Addr::new(10, 0, 2, 102)).await;
    guest_crashes(&host).await;

    host.freeze().await.unwrap();
    assert!(host.shell().exec("true", Duration::from_secs(3)).await.is_err(), "a frozen host answers");
    host.thaw().await.unwrap();
    run(&host, "true").await;

    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let started = Instant::now();
    host.shell().put_bytes(&content, "/root/kept file", 0o600, MINUTE).await.unwrap();
    run(&host, "sync").await;
    eprintln!("3 MB put and synced in {:.1} s", started.elapsed().as_secs_f32());
    let address = host.agent_address();
    host.power_cut();
    assert!(attach(&paths, "smoke").is_ok(), "the folder stays ours");
    host.power_on().await.unwrap();
    assert_eq!(host.agent_address(), address);
    assert!(host.shell().get("/root/kept file", MINUTE).await.unwrap() == content, "the file changed");

    let started = Instant::now();
    let process = host.process_id().unwrap();
    host.shut_down(4 * MINUTE).await.unwrap();
    eprintln!("shutdown: {:.1} s", started.elapsed().as_secs_f32());
    drop(host);
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
    assert!(attach(&paths, "smoke").is_err());
}
