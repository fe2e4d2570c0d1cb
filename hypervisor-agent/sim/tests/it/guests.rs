//! How simulated guests behave, step by step under a clock moved by hand.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use xenith_common_units::VcpuCount;
use xenith_hypervisor_agent_backend::{
    DomainEventKind, GuestFactsSource, Hypervisor, HypervisorError, ShutdownRequest, Start,
};
use xenith_hypervisor_agent_sim::{Manners, ManualClock, Operation, SimHypervisor};
use xenith_hypervisor_agent_types::{DeathReason, DomainStatus, Graphics};

use crate::fixture::{mib, nic, spec};

const SECOND: Duration = Duration::from_secs(1);

/// Guests boot in 10 s and shut down in 4 s.
fn host(hand: &ManualClock) -> Arc<SimHypervisor> {
    SimHypervisor::builder()
        .boot(SECOND * 10)
        .guest_shutdown(SECOND * 4)
        .manners("deaf-*", Manners::Deaf)
        .manners("crash-*", Manners::CrashesAtBoot)
        .manners("install-*", Manners::PowersOffAtBoot)
        .manners("update-*", Manners::RebootsAtBoot)
        .manners("old-*", Manners::NoDrivers)
        .manual_clock(hand)
        .build()
}

#[tokio::test]
async fn a_guest_boots_and_shuts_down_in_its_time() {
    let hand = ManualClock::new();
    let sim = host(&hand);
    let mut events = sim.events();
    let domid = sim.create(&spec("web"), Start::Running).await.unwrap();
    assert_eq!(events.next().await.unwrap().kind, DomainEventKind::Appeared);
    hand.advance(SECOND * 9).await;
    assert!(!sim.is_up(domid));
    hand.advance(SECOND).await;
    assert!(sim.is_up(domid));
    sim.shutdown(domid, ShutdownRequest::PowerOff).await.unwrap();
    hand.advance(SECOND * 3).await;
    assert_eq!(sim.domain(domid).await.unwrap().status, DomainStatus::Running);
    hand.advance(SECOND).await;
    let died = events.next().await.unwrap();
    assert_eq!((died.domid, died.kind), (domid, DomainEventKind::Died(DeathReason::PowerOff)));
    assert_eq!(sim.domain(domid).await.unwrap().status, DomainStatus::Dead(DeathReason::PowerOff));
}

#[tokio::test]
async fn a_request_waits_until_the_guest_is_up() {
    let hand = ManualClock::new();
    let sim = host(&hand);
    let domid = sim.create(&spec("web"), Start::Running).await.unwrap();
    sim.shutdown(domid, ShutdownRequest::PowerOff).await.unwrap();
    // The last word counts.
    sim.shutdown(domid, ShutdownRequest::Reboot).await.unwrap();
    hand.advance(SECOND * 13).await;
    assert_eq!(sim.domain(domid).await.unwrap().status, DomainStatus::Running);
    hand.advance(SECOND).await;
    assert_eq!(sim.domain(domid).await.unwrap().status, DomainStatus::Dead(DeathReason::Reboot));
}

#[tokio::test]
async fn a_pause_stops_the_guests_time() {
    let hand = ManualClock::new();
    let sim = host(&hand);
    let domid = sim.create(&spec("web"), Start::Running).await.unwrap();
    hand.advance(SECOND * 6).await;
    sim.pause(domid).await.unwrap();
    let paused = sim.domain(domid).await.unwrap();
    hand.advance(SECOND * 100).await;
    assert!(!sim.is_up(domid));
    assert_eq!(sim.domain(domid).await.unwrap().cpu_time_ns, paused.cpu_time_ns);
    sim.unpause(domid).await.unwrap();
    hand.advance(SECOND * 3).await;
    assert!(!sim.is_up(domid));
    hand.advance(SECOND).await;
    assert!(sim.is_up(domid));
    assert!(sim.domain(domid).await.unwrap().cpu_time_ns > paused.cpu_time_ns);
}

#[tokio::test]
async fn manners() {
    for (name, status) in [
        ("web", DomainStatus::Running),
        ("deaf-1", DomainStatus::Running),
        ("crash-1", DomainStatus::Dead(DeathReason::Crash)),
        ("install-1", DomainStatus::Dead(DeathReason::PowerOff)),
        ("update-1", DomainStatus::Dead(DeathReason::Reboot)),
        ("old-1", DomainStatus::Running),
    ] {
        let hand = ManualClock::new();
        let sim = host(&hand);
        let domid = sim.create(&spec(name), Start::Running).await.unwrap();
        hand.advance(SECOND * 14).await;
        assert_eq!(sim.domain(domid).await.unwrap().status, status, "{name}");
    }
}

#[tokio::test]
async fn a_deaf_guest_answers_nothing() {
    let hand = ManualClock::new();
    let sim = host(&hand);
    let domid = sim.create(&spec("deaf-1"), Start::Running).await.unwrap();
    sim.shutdown(domid, ShutdownRequest::PowerOff).await.unwrap();
    hand.advance(SECOND * 1000).await;
    assert_eq!(sim.domain(domid).await.unwrap().status, DomainStatus::Running);
    let calls = async {
        let (after, log) = (Some(SECOND * 10), String::new());
        let unresponsive =
            |operation| HypervisorError::GuestUnresponsive { domid, operation, after, log: log.clone() };
        assert_eq!(sim.set_memory(domid, mib(300)).await, Err(unresponsive("set-memory")));
        let vcpus = VcpuCount::new(2).unwrap();
        assert_eq!(sim.set_vcpus(domid, vcpus).await, Err(unresponsive("set-vcpus")));
        assert_eq!(sim.detach_nic(domid, nic(1).mac).await, Err(unresponsive("detach-nic")));
    };
    let began = hand.now();
    let mover = async {
        loop {
            hand.advance_to_next().await;
        }
    };
    tokio::select! {
        () = calls => {}
        () = mover => {}
    }
    assert_eq!(hand.now() - began, SECOND * 30, "each waits for the toolstack's patience");
    sim.destroy(domid).await.unwrap();
}

#[tokio::test]
async fn facts_are_told_and_change() {
    let hand = ManualClock::new();
    let sim = host(&hand);
    let mut with_nic = spec("web");
    with_nic.nics.push(nic(7));
    let domid = sim.create(&with_nic, Start::Running).await.unwrap();
    let mut facts = sim.watch(domid);
    let before = facts.next().await.unwrap();
    assert_eq!((before.os, before.addresses.len()), (None, 0));
    hand.advance(SECOND * 10).await;
    let up = facts.next().await.unwrap();
    assert!(up.os.is_some() && up.pv_drivers.is_some());
    assert_eq!(up.addresses[0].to_string(), "10.0.0.7");
    assert_eq!(sim.guest_facts(domid), Some(up));
    sim.set_memory(domid, mib(500)).await.unwrap();
    assert_eq!(facts.next().await.unwrap().memory_free, Some(mib(300)));
    sim.destroy(domid).await.unwrap();
    assert_eq!(facts.next().await, None, "the stream ends with the domain");
    assert_eq!(sim.watch(domid).next().await, None);

    let old = sim.create(&spec("old-1"), Start::Running).await.unwrap();
    hand.advance(SECOND * 10).await;
    assert_eq!(sim.guest_facts(old), Some(Default::default()));
}

#[tokio::test]
async fn a_suspended_guest_keeps_what_it_was_doing() {
    let hand = ManualClock::new();
    let sim = host(&hand);
    let folder = tempfile::tempdir().unwrap();
    let file = || std::fs::File::create(folder.path().join("stream")).unwrap().into();
    let domid = sim.create(&spec("web"), Start::Running).await.unwrap();
    hand.advance(SECOND * 10).await;
    sim.shutdown(domid, ShutdownRequest::PowerOff).await.unwrap();
    hand.advance(SECOND * 2).await;
    sim.suspend(domid, file()).await.unwrap();
    hand.advance(SECOND * 100).await;
    sim.cancel_suspend(domid).await.unwrap();
    hand.advance(SECOND).await;
    assert_eq!(sim.domain(domid).await.unwrap().status, DomainStatus::Running);
    hand.advance(SECOND).await;
    assert_eq!(sim.domain(domid).await.unwrap().status, DomainStatus::Dead(DeathReason::PowerOff));
}

#[tokio::test]
async fn another_vms_stream_is_refused() {
    let sim = SimHypervisor::builder().build();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let domid = sim.create(&spec("web"), Start::Running).await.unwrap();
    sim.suspend(domid, std::fs::File::create(&path).unwrap().into()).await.unwrap();
    let other = sim.resume(&spec("db"), std::fs::File::open(&path).unwrap().into(), Start::Running).await;
    assert!(
        matches!(other, Err(HypervisorError::InvalidSpec { ref field, .. }) if field == "identity.vm"),
        "{other:?}"
    );
    assert_eq!(sim.calls(Operation::Resume), 1);
    assert_eq!(sim.domains().await.unwrap().len(), 1);
}

/// What a terminal program would read from a console.
fn read_until(path: &std::path::Path, typed: &str, wanted: &str) -> String {
    use std::io::{Read, Write};
    let mut terminal = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    terminal.write_all(typed.as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut chunk = [0; 512];
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        let count = terminal.read(&mut chunk).unwrap();
        assert!(count > 0, "the console closed after {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_prints_and_echoes() {
    let sim = SimHypervisor::builder().build();
    let mut spec = spec("web");
    spec.graphics = Graphics::None;
    let domid = sim.create(&spec, Start::Running).await.unwrap();
    let path = sim.consoles(domid).await.unwrap().serial.unwrap();
    let read = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || read_until(&path, "root\r", "root\r\nweb login: "))
    };
    let text = tokio::time::timeout(SECOND * 20, read).await.unwrap().unwrap();
    assert!(text.contains("Booting a simulated guest"), "{text}");
    sim.destroy(domid).await.unwrap();
    crate::fixture::until("the terminal to go with its domain", || !path.exists()).await;
}

#[tokio::test]
async fn a_key_changes_the_picture() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sim = SimHypervisor::builder().build();
    let mut spec = spec("desk");
    spec.graphics = Graphics::Vnc;
    let domid = sim.create(&spec, Start::Running).await.unwrap();
    let port = sim.consoles(domid).await.unwrap().vnc_port.unwrap();
    let mut viewer = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut version, mut security, mut start) = ([0; 12], [0; 2], [0; 4 + 24 + 4]);
    viewer.read_exact(&mut version).await.unwrap();
    viewer.write_all(&version).await.unwrap();
    viewer.read_exact(&mut security).await.unwrap();
    viewer.write_all(&[1, 1]).await.unwrap();
    viewer.read_exact(&mut start).await.unwrap();
    assert_eq!((&start[4..8], &start[28..]), (&[1, 64, 0, 200][..], &b"desk"[..]));
    let mut pictures = Vec::new();
    // The whole picture; then what changes, after a key.
    let key = [3, 1, 0, 0, 0, 0, 1, 64, 0, 200, 4, 1, 0, 0, 0, 0, 0, 97];
    for asked in [&[3, 0, 0, 0, 0, 0, 1, 64, 0, 200][..], &key[..]] {
        viewer.write_all(asked).await.unwrap();
        let mut picture = vec![0; 16 + 320 * 200 * 4];
        viewer.read_exact(&mut picture).await.unwrap();
        pictures.push(picture);
    }
    assert_ne!(pictures[0], pictures[1]);
    sim.destroy(domid).await.unwrap();
    assert_eq!(viewer.read(&mut [0; 1]).await.unwrap(), 0, "the server ends with its domain");
}
