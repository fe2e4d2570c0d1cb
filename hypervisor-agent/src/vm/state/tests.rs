//! The whole table: every command in every state.

use std::time::Duration;

use super::*;
use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_api::SendVm;
use xenith_hypervisor_agent_types::test_support::small;
use xenith_hypervisor_agent_types::{CrashAction, MemoryOf, Quiesce};

fn actions(run: IncarnationId) -> Vec<(&'static str, VmAction)> {
    let deadline = Duration::from_secs(1);
    vec![
        ("start", VmAction::Start { incarnation: run, cpu_level: None }),
        ("resume", VmAction::Resume { incarnation: run }),
        ("shutdown", VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline }),
        ("destroy", VmAction::Destroy),
        ("pause", VmAction::Pause),
        ("unpause", VmAction::Unpause),
        ("suspend", VmAction::Suspend),
        ("discard", VmAction::DiscardSuspended),
        ("apply", VmAction::Apply),
    ]
}

fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::AlreadySo => "so",
        Decision::Join => "join",
        Decision::Begin(_) => "begin",
        Decision::Supersede(_) => "supersede",
        Decision::Denied(_) => "no",
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one line per row of the table")]
fn every_command_in_every_state() {
    let (run, other) = (IncarnationId::new(), IncarnationId::new());
    let up = |mode| Settled::Up(Up { domid: DomId(1), run, mode });
    let ended = Settled::Stopped { last: Some(Ended { run, reason: DeathReason::PowerOff }) };
    let running = up(Mode::Running);
    // columns:              start resume shutdown destroy pause unpause suspend discard apply
    let table: [(&str, &Settled, Option<Activity>, IncarnationId, [&str; 9]); 15] = [
        (
            "never started",
            &Settled::Stopped { last: None },
            None,
            run,
            ["begin", "no", "so", "so", "no", "no", "no", "so", "so"],
        ),
        ("this run ended", &ended, None, run, ["no", "no", "so", "so", "no", "no", "no", "so", "so"]),
        ("another run ended", &ended, None, other, ["begin", "no", "so", "so", "no", "no", "no", "so", "so"]),
        (
            "suspended",
            &Settled::Suspended,
            None,
            run,
            ["no", "begin", "no", "so", "no", "no", "so", "begin", "so"],
        ),
        (
            "running",
            &running,
            None,
            run,
            ["so", "so", "begin", "begin", "begin", "so", "begin", "no", "begin"],
        ),
        (
            "running as another",
            &running,
            None,
            other,
            ["no", "no", "begin", "begin", "begin", "so", "begin", "no", "begin"],
        ),
        (
            "paused",
            &up(Mode::Paused),
            None,
            run,
            ["so", "so", "no", "begin", "so", "begin", "no", "no", "begin"],
        ),
        (
            "preserved",
            &up(Mode::Preserved),
            None,
            run,
            ["so", "so", "no", "begin", "no", "no", "no", "no", "so"],
        ),
        (
            "starting",
            &Settled::Stopped { last: None },
            Some(Activity::Starting(run)),
            run,
            ["join", "no", "no", "no", "no", "no", "no", "no", "no"],
        ),
        (
            "being let run by the agent itself",
            &running,
            Some(Activity::Unpausing),
            run,
            ["join", "join", "no", "no", "no", "join", "no", "no", "no"],
        ),
        (
            "being changed",
            &running,
            Some(Activity::Applying),
            run,
            ["so", "so", "no", "no", "no", "no", "no", "no", "no"],
        ),
        (
            "shutting down",
            &running,
            Some(Activity::ShuttingDown(ShutdownKind::PowerOff)),
            run,
            ["no", "no", "join", "supersede", "no", "no", "no", "no", "no"],
        ),
        (
            "suspending",
            &running,
            Some(Activity::Suspending),
            run,
            ["no", "no", "no", "no", "no", "no", "join", "no", "no"],
        ),
        (
            "cleared away, as its guest has powered off",
            &running,
            Some(Activity::CleaningUp(AfterDeath::Stop(DeathReason::PowerOff))),
            run,
            ["no", "no", "join", "join", "no", "no", "no", "no", "no"],
        ),
        (
            "starting again, as its guest has rebooted",
            &running,
            Some(Activity::CleaningUp(AfterDeath::Restart(DeathReason::Reboot))),
            run,
            ["no", "no", "no", "no", "no", "no", "no", "no", "no"],
        ),
    ];
    for (case, settled, activity, incarnation, expected) in table {
        for ((name, action), expected) in actions(incarnation).into_iter().zip(expected) {
            let decision = decide(settled, activity, &action, None);
            assert_eq!(word(&decision), expected, "{name} when {case}: {decision:?}");
        }
    }
}

/// What docs/state-machines.md says of a command that comes while nothing is being done. A cell that is empty or names
/// another row says nothing by itself, and `forget` is decided by the VM's owner.
#[test]
fn the_manual_has_the_same_table() {
    let manual = include_str!("../../../../docs/state-machines.md");
    let [run, other, before] = [(); 3].map(|()| IncarnationId::new());
    let up = |mode| Settled::Up(Up { domid: DomId(1), run, mode });
    let columns = [
        Settled::Stopped { last: Some(Ended { run: before, reason: DeathReason::PowerOff }) },
        up(Mode::Running),
        up(Mode::Paused),
        Settled::Suspended,
        up(Mode::Preserved),
    ];
    let memory = MemoryOf { vdi: VdiId::new(), sr: SrId::new() };
    let (deadline, part) = (Duration::from_secs(1), RevertPart::Whole);
    let rows = [
        ("start, a new run", VmAction::Start { incarnation: other, cpu_level: None }),
        ("start, the run that is on", VmAction::Start { incarnation: run, cpu_level: None }),
        ("start, a run that has ended", VmAction::Start { incarnation: before, cpu_level: None }),
        ("resume", VmAction::Resume { incarnation: other }),
        ("shut down", VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline }),
        ("destroy", VmAction::Destroy),
        ("pause", VmAction::Pause),
        ("unpause", VmAction::Unpause),
        ("suspend", VmAction::Suspend),
        ("discard the saved memory", VmAction::DiscardSuspended),
        ("apply the definition", VmAction::Apply),
        ("snapshot", VmAction::Snapshot { disks: vec![], quiesce: Quiesce::Never }),
        ("snapshot with memory", VmAction::SnapshotWithMemory { disks: vec![], memory }),
        (
            "revert with memory, a new run",
            VmAction::RevertWithMemory { incarnation: other, disks: vec![], memory, part },
        ),
    ];
    for (name, action) in rows {
        let row = manual.lines().find_map(|line| line.strip_prefix(&format!("| {name} |")));
        let cells = row.unwrap_or_else(|| panic!("no row {name:?} in docs/state-machines.md")).split('|');
        let mut said = 0;
        for (cell, settled) in cells.zip(&columns) {
            let expected = match cell.trim().split(':').next() {
                Some("begins") => "begin",
                Some("holds") => "so",
                Some("refused") => "no",
                _ => continue,
            };
            said += 1;
            let decision = decide(settled, None, &action, None);
            assert_eq!(word(&decision), expected, "{name} when {settled:?}: {decision:?}");
        }
        assert!(said > 0, "the row {name:?} says nothing");
    }
}

#[test]
fn a_snapshot_with_memory_in_every_state() {
    let (run, other) = (IncarnationId::new(), IncarnationId::new());
    let up = |mode| Settled::Up(Up { domid: DomId(1), run, mode });
    let ended = Settled::Stopped { last: Some(Ended { run, reason: DeathReason::PowerOff }) };
    let memory = MemoryOf { vdi: VdiId::new(), sr: SrId::new() };
    let back = |incarnation, part| VmAction::RevertWithMemory { incarnation, disks: vec![], memory, part };
    let reverting = Some(Activity::Reverting(run));
    // columns: snapshot check revert check-as-another revert-as-another
    let table: [(&str, Settled, Option<Activity>, [&str; 5]); 10] = [
        ("never started", Settled::Stopped { last: None }, None, ["no", "begin", "begin", "begin", "begin"]),
        ("this run ended", ended.clone(), None, ["no", "no", "no", "begin", "begin"]),
        ("suspended", Settled::Suspended, None, ["no"; 5]),
        ("running", up(Mode::Running), None, ["begin", "so", "so", "no", "no"]),
        ("paused", up(Mode::Paused), None, ["no", "so", "so", "no", "no"]),
        ("sent", up(Mode::Sent), None, ["no", "so", "so", "no", "no"]),
        ("snapshotted", up(Mode::Running), Some(Activity::Snapshotting), ["no", "so", "so", "no", "no"]),
        // The revert itself is not answered by who only looks whether it can be done.
        ("looked at", ended.clone(), Some(Activity::Checking), ["no"; 5]),
        ("going back", ended.clone(), reverting, ["no", "join", "join", "no", "no"]),
        ("being started", ended, Some(Activity::Starting(run)), ["no"; 5]),
    ];
    for (case, settled, activity, expected) in table {
        let actions = [
            VmAction::SnapshotWithMemory { disks: vec![], memory },
            back(run, RevertPart::Check),
            back(run, RevertPart::Whole),
            back(other, RevertPart::Check),
            back(other, RevertPart::Whole),
        ];
        for (action, expected) in actions.into_iter().zip(expected) {
            let decision = decide(&settled, activity, &action, None);
            assert_eq!(word(&decision), expected, "{action:?} when {case}: {decision:?}");
        }
    }
    // Let run once, it is not brought back a second time by the same operation, whatever runs by then.
    let before = Some(Before { run, not_started_again: None });
    let off = Settled::Stopped { last: Some(Ended { run: other, reason: DeathReason::PowerOff }) };
    let decision = decide(&off, None, &back(run, RevertPart::Whole), before);
    let ended = Denied::IncarnationEnded { reason: DeathReason::PowerOff };
    assert_eq!(decision, Decision::Denied(ended), "its disks are others by now");
}

#[test]
fn a_vm_between_two_hosts() {
    let run = IncarnationId::new();
    let up = |mode| Settled::Up(Up { domid: DomId(1), run, mode });
    let stopped = Settled::Stopped { last: None };
    let send = || {
        let text = String::new;
        let (address, server_name) = (text(), text());
        let order = SendVm { address, server_name, authority_pem: text(), ticket: text(), exchanged: vec![] };
        VmAction::Send(Box::new(order))
    };
    let snapshot = || VmAction::Snapshot { disks: vec![], quiesce: Quiesce::Never };
    let sending = Some(Activity::Sending);
    let taken_back = Some(Activity::TakingBack);
    // columns: send take-back snapshot destroy unpause pause snapshot-sent
    let table: [(&str, Settled, Option<Activity>, [&str; 7]); 8] = [
        ("running", up(Mode::Running), None, ["begin", "so", "begin", "begin", "so", "begin", "no"]),
        ("paused", up(Mode::Paused), None, ["no", "so", "begin", "begin", "begin", "so", "no"]),
        ("stopped", stopped.clone(), None, ["no", "so", "begin", "so", "no", "no", "no"]),
        ("sent", up(Mode::Sent), None, ["so", "begin", "no", "begin", "no", "no", "begin"]),
        ("sending", up(Mode::Running), sending, ["join", "no", "no", "no", "no", "no", "no"]),
        ("taken back", up(Mode::Sent), taken_back, ["no", "join", "no", "no", "no", "no", "no"]),
        ("receiving", stopped, Some(Activity::Receiving(run)), ["no"; 7]),
        (
            "unpausing",
            up(Mode::Paused),
            Some(Activity::Unpausing),
            ["no", "no", "no", "no", "join", "no", "no"],
        ),
    ];
    for (case, settled, activity, expected) in table {
        let actions = [
            send(),
            VmAction::TakeBack,
            snapshot(),
            VmAction::Destroy,
            VmAction::Unpause,
            VmAction::Pause,
            VmAction::SnapshotSent { disks: vec![] },
        ];
        for (action, expected) in actions.into_iter().zip(expected) {
            let decision = decide(&settled, activity, &action, None);
            assert_eq!(word(&decision), expected, "{action:?} when {case}: {decision:?}");
        }
    }
    let decision = decide(&up(Mode::Running), sending, &VmAction::TakeBack, None);
    assert_eq!(decision, Decision::Denied(Denied::StillSending), "which is worth asking again");
    let decision = decide(&up(Mode::Sent), Some(Activity::Snapshotting), &VmAction::TakeBack, None);
    assert_eq!(decision, Decision::Denied(Denied::StillSending), "the last of its disks is being kept");
    for (settled, activity, shown) in [
        (up(Mode::Running), sending, Power::Running),
        (up(Mode::Sent), None, Power::Suspending),
        (Settled::Stopped { last: None }, Some(Activity::Receiving(run)), Power::Resuming),
    ] {
        assert_eq!(power(&settled, activity), shown, "{settled:?} {activity:?}");
    }
}

#[test]
fn deaths() {
    let spec = |on_crash, on_reboot| VmSpec { on_crash, on_reboot, ..small("v") };
    use DeathReason::{Crash, PowerOff, Reboot};
    let table = [
        ("clean", PowerOff, CrashAction::Restart, RebootAction::Restart, None, 0, AfterDeath::Stop(PowerOff)),
        ("reboot", Reboot, CrashAction::Stop, RebootAction::Restart, None, 0, AfterDeath::Restart(Reboot)),
        ("no reboot", Reboot, CrashAction::Stop, RebootAction::Stop, None, 0, AfterDeath::Stop(Reboot)),
        (
            "asked off, rebooted",
            Reboot,
            CrashAction::Stop,
            RebootAction::Restart,
            Some(ShutdownKind::PowerOff),
            0,
            AfterDeath::Stop(Reboot),
        ),
        (
            "asked to reboot, went off",
            PowerOff,
            CrashAction::Stop,
            RebootAction::Restart,
            Some(ShutdownKind::Reboot),
            0,
            AfterDeath::Restart(PowerOff),
        ),
        (
            "asked to reboot",
            Reboot,
            CrashAction::Stop,
            RebootAction::Stop,
            Some(ShutdownKind::Reboot),
            0,
            AfterDeath::Restart(Reboot),
        ),
        ("crash", Crash, CrashAction::Restart, RebootAction::Restart, None, 3, AfterDeath::Restart(Crash)),
        (
            "reboot loop",
            Reboot,
            CrashAction::Restart,
            RebootAction::Restart,
            None,
            4,
            AfterDeath::Stop(Reboot),
        ),
        ("crash loop", Crash, CrashAction::Restart, RebootAction::Restart, None, 4, AfterDeath::Stop(Crash)),
        (
            "asked off, crashed",
            Crash,
            CrashAction::Restart,
            RebootAction::Restart,
            Some(ShutdownKind::PowerOff),
            1,
            AfterDeath::Stop(Crash),
        ),
        ("crash kept", Crash, CrashAction::Preserve, RebootAction::Restart, None, 1, AfterDeath::Preserve),
    ];
    for (case, reason, on_crash, on_reboot, asked, crashes, expected) in table {
        assert_eq!(after_death(reason, &spec(on_crash, on_reboot), asked, crashes), expected, "{case}");
    }
}

/// `run` is what the operation reached when it came before.
#[test]
fn what_came_before_is_not_done_to_another_run() {
    let (run, next) = (IncarnationId::new(), IncarnationId::new());
    let up = |run| Settled::Up(Up { domid: DomId(1), run, mode: Mode::Running });
    let stopped = Settled::Stopped { last: Some(Ended { run: next, reason: DeathReason::PowerOff }) };
    let deadline = Duration::from_secs(1);
    let start = VmAction::Start { incarnation: run, cpu_level: None };
    let resume = VmAction::Resume { incarnation: run };
    let off = VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline };
    let reboot = VmAction::Shutdown { kind: ShutdownKind::Reboot, deadline };
    let back = AfterDeath::Restart(DeathReason::Reboot);
    let table: [(&str, Settled, Option<Activity>, [&str; 4]); 9] = [
        // columns:                                        start resume off reboot
        ("it runs", up(run), None, ["so", "so", "begin", "begin"]),
        ("the next runs", up(next), None, ["so", "so", "so", "so"]),
        (
            "it is asked",
            up(run),
            Some(Activity::ShuttingDown(ShutdownKind::Reboot)),
            ["so", "so", "no", "join"],
        ),
        ("its guest is gone", up(run), Some(Activity::CleaningUp(back)), ["so", "so", "join", "join"]),
        ("the next starts", stopped.clone(), Some(Activity::Starting(next)), ["join", "join", "so", "join"]),
        ("the next is let run", up(next), Some(Activity::Unpausing), ["join", "join", "so", "join"]),
        ("the next ends too", up(next), Some(Activity::CleaningUp(back)), ["so", "so", "so", "so"]),
        ("the next ended too", stopped, None, ["no", "no", "so", "so"]),
        ("it is suspended", Settled::Suspended, None, ["no", "no", "no", "no"]),
    ];
    for (case, settled, activity, expected) in table {
        for (action, expected) in [&start, &resume, &off, &reboot].into_iter().zip(expected) {
            let before = Before { run, not_started_again: None };
            let decision = decide(&settled, activity, action, Some(before));
            assert_eq!(word(&decision), expected, "{action:?} when {case}: {decision:?}");
        }
    }
}

/// Of a reboot that is repeated.
#[test]
fn a_reboot_that_did_not_come_back_is_told_as_often_as_it_is_asked_for() {
    let (run, next) = (IncarnationId::new(), IncarnationId::new());
    let up = |run, mode| Settled::Up(Up { domid: DomId(1), run, mode });
    let ended = |run, reason| Settled::Stopped { last: Some(Ended { run, reason }) };
    let fault = Fault::new(xenith_hypervisor_agent_types::FaultReason::NoMemory, "no memory");
    let failed = Some(&fault);
    let table: [(&str, Settled, Option<Activity>, Option<&Fault>, &str); 9] = [
        ("it was not started again", ended(run, DeathReason::Reboot), None, failed, "no"),
        ("left paused", up(next, Mode::Paused), None, failed, "no"),
        ("somebody started it since", up(next, Mode::Running), None, failed, "so"),
        (
            "it is started just now",
            ended(run, DeathReason::Reboot),
            Some(Activity::Starting(next)),
            failed,
            "join",
        ),
        ("nobody saw that it was asked", ended(run, DeathReason::Reboot), None, None, "no"),
        ("its host went down", ended(run, DeathReason::Unknown), None, None, "no"),
        ("the next one's host went down", ended(next, DeathReason::Unknown), None, None, "so"),
        ("it came back", up(next, Mode::Running), None, None, "so"),
        ("it has not gone down", up(run, Mode::Running), None, None, "begin"),
    ];
    let deadline = Duration::from_secs(1);
    let reboot = VmAction::Shutdown { kind: ShutdownKind::Reboot, deadline };
    let off = VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline };
    for (case, settled, activity, not_started_again, expected) in table {
        let before = Before { run, not_started_again };
        let decision = decide(&settled, activity, &reboot, Some(before));
        assert_eq!(word(&decision), expected, "{case}: {decision:?}");
        if matches!(settled, Settled::Stopped { .. }) {
            let decision = decide(&settled, activity, &off, Some(before));
            assert_eq!(word(&decision), "so", "off is what was asked for, when {case}: {decision:?}");
        }
    }
}
