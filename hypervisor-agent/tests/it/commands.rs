//! Every command in every state, and what Apply and the VDI commands do.

use std::time::Duration;

use xenith_common_ids::{VdiId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Exchanged, ShutdownKind, VmAction};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_sim::{Delay, Failure, FaultRule, Manners, Operation};
use xenith_hypervisor_agent_types::{
    CrashAction, DiskAccess, DiskDevice, DiskSpec, FaultReason, ObservedVm, Power, VdiFacts, VdiSize,
};

use crate::harness::{Lab, define, mib, power_off, resume, spec, start};

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Undefined,
    Stopped,
    Ended,
    Running,
    Paused,
    Suspended,
    Preserved,
}

/// A VM in this state; with it, a start of the run that it has or had.
async fn bring(lab: &Lab, state: State, number: usize) -> (VmId, VmAction) {
    let mut spec = spec(&format!("vm-{number}"));
    spec.on_crash = CrashAction::Preserve;
    let vm = VmId::new();
    let again = start();
    if state == State::Undefined {
        return (vm, again);
    }
    lab.done(vm, define(1, spec)).await;
    if state == State::Stopped {
        return (vm, again);
    }
    let up = lab.done(vm, again.clone()).await;
    match state {
        State::Ended => drop(lab.done(vm, VmAction::Destroy).await),
        State::Paused => drop(lab.done(vm, VmAction::Pause).await),
        State::Suspended => drop(lab.done(vm, VmAction::Suspend).await),
        State::Preserved => {
            lab.sim.crash(up.domid.unwrap()).unwrap();
            lab.becomes(vm, Power::Crashed).await;
        }
        _ => {}
    }
    (vm, again)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_in_every_state_end_to_end() {
    let lab = Lab::new().await;
    let no = "wrong-state";
    let ended = "incarnation-ended";
    let table = [
        //        start    again    resume   shutdown   destroy    pause    unpause    suspend      discard    apply      forget
        (State::Undefined, ["not-found"; 11].map(|word| word)),
        (
            State::Stopped,
            ["running", "running", no, "stopped", "stopped", no, no, no, "stopped", "stopped", "gone"],
        ),
        (
            State::Ended,
            ["running", ended, no, "stopped", "stopped", no, no, no, "stopped", "stopped", "gone"],
        ),
        (
            State::Running,
            [no, "running", no, "stopped", "stopped", "paused", "running", "suspended", no, "running", no],
        ),
        (State::Paused, [no, "paused", no, no, "stopped", "paused", "running", no, no, "paused", no]),
        (
            State::Suspended,
            [no, no, "running", no, "suspended", no, no, "suspended", "stopped", "suspended", no],
        ),
        (State::Preserved, [no, "crashed", no, no, "stopped", no, no, no, no, "crashed", no]),
    ];
    let mut number = 0;
    for (state, expected) in table {
        for (column, expected) in expected.into_iter().enumerate() {
            number += 1;
            let (vm, again) = bring(&lab, state, number).await;
            let action = match column {
                0 => start(),
                1 => again,
                2 => resume(),
                3 => power_off(),
                4 => VmAction::Destroy,
                5 => VmAction::Pause,
                6 => VmAction::Unpause,
                7 => VmAction::Suspend,
                8 => VmAction::DiscardSuspended,
                9 => VmAction::Apply,
                _ => VmAction::Forget,
            };
            let case = format!("{action:?} when {state:?}");
            let found = match lab.vm(vm, action).await {
                Ok(CommandResult::Vm(vm) | CommandResult::Applied { vm, .. }) => vm.power.to_string(),
                Ok(CommandResult::Nothing) => "gone".to_owned(),
                Ok(other) => panic!("{case}: {other:?}"),
                Err(fault) => fault.reason.to_string(),
            };
            // To forget what is not there is fine: it holds already.
            let expected = if state == State::Undefined && column == 10 { "gone" } else { expected };
            assert_eq!(found, expected, "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_only_go_up() {
    let lab = Lab::new().await;
    let vm = VmId::new();
    lab.done(vm, define(3, spec("v"))).await;
    assert_eq!(lab.refused(vm, define(2, spec("v"))).await, FaultReason::StaleDefinition);
    assert_eq!(lab.done(vm, define(3, spec("v"))).await.definition, 3);
    assert_eq!(lab.done(vm, define(4, spec("w"))).await.name, "w");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_definitions_at_once_leave_the_newer() {
    let lab = Lab::new().await;
    for _ in 0..20 {
        let vm = VmId::new();
        let (older, newer) = tokio::join!(lab.vm(vm, define(1, spec("v"))), lab.vm(vm, define(2, spec("v"))));
        assert!(older.is_ok() || older.is_err_and(|fault| fault.reason == FaultReason::StaleDefinition));
        newer.unwrap();
        assert_eq!(lab.look(vm).await.unwrap().definition, 2);
        lab.vm(vm, VmAction::Forget).await.unwrap();
        assert_eq!(lab.look(vm).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deaf_guest_is_waited_for_and_then_powered_off_by_force() {
    let lab = Lab::builder().sim(|sim| sim.manners("deaf", Manners::Deaf)).start().await;
    let vm = lab.running("deaf").await.vm;
    let short = VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline: Duration::from_secs(1) };
    let fault = lab.vm(vm, short).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::GuestUnresponsive);
    assert!(fault.message.contains("did not take the request up"), "{fault}");
    assert!(fault.message.contains("power it off"), "{fault}");
    // While somebody waits for the guest, force is not made to wait.
    let (waited, forced) = tokio::join!(lab.vm(vm, power_off()), async {
        lab.becomes(vm, Power::Stopping).await;
        lab.vm(vm, VmAction::Destroy).await
    });
    assert_eq!(waited.unwrap_err().reason, FaultReason::WrongState);
    assert!(forced.is_ok());
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_is_not_down_in_time_is_told_from_one_that_never_listened() {
    let slow = "600s".parse::<Delay>().unwrap();
    let lab =
        Lab::builder().sim(|sim| sim.guest_shutdown(slow).manners("acpi", Manners::NoDrivers)).start().await;
    let short = || VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline: Duration::from_secs(1) };
    let slow = lab.running("slow").await.vm;
    let fault = lab.vm(slow, short()).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::GuestShuttingDown);
    assert!(fault.message.contains("is still shutting down"), "{fault}");
    // ACPI tells nothing of the kind.
    let acpi = lab.running("acpi").await.vm;
    let fault = lab.vm(acpi, short()).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::GuestUnresponsive);
    assert!(fault.message.starts_with("the guest did not shut down within 1 s"), "{fault}");
}

/// As libxl, which waits for the guest to take the request up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_a_guest_takes_no_longer_than_its_deadline() {
    let lab = Lab::builder().sim(|sim| sim.manners("deaf", Manners::Deaf)).start().await;
    let vm = lab.running("deaf").await.vm;
    let short = || VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline: Duration::from_secs(1) };
    for rule in [
        FaultRule::hang(Operation::Shutdown, Duration::from_secs(600)),
        FaultRule::spoil(Operation::Shutdown, Failure::Unresponsive),
    ] {
        lab.sim.inject(rule);
        let told = tokio::time::timeout(Duration::from_secs(20), lab.vm(vm, short())).await.expect("in time");
        let fault = told.unwrap_err();
        assert_eq!(fault.reason, FaultReason::GuestUnresponsive);
        assert!(fault.message.contains("did not take the request up within 1 s"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reboot_that_was_asked_for_is_a_new_run() {
    let lab = Lab::new().await;
    let before = lab.running("v").await;
    let reboot = VmAction::Shutdown { kind: ShutdownKind::Reboot, deadline: Duration::from_secs(20) };
    let after = lab.done(before.vm, reboot).await;
    assert_eq!(after.power, Power::Running);
    assert_ne!((after.domid, after.incarnation), (before.domid, before.incarnation));
}

async fn vdi(lab: &Lab, size: &str) -> VdiFacts {
    let sr = lab.client().hello(lab.epoch, "test").await.unwrap().local_sr;
    let size: VdiSize = size.parse().unwrap();
    match lab.execute(Command::EnsureVdi { vdi: VdiId::new(), sr, size }).await.unwrap() {
        CommandResult::Vdi(facts) => facts,
        other => panic!("{other:?}"),
    }
}

fn disk(index: u8, vdi: VdiId) -> DiskSpec {
    DiskSpec { device: DiskDevice::nth(index).unwrap(), vdi, access: DiskAccess::ReadWrite }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_changes_what_can_change_and_names_what_waits() {
    let lab = Lab::new().await;
    let up: ObservedVm = lab.running("v").await;
    let image = vdi(&lab, "64MiB").await;
    let mut changed = spec("v");
    changed.memory.target = mib(300);
    changed.disks = vec![disk(0, image.vdi)];
    changed.graphics = xenith_hypervisor_agent_types::Graphics::Vnc;
    lab.done(up.vm, define(2, changed.clone())).await;
    let applied = lab.vm(up.vm, VmAction::Apply).await.unwrap();
    let CommandResult::Applied { after_restart, .. } = applied else { panic!("{applied:?}") };
    assert_eq!(after_restart, ["graphics"]);
    let domid = up.domid.unwrap();
    assert_eq!(lab.sim.devices(domid).unwrap().disks.len(), 1);
    assert_eq!(lab.sim.domain(domid).await.unwrap().memory, mib(300));
    changed.disks.clear();
    lab.done(up.vm, define(3, changed)).await;
    lab.done(up.vm, VmAction::Apply).await;
    assert_eq!(lab.sim.devices(domid).unwrap().disks.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_a_running_or_suspended_vm_is_not_deleted() {
    let lab = Lab::new().await;
    let image = vdi(&lab, "64MiB").await;
    let delete = || Command::DeleteVdi { vdi: image.vdi, sr: image.sr };
    let mut with_disk = spec("v");
    with_disk.disks = vec![disk(0, image.vdi)];
    let vm = lab.define_as(with_disk).await;
    lab.done(vm, start()).await;
    for suspended in [false, true] {
        if suspended {
            lab.done(vm, VmAction::Suspend).await;
        }
        match lab.execute(delete()).await.unwrap_err() {
            AgentClientError::Refused(fault) => assert_eq!(fault.reason, FaultReason::WrongState, "{fault}"),
            other => panic!("{other}"),
        }
    }
    lab.done(vm, VmAction::DiscardSuspended).await;
    lab.execute(delete()).await.unwrap();
    lab.execute(delete()).await.unwrap();
    // And a start says what is missing, by name.
    let fault = lab.vm(vm, start()).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::NotFound);
    assert!(fault.message.contains("xvda"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_spec_names_the_field() {
    let lab = Lab::new().await;
    let mut missing = spec("v");
    if let xenith_hypervisor_agent_types::Platform::Pvh { boot } = &mut missing.platform {
        boot.kernel = "none".to_owned();
    }
    let vm = lab.define_as(missing).await;
    let fault = lab.vm(vm, start()).await.unwrap_err();
    assert_eq!(fault.field.as_deref(), Some("platform.boot.kernel"), "{fault}");
    assert!(
        fault.message.contains("there are ") && fault.message.contains("vmlinuz"),
        "what could be: {fault}"
    );
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saved_memory_is_resumed_with_the_disk_that_took_the_others_place() {
    let mut lab = Lab::new().await;
    let (old, new) = (vdi(&lab, "1MiB").await, vdi(&lab, "1MiB").await);
    let mut with_disk = spec("v");
    with_disk.disks = vec![disk(0, old.vdi)];
    let vm = lab.define_as(with_disk).await;
    lab.done(vm, start()).await;
    let exchange = |from, to| VmAction::Exchange(Exchanged { from, to });
    assert_eq!(lab.refused(vm, exchange(old.vdi, new.vdi)).await, FaultReason::WrongState, "it runs");
    lab.done(vm, VmAction::Suspend).await;
    assert_eq!(lab.refused(vm, exchange(VdiId::new(), new.vdi)).await, FaultReason::Invalid);
    // There, back, and there again; twice, as by somebody who did not hear the answer; and over a restart.
    for (from, to) in [(old.vdi, new.vdi), (new.vdi, old.vdi), (old.vdi, new.vdi), (old.vdi, new.vdi)] {
        assert_eq!(lab.done(vm, exchange(from, to)).await.power, Power::Suspended);
    }
    lab.restart().await;
    let in_use = lab.execute(Command::DeleteVdi { vdi: new.vdi, sr: new.sr }).await;
    assert!(
        matches!(in_use, Err(AgentClientError::Refused(fault)) if fault.reason == FaultReason::WrongState)
    );
    lab.execute(Command::DeleteVdi { vdi: old.vdi, sr: old.sr }).await.unwrap();
    let up = lab.done(vm, resume()).await;
    let disks = lab.sim.devices(up.domid.unwrap()).unwrap().disks;
    assert!(disks[0].path.to_string_lossy().contains(&new.vdi.to_string()), "{disks:?}");
}
