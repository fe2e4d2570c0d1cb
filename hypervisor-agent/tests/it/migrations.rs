//! A running VM goes to another host: one of the two runs it, whatever fails, and whoever is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use xenith_common_ids::{IncarnationId, OperationId, VmId};
use xenith_common_pki::Peer;
use xenith_hypervisor_agent::migration::StreamCount;
use xenith_hypervisor_agent_api::{ArrivalCommand, Command, CommandResult, Envelope, SendVm, VmAction};
use xenith_hypervisor_agent_client::{AgentClientError, Wish};
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation, SimConfig};
use xenith_hypervisor_agent_types::{
    Autostart, CpuFeatures, DeathReason, Fault, FaultReason, ObservedVm, Power, VmSpec,
};

use crate::harness::{Lab, define, spec, until};

const TICKET: &str = "a ticket";
/// Long enough for a handshake, and shorter than the guest takes to suspend.
const CUT_AFTER: Duration = Duration::from_secs(1);

/// Two hosts that one orchestrator commands: each trusts its own authority, which the sender is told.
async fn hosts() -> (Lab, Lab) {
    (Lab::new().await, Lab::new().await)
}

/// The same, whose memories go over so many connections at most.
async fn hosts_with_streams(here: u8, there: u8) -> (Lab, Lab) {
    let mut labs = [(); 2].map(|()| Lab::builder().build());
    for (lab, streams) in labs.iter_mut().zip([here, there]) {
        lab.config.memory_streams = Some(StreamCount::try_from(streams).unwrap());
        lab.start().await;
    }
    let [here, there] = labs;
    (here, there)
}

/// What lies between two hosts: it counts their connections, and cuts the one with this number after a moment.
async fn wire(port: u16, cut: Option<usize>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (own, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut to = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let carried = tokio::io::copy_bidirectional(&mut from, &mut to);
                let life = if cut == Some(number) { CUT_AFTER } else { Duration::from_secs(3600) };
                let _cut = tokio::time::timeout(life, carried).await;
            });
        }
    });
    (own, count)
}

async fn open(there: &Lab, up: &ObservedVm) -> u16 {
    let open = ArrivalCommand::Open {
        vm: up.vm,
        incarnation: up.incarnation.unwrap(),
        ticket_hash: blake3::hash(TICKET.as_bytes()).to_hex().to_string(),
        idle: Duration::from_secs(60),
    };
    match there.execute(Command::Arrival(open)).await.unwrap() {
        CommandResult::ArrivalOpen(port) => port,
        other => panic!("{other:?}"),
    }
}

fn order(there: &Lab, port: u16) -> SendVm {
    SendVm {
        address: format!("127.0.0.1:{port}"),
        server_name: Peer::Host(there.host).server_name().to_str().into_owned(),
        authority_pem: there.authority.certificate_pem().to_owned(),
        ticket: TICKET.to_owned(),
        exchanged: vec![],
    }
}

/// A running VM, and its definition on the other host.
async fn to_go(here: &Lab, there: &Lab) -> ObservedVm {
    let up = here.running("web-1").await;
    there.done(up.vm, define(1, spec("web-1"))).await;
    up
}

pub async fn send(here: &Lab, there: &Lab, up: &ObservedVm) -> Result<CommandResult, Fault> {
    let port = open(there, up).await;
    here.vm(up.vm, VmAction::Send(Box::new(order(there, port)))).await
}

async fn power(lab: &Lab, vm: VmId) -> Option<Power> {
    lab.look(vm).await.map(|observed| observed.power)
}

/// How many of the two run it, by their hypervisors.
async fn running(labs: [&Lab; 2]) -> usize {
    use xenith_hypervisor_agent_backend::Hypervisor;
    use xenith_hypervisor_agent_types::DomainStatus;
    let mut count = 0;
    for lab in labs {
        let domains = lab.sim.domains().await.unwrap();
        count += domains.iter().filter(|domain| domain.status == DomainStatus::Running).count();
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_runs_on_elsewhere_as_the_same_run() {
    let (here, there) = hosts().await;
    let up = to_go(&here, &there).await;
    send(&here, &there, &up).await.unwrap();
    assert_eq!(power(&here, up.vm).await, Some(Power::Suspending));
    assert_eq!(power(&there, up.vm).await, Some(Power::Paused));
    assert_eq!(running([&here, &there]).await, 0, "who runs it has yet to be said");
    // Told again, nothing is sent twice.
    let port = open(&there, &up).await;
    here.done(up.vm, VmAction::Send(Box::new(order(&there, port)))).await;
    assert_eq!(here.sim.calls(Operation::SuspendLive), 1);

    let arrived = there.done(up.vm, VmAction::Unpause).await;
    assert_eq!((arrived.power, arrived.incarnation), (Power::Running, up.incarnation));
    here.done(up.vm, VmAction::Destroy).await;
    here.vm(up.vm, VmAction::Forget).await.unwrap();
    assert_eq!(running([&here, &there]).await, 1);
    assert_eq!(power(&here, up.vm).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_before_all_is_there_leaves_it_where_it_runs() {
    let (here, there) = hosts().await;
    let up = to_go(&here, &there).await;
    let (fail, spoil) = (FaultRule::fail, FaultRule::spoil);
    let failures = [
        ("no memory there", &there, fail(Operation::Resume, Failure::NoMemory)),
        ("the build fails there", &there, fail(Operation::Resume, Failure::Failed)),
        ("the answer of the build is lost", &there, spoil(Operation::Resume, Failure::Failed)),
        ("the guest does not suspend", &here, fail(Operation::SuspendLive, Failure::Unresponsive)),
        ("the answer of the suspend is lost", &here, spoil(Operation::SuspendLive, Failure::Failed)),
    ];
    for (case, lab, rule) in failures {
        lab.sim.inject(rule);
        let sent = send(&here, &there, &up).await;
        assert!(sent.is_err(), "{case}: {sent:?}");
        here.becomes(up.vm, Power::Running).await;
        there.execute(Command::Arrival(ArrivalCommand::Close { vm: up.vm })).await.unwrap();
        there.done(up.vm, VmAction::Destroy).await;
        assert_eq!(power(&there, up.vm).await, Some(Power::Stopped), "{case}");
        assert_eq!(running([&here, &there]).await, 1, "{case}");
    }
    // And then it goes all the same.
    send(&here, &there, &up).await.unwrap();
}

/// AVX2, with AVX-512 or without.
fn features(ebx: u32) -> CpuFeatures {
    CpuFeatures::new("GenuineIntel", [1, 1, 1, 1, 1, ebx, 0, 0]).unwrap()
}

async fn host_with(features: CpuFeatures) -> Lab {
    let with = |config: &mut SimConfig| config.host.cpu_features = Some(features);
    Lab::builder().sim(|sim| sim.with(with)).start().await
}

/// The host that a guest comes to asks itself, too, whatever the orchestrator thinks of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_runs_on_only_where_all_that_it_was_given_is() {
    let (full, less) = (features(0x1_0020), features(0x20));
    let (here, there) = (host_with(full).await, host_with(less).await);
    let started_under = async |name: &str, level: CpuFeatures| {
        let vm = here.define(name).await;
        there.done(vm, define(1, spec(name))).await;
        let run = IncarnationId::new();
        here.done(vm, VmAction::Start { incarnation: run, cpu_level: Some(level) }).await
    };

    let wide = started_under("wide", full).await;
    assert_eq!(wide.cpu_given.as_deref(), Some(&full));
    let sent = send(&here, &there, &wide).await;
    assert!(sent.is_err(), "{sent:?}");
    here.becomes(wide.vm, Power::Running).await;
    there.execute(Command::Arrival(ArrivalCommand::Close { vm: wide.vm })).await.unwrap();
    assert_eq!(power(&there, wide.vm).await, Some(Power::Stopped));
    assert_eq!((running([&here, &there]).await, there.sim.calls(Operation::Resume)), (1, 0));

    let narrow = started_under("narrow", less).await;
    assert_eq!(narrow.cpu_given.as_deref(), Some(&less));
    let level = here.sim.hardware_of(narrow.domid.unwrap()).unwrap().cpu_level.unwrap();
    assert_eq!((level.host(), level.given()), (&full, &less), "that is what Xen is told");
    send(&here, &there, &narrow).await.unwrap();
    let arrived = there.done(narrow.vm, VmAction::Unpause).await;
    assert_eq!(arrived.cpu_given.as_deref(), Some(&less));

    // A start that nobody commands keeps to the level.
    there.sim.end_guest(arrived.domid.unwrap(), DeathReason::Reboot).unwrap();
    until("the next run", async || {
        let now = there.look(narrow.vm).await.unwrap();
        now.power == Power::Running
            && now.incarnation != arrived.incarnation
            && now.cpu_given.as_deref() == Some(&less)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_ticket_or_nobody_there_is_found_out_before_the_guest_is_asked() {
    let (here, there) = hosts().await;
    let up = to_go(&here, &there).await;
    let port = open(&there, &up).await;
    let wrong = SendVm { ticket: "another".into(), ..order(&there, port) };
    let gone = order(&there, 1);
    for order in [wrong, gone] {
        assert_eq!(here.refused(up.vm, VmAction::Send(Box::new(order))).await, FaultReason::NotReady);
    }
    there.execute(Command::Arrival(ArrivalCommand::Close { vm: up.vm })).await.unwrap();
    let closed = VmAction::Send(Box::new(order(&there, port)));
    assert_eq!(here.refused(up.vm, closed).await, FaultReason::NotReady);
    assert_eq!(here.sim.calls(Operation::SuspendLive), 0);
    assert_eq!(power(&here, up.vm).await, Some(Power::Running));
}

/// The source is killed, and its host even rebooted: nothing is let run there that may run elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_comes_back_does_not_run_what_it_has_sent() {
    let (mut here, there) = hosts().await;
    let mut definition = spec("web-1");
    definition.autostart = Some(Autostart { order: 0, delay_s: 0 });
    let witness = here.define_as(VmSpec { name: "witness".parse().unwrap(), ..definition.clone() }).await;
    let vm = here.define_as(definition).await;
    let run = IncarnationId::new();
    let up = here.done(vm, VmAction::Start { incarnation: run, cpu_level: None }).await;
    there.done(vm, define(1, spec("web-1"))).await;
    send(&here, &there, &up).await.unwrap();

    here.restart().await;
    assert_eq!(power(&here, vm).await, Some(Power::Suspending));
    // Its host goes down with the domain and boots again.
    here.kill().await;
    use xenith_hypervisor_agent_backend::Hypervisor;
    for domain in here.sim.domains().await.unwrap() {
        here.sim.destroy(domain.domid).await.unwrap();
    }
    here.boot = "second boot".to_owned();
    here.start().await;
    here.becomes(witness, Power::Running).await;
    there.done(vm, VmAction::Unpause).await;
    assert_eq!(power(&here, vm).await, Some(Power::Stopped), "it is not autostarted");
    assert_eq!(running([&here, &there]).await, 2, "the witness here, the VM there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_is_taken_back_and_can_be_sent_again() {
    let (mut here, mut there) = hosts().await;
    let up = to_go(&here, &there).await;
    send(&here, &there, &up).await.unwrap();
    there.done(up.vm, VmAction::Destroy).await;
    here.done(up.vm, VmAction::TakeBack).await;
    assert_eq!(power(&here, up.vm).await, Some(Power::Running));
    here.done(up.vm, VmAction::TakeBack).await;
    here.restart().await;
    assert_eq!(power(&here, up.vm).await, Some(Power::Running));

    // The receiver is killed when all is there, and still has it.
    send(&here, &there, &up).await.unwrap();
    there.restart().await;
    assert_eq!(power(&there, up.vm).await, Some(Power::Paused));
    there.done(up.vm, VmAction::Unpause).await;
    assert_eq!(running([&here, &there]).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_side_that_is_killed_on_the_way_leaves_it_where_it_runs() {
    let (mut here, mut there) = hosts().await;
    let up = to_go(&here, &there).await;
    for killed in ["source", "destination"] {
        match killed {
            // What is written meanwhile arrives, although nobody is told. A thread reads it, which the kill waits for.
            "source" => here.sim.inject(FaultRule::hang(Operation::SuspendLive, Duration::from_secs(2))),
            _ => there.sim.inject(FaultRule::hang(Operation::Resume, Duration::from_secs(600))),
        }
        let before = (here.sim.calls(Operation::SuspendLive), there.sim.calls(Operation::Resume));
        let port = open(&there, &up).await;
        let action = VmAction::Send(Box::new(order(&there, port)));
        let (client, envelope) = (here.client(), here.envelope(Command::Vm { vm: up.vm, action }));
        let sending = tokio::spawn(async move { client.execute(&envelope).await });
        if killed == "source" {
            here.called(Operation::SuspendLive, before.0).await;
            here.restart().await;
        } else {
            there.called(Operation::Resume, before.1).await;
            there.restart().await;
        }
        assert!(sending.await.unwrap().is_err(), "{killed}");
        here.becomes(up.vm, Power::Running).await;
        there.execute(Command::Arrival(ArrivalCommand::Close { vm: up.vm })).await.unwrap();
        if killed == "source" {
            there.done(up.vm, VmAction::Destroy).await;
        }
        there.becomes(up.vm, Power::Stopped).await;
        until("its hypervisor to let it run", async || running([&here, &there]).await == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cancels_a_migration_keeps_the_vm_running() {
    let (here, there) = hosts().await;
    let up = to_go(&here, &there).await;
    // The pipe is read and the peer waits: whoever cancels is heard at the next piece.
    here.sim.inject(FaultRule::hang(Operation::SuspendLive, Duration::from_secs(600)));
    let port = open(&there, &up).await;
    let operation = OperationId::new();
    let action = VmAction::Send(Box::new(order(&there, port)));
    let command = Command::Vm { vm: up.vm, action };
    let (client, envelope) = (here.client(), Envelope { operation, epoch: here.epoch, command });
    let sending = tokio::spawn(async move { client.execute(&envelope).await });
    let client = here.client();
    until("the sending to be stopped", async || {
        let is_written = here.sim.calls(Operation::SuspendLive) > 0;
        let heard = client.progress(operation, here.epoch, Wish::Stop).await;
        if is_written && heard.is_ok() {
            here.sim.hurry();
        }
        sending.is_finished()
    })
    .await;
    let refused = sending.await.unwrap();
    assert!(matches!(refused, Err(AgentClientError::Refused(_))), "{refused:?}");
    here.becomes(up.vm, Power::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_goes_over_as_many_connections_as_both_hosts_take() {
    // The guest has 256 MiB, which is worth four.
    for (from, to, used) in [(3, 4, 3), (8, 8, 4), (4, 1, 1), (1, 4, 1)] {
        let (here, there) = hosts_with_streams(from, to).await;
        let up = to_go(&here, &there).await;
        let (port, connections) = wire(open(&there, &up).await, None).await;
        here.done(up.vm, VmAction::Send(Box::new(order(&there, port)))).await;
        // One more where the look before it was not over when the first was made.
        let made = connections.load(Ordering::SeqCst);
        assert!((used..=used + 1).contains(&made), "{from} to {to}: {made}");
        let arrived = there.done(up.vm, VmAction::Unpause).await;
        assert_eq!((arrived.power, arrived.incarnation), (Power::Running, up.incarnation), "{from} to {to}");
        here.done(up.vm, VmAction::Destroy).await;
        assert_eq!(running([&here, &there]).await, 1, "{from} to {to}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_connections_that_is_lost_leaves_it_where_it_runs() {
    let (here, there) = hosts_with_streams(3, 3).await;
    let up = to_go(&here, &there).await;
    // The first may have been the look before it.
    for cut in 1..3 {
        here.sim.inject(FaultRule::hang(Operation::SuspendLive, 3 * CUT_AFTER));
        let (port, _) = wire(open(&there, &up).await, Some(cut)).await;
        let lost = here.refused(up.vm, VmAction::Send(Box::new(order(&there, port)))).await;
        assert_eq!(lost, FaultReason::NotReady, "the connection {cut}: worth another try");
        here.becomes(up.vm, Power::Running).await;
        there.execute(Command::Arrival(ArrivalCommand::Close { vm: up.vm })).await.unwrap();
        there.done(up.vm, VmAction::Destroy).await;
        assert_eq!(running([&here, &there]).await, 1, "the connection {cut}");
    }
    send(&here, &there, &up).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_at_the_other_end_of_several_connections_is_told() {
    let (here, there) = hosts_with_streams(3, 3).await;
    let up = to_go(&here, &there).await;
    there.sim.inject(FaultRule::fail(Operation::Resume, Failure::NoMemory));
    assert!(send(&here, &there, &up).await.is_err());
    here.becomes(up.vm, Power::Running).await;
    there.execute(Command::Arrival(ArrivalCommand::Close { vm: up.vm })).await.unwrap();
    there.done(up.vm, VmAction::Destroy).await;
    assert_eq!(running([&here, &there]).await, 1);
    send(&here, &there, &up).await.unwrap();
}
