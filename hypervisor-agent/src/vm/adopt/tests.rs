//! The table of the module doc, row by row.

use time::OffsetDateTime;
use xenith_common_ids::{DomainUuid, IncarnationId, VmId};
use xenith_hypervisor_agent_types::test_support::small;
use xenith_hypervisor_agent_types::{DomainIdentity, PlatformKind, ValidVmSpec};

use super::*;
use crate::journal::Saved;

const DOMID: DomId = DomId(7);

fn record(run: IncarnationId, phase: Option<(Phase, By)>) -> VmRecord {
    let spec = small("v");
    let mut record = VmRecord::new(VmId::new(), 1, ValidVmSpec::try_from(spec.clone()).unwrap());
    record.run = phase.map(|(phase, by)| Run {
        incarnation: run,
        phase,
        domid: None,
        applied: spec,
        by,
        started: OffsetDateTime::UNIX_EPOCH,
        asked: None,
        attaching: None,
        cpu_given: None,
        leased: false,
    });
    record
}

fn domain(record: &VmRecord, run: IncarnationId, status: DomainStatus) -> DomainInfo {
    DomainInfo {
        domid: DOMID,
        uuid: record.vm.into(),
        name: "v".into(),
        identity: Some(DomainIdentity { vm: record.vm, incarnation: run }),
        status,
        kind: PlatformKind::Pvh,
        memory: 128.try_into().unwrap(),
        memory_max: 128.try_into().unwrap(),
        vcpus_online: 1,
        cpu_time_ns: 0,
        created: None,
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "one line per row of the table")]
fn rows() {
    use DomainStatus::{Dead, Paused, Running};
    use Image::{Absent, Present};
    let run = IncarnationId::new();
    let up = |mode| Settled::Up(Up { domid: DOMID, run, mode });
    let (running, paused, sent) = (up(Mode::Running), up(Mode::Paused), up(Mode::Sent));
    let stopped = Settled::Stopped { last: None };
    let ended = Settled::Stopped { last: Some(Ended { run, reason: DeathReason::Unknown }) };
    let suspended = Settled::Suspended;
    let dead = Dead(DeathReason::Suspend);
    let crashed = Dead(DeathReason::Crash);
    let (ours, agents) = (By::Orchestrator, By::Agent);
    let release = Some(Fixup::Release(DOMID));
    let table: Vec<(&str, Option<(Phase, By)>, Option<DomainStatus>, Image, &Settled, Option<Fixup>)> = vec![
        ("no run, none", None, None, Absent, &stopped, None),
        ("no run, image", None, None, Present, &suspended, None),
        ("no run, alive", None, Some(Running), Absent, &running, None),
        ("no run, dead", None, Some(dead), Present, &suspended, release),
        ("building, none", Some((Phase::Building, ours)), None, Absent, &stopped, None),
        ("building, paused", Some((Phase::Building, ours)), Some(Paused), Absent, &stopped, release),
        (
            "building for the agent, the run before not released yet",
            Some((Phase::Building, agents)),
            Some(crashed),
            Absent,
            &stopped,
            Some(Fixup::ReleaseAndStart(DOMID)),
        ),
        (
            "building for the agent, none",
            Some((Phase::Building, agents)),
            None,
            Absent,
            &stopped,
            Some(Fixup::Start),
        ),
        (
            "building for the agent, paused",
            Some((Phase::Building, agents)),
            Some(Paused),
            Absent,
            &stopped,
            Some(Fixup::ReleaseAndStart(DOMID)),
        ),
        ("building, running", Some((Phase::Building, ours)), Some(Running), Absent, &running, None),
        ("running", Some((Phase::Running, ours)), Some(Running), Absent, &running, None),
        (
            "running, never unpaused",
            Some((Phase::Running, ours)),
            Some(Paused),
            Absent,
            &running,
            Some(Fixup::Unpause(DOMID)),
        ),
        ("paused", Some((Phase::Paused, ours)), Some(Paused), Absent, &paused, None),
        ("paused, as a move has left it", Some((Phase::Paused, ours)), Some(dead), Absent, &paused, None),
        (
            "paused, never paused",
            Some((Phase::Paused, ours)),
            Some(Running),
            Absent,
            &paused,
            Some(Fixup::Pause(DOMID)),
        ),
        (
            "running, dead",
            Some((Phase::Running, ours)),
            Some(crashed),
            Absent,
            &running,
            Some(Fixup::Death(DeathReason::Crash)),
        ),
        ("running, gone", Some((Phase::Running, ours)), None, Absent, &ended, None),
        ("running, gone, old image", Some((Phase::Running, ours)), None, Present, &ended, None),
        (
            "running, suspended by a suspend that failed",
            Some((Phase::Running, ours)),
            Some(dead),
            Absent,
            &running,
            Some(Fixup::RunOn(DOMID)),
        ),
        ("suspending, committed", Some((Phase::Suspending, ours)), Some(dead), Present, &suspended, release),
        (
            "suspending, released",
            Some((Phase::Suspending, ours)),
            None,
            Present,
            &suspended,
            Some(Fixup::Save),
        ),
        ("suspending, runs", Some((Phase::Suspending, ours)), Some(Running), Present, &running, None),
        (
            "suspending, not committed",
            Some((Phase::Suspending, ours)),
            Some(dead),
            Absent,
            &running,
            Some(Fixup::RunOn(DOMID)),
        ),
        ("suspending, not begun", Some((Phase::Suspending, ours)), Some(Running), Absent, &running, None),
        ("suspending, gone", Some((Phase::Suspending, ours)), None, Absent, &ended, None),
        ("sending, runs", Some((Phase::Sending, ours)), Some(Running), Absent, &running, None),
        (
            "sending, suspended",
            Some((Phase::Sending, ours)),
            Some(dead),
            Absent,
            &running,
            Some(Fixup::RunOn(DOMID)),
        ),
        ("sending, gone", Some((Phase::Sending, ours)), None, Absent, &ended, None),
        ("sent, waits", Some((Phase::Sent, ours)), Some(dead), Absent, &sent, None),
        ("sent, taken back", Some((Phase::Sent, ours)), Some(Running), Absent, &running, None),
        ("sent, gone with its host", Some((Phase::Sent, ours)), None, Absent, &ended, None),
        (
            "sent, ended in another way",
            Some((Phase::Sent, ours)),
            Some(Dead(DeathReason::Reboot)),
            Absent,
            &ended,
            release,
        ),
        ("arriving, not complete", Some((Phase::Resuming, ours)), Some(Paused), Absent, &stopped, release),
        ("resuming, none", Some((Phase::Resuming, ours)), None, Present, &suspended, None),
        ("resuming, paused", Some((Phase::Resuming, ours)), Some(Paused), Present, &suspended, release),
    ];
    for (case, phase, status, image, settled, fixup) in table {
        let mut record = record(run, phase);
        let asleep = phase.is_none_or(|(phase, _)| phase == Phase::Resuming);
        if asleep && image == Present {
            record.saved =
                Some(Saved { run, spec: record.spec.get().clone(), cpu_given: None, leased: false });
        }
        let domain = status.map(|status| domain(&record, run, status));
        let adoption = adopt(&mut record, domain.as_ref(), image);
        assert_eq!(adoption, Adoption { settled: settled.clone(), fixup }, "{case}");
        assert_eq!(record.saved.is_some(), *settled == suspended, "{case}");
    }
}

#[test]
fn a_domain_of_another_run_is_adopted_as_that_run() {
    let (run, other) = (IncarnationId::new(), IncarnationId::new());
    for phase in [Phase::Building, Phase::Resuming, Phase::Running, Phase::Suspending] {
        let mut record = record(run, Some((phase, By::Orchestrator)));
        let info = domain(&record, other, DomainStatus::Paused);
        let adoption = adopt(&mut record, Some(&info), Image::Absent);
        let up = Up { domid: DOMID, run: other, mode: Mode::Paused };
        assert_eq!(adoption, Adoption { settled: Settled::Up(up), fixup: None }, "{phase:?}");
    }
}

#[test]
fn an_image_that_the_journal_does_not_call_saved_is_not_resumed() {
    let run = IncarnationId::new();
    let mut record = record(run, None);
    let adoption = adopt(&mut record, None, Image::Present);
    assert_eq!(adoption.settled, Settled::Stopped { last: None });
}

/// As after a restart of xenstored, or where somebody has removed the node.
fn without_mark(record: &VmRecord, domid: DomId, status: DomainStatus, cpu_time_ns: u64) -> DomainInfo {
    DomainInfo { domid, identity: None, cpu_time_ns, ..domain(record, IncarnationId::new(), status) }
}

#[test]
fn a_domain_without_its_mark_is_known_by_what_xen_keeps() {
    use DomainStatus::{Dead, Paused, Running};
    use Phase::{Building, Resuming, Sending, Sent, Suspending};
    const NEVER: u64 = 0;
    const RAN: u64 = 1;
    /// As the journal says it.
    const SAME: Option<DomId> = Some(DOMID);
    const OTHER: Option<DomId> = Some(DomId(3));
    let run = IncarnationId::new();
    let suspended = Dead(DeathReason::Suspend);
    let up = |mode| Some((true, mode));
    let unknown = |mode| Some((false, mode));
    // What it becomes: up as the run of the journal or as an unknown one, or (`None`) off.
    let table = [
        ("running", Some((Phase::Running, SAME)), Running, RAN, up(Mode::Running), None),
        ("of an earlier agent", Some((Phase::Running, None)), Running, RAN, up(Mode::Running), None),
        ("another domain", Some((Phase::Running, OTHER)), Running, RAN, unknown(Mode::Running), None),
        ("another that stands", Some((Phase::Running, OTHER)), Paused, RAN, unknown(Mode::Paused), None),
        ("paused", Some((Phase::Paused, SAME)), Paused, RAN, up(Mode::Paused), None),
        (
            "committed, never unpaused",
            Some((Phase::Running, SAME)),
            Paused,
            NEVER,
            up(Mode::Running),
            Some(Fixup::Unpause(DOMID)),
        ),
        (
            "suspending, not committed",
            Some((Suspending, SAME)),
            suspended,
            RAN,
            up(Mode::Running),
            Some(Fixup::RunOn(DOMID)),
        ),
        ("sending", Some((Sending, SAME)), Running, RAN, up(Mode::Running), None),
        ("sent", Some((Sent, SAME)), suspended, RAN, up(Mode::Sent), None),
        ("half built", Some((Building, None)), Paused, NEVER, None, Some(Fixup::Release(DOMID))),
        ("building, and one has run", Some((Building, None)), Paused, RAN, unknown(Mode::Paused), None),
        ("building, and one runs", Some((Building, None)), Running, NEVER, unknown(Mode::Running), None),
        ("half read back", Some((Resuming, None)), Paused, NEVER, None, Some(Fixup::Release(DOMID))),
        ("resuming, and one runs", Some((Resuming, None)), Running, RAN, unknown(Mode::Running), None),
        ("no run", None, Running, RAN, unknown(Mode::Running), None),
        ("no run, paused", None, Paused, RAN, unknown(Mode::Paused), None),
        (
            "dead, of another run",
            Some((Phase::Running, OTHER)),
            suspended,
            RAN,
            None,
            Some(Fixup::Release(DOMID)),
        ),
    ];
    for (case, phase, status, cpu_time_ns, expected, fixup) in table {
        let mut record = record(run, phase.map(|(phase, _)| (phase, By::Orchestrator)));
        if let (Some(run), Some((_, domid))) = (&mut record.run, phase) {
            run.domid = domid;
        }
        let info = without_mark(&record, DOMID, status, cpu_time_ns);
        let adoption = adopt(&mut record, Some(&info), Image::Absent);
        assert_eq!(adoption.fixup, fixup, "{case}");
        let found = match &adoption.settled {
            Settled::Up(up) => {
                assert_eq!(up.domid, DOMID, "{case}");
                assert_eq!(record.run.as_ref().and_then(|run| run.domid), (up.run == run).then_some(DOMID));
                Some((up.run == run, up.mode))
            }
            Settled::Stopped { .. } => None,
            Settled::Suspended => panic!("{case}: nothing was saved"),
        };
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn an_unknown_run_has_one_id_for_as_long_as_its_domain_lives() {
    let mut record = record(IncarnationId::new(), None);
    let info = without_mark(&record, DOMID, DomainStatus::Running, 1);
    let first = adopt(&mut record, Some(&info), Image::Absent);
    assert_eq!(adopt(&mut record, Some(&info), Image::Absent), first, "the agent has restarted");
    let next = DomainInfo { domid: DomId(8), ..info };
    assert_ne!(run_of(None, &next), run_of(None, &DomainInfo { domid: DOMID, ..next.clone() }));
}

/// To let it run on would run memory that is older than the disks.
#[test]
fn a_dead_domain_of_another_run_is_not_let_run_on() {
    let (run, other) = (IncarnationId::new(), IncarnationId::new());
    for phase in [Phase::Running, Phase::Paused, Phase::Suspending, Phase::Sending, Phase::Sent] {
        let mut record = record(run, Some((phase, By::Orchestrator)));
        let info = domain(&record, other, DomainStatus::Dead(DeathReason::Suspend));
        let adoption = adopt(&mut record, Some(&info), Image::Absent);
        let last = Some(Ended { run, reason: DeathReason::Unknown });
        let expected = Adoption { settled: Settled::Stopped { last }, fixup: Some(Fixup::Release(DOMID)) };
        assert_eq!(adoption, expected, "{phase:?}");
        assert_eq!(record.run, None, "{phase:?}");
    }
}

/// Else the one would be let run on beside the other, on the same disks.
#[test]
fn of_several_domains_none_that_has_run_is_hidden() {
    use DomainStatus::{Dead, Paused, Running};
    let (run, other) = (IncarnationId::new(), IncarnationId::new());
    let record = record(run, Some((Phase::Running, By::Orchestrator)));
    let one = |domid, run, status, cpu_time_ns| DomainInfo {
        domid: DomId(domid),
        cpu_time_ns,
        ..domain(&record, run, status)
    };
    let dead = one(1, run, Dead(DeathReason::Suspend), 9);
    for (case, domains, expected) in [
        ("alone", vec![dead.clone()], Some(1)),
        ("one that stands", vec![one(2, other, Paused, 9), dead.clone()], Some(2)),
        ("one that runs", vec![one(3, other, Running, 9), one(4, run, Paused, 9)], Some(3)),
        ("the one that is meant", vec![one(4, run, Paused, 9), one(2, other, Paused, 9)], Some(4)),
        ("one that is half built", vec![dead, one(5, other, Paused, 0)], Some(1)),
        (
            "none",
            vec![DomainInfo { uuid: DomainUuid::new(), identity: None, ..one(6, run, Running, 9) }],
            None,
        ),
    ] {
        let found = domain_of(&record, &domains).map(|info| info.domid);
        assert_eq!(found, expected.map(DomId), "{case}");
    }
}
