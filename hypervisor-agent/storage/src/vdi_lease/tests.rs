//! One of two hosts gets a lease, whatever the other does at the same moment; a host that is killed leaves none half made.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use xenith_common_ids::{IncarnationId, VmId};

use super::*;
use crate::StorageDriver;
use crate::file::FileDriver;

/// An SR as several hosts see it.
struct Shared {
    root: TempDir,
    sr: SrId,
}

impl Shared {
    fn new() -> Self {
        let (root, sr) = (tempfile::tempdir().unwrap(), SrId::new());
        FileDriver::mark(sr, root.path()).unwrap();
        Self { root, sr }
    }

    /// As one more host has it attached.
    fn seen(&self) -> VdiLeases {
        VdiLeases::new(self.sr, self.root.path().to_owned())
    }

    /// Until what is changed next gets another time than what was changed last.
    fn tick(&self) {
        let changed = |path: &std::path::Path| fs::metadata(path).unwrap().modified().unwrap();
        let (folder, probe) = (self.root.path().join(VDI_LEASES), self.root.path().join("probe"));
        loop {
            fs::write(&probe, "a").unwrap();
            if changed(&probe) > changed(&folder) {
                return;
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path().join(VDI_LEASES)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn lease(host: HostId, vm: Option<(VmId, IncarnationId, bool)>) -> VdiLease {
    let vm = vm.map(|(vm, run, sent)| LeasedTo { vm, name: "web-1".to_owned(), run, sent });
    VdiLease { host, host_name: "xen1".to_owned(), vm }
}

fn needed() -> bool {
    true
}

fn take(leases: &VdiLeases, vdi: VdiId, wanted: &VdiLease, taking: Taking) -> Result<Taken> {
    leases.take(vdi, wanted, taking, &needed)
}

#[test]
fn what_a_lease_that_is_there_means() {
    let (here, there) = (HostId::new(), HostId::new());
    let (vm, run, other) = (VmId::new(), IncarnationId::new(), IncarnationId::new());
    let keep = |taken| Some(Then::Keep(taken));
    let runs = |host| lease(host, Some((vm, run, false)));
    let sent = |host| lease(host, Some((vm, run, true)));
    let works = |host| lease(host, None);
    for (case, found, wanted, taking, then) in [
        ("taken again", runs(here), runs(here), Taking::ToRun, keep(Taken::Ours)),
        (
            "the next run",
            lease(here, Some((vm, other, false))),
            runs(here),
            Taking::ToRun,
            Some(Then::Replace),
        ),
        ("back after it was sent", sent(here), runs(here), Taking::ToRun, Some(Then::Replace)),
        ("is being sent", runs(here), sent(here), Taking::ToRun, Some(Then::Replace)),
        ("it is looked at while it is sent", sent(here), runs(here), Taking::Again, keep(Taken::Ours)),
        ("the agent writes under its VM", runs(here), works(here), Taking::ToWrite, keep(Taken::Ours)),
        ("left by the agent", works(here), runs(here), Taking::ToRun, Some(Then::Replace)),
        ("another host runs it", runs(there), runs(here), Taking::Again, None),
        ("another host runs the same run", runs(there), runs(here), Taking::ToRun, None),
        ("another host works on it", works(there), runs(here), Taking::ToRun, None),
        ("the agent would write another host's", runs(there), works(here), Taking::ToWrite, None),
        ("it arrives", runs(there), runs(here), Taking::ToArrive, keep(Taken::Senders)),
        ("it has arrived", sent(there), runs(here), Taking::ToArrive, keep(Taken::Senders)),
        ("it is let run where it was sent to", sent(there), runs(here), Taking::ToRun, Some(Then::Replace)),
        ("another run arrives", lease(there, Some((vm, other, false))), runs(here), Taking::ToArrive, None),
        ("another run was sent", lease(there, Some((vm, other, true))), runs(here), Taking::ToRun, None),
        (
            "saved memory goes on",
            lease(here, Some((vm, other, false))),
            runs(here),
            Taking::ToResume,
            Some(Then::Replace),
        ),
        ("it is tried again", runs(here), runs(here), Taking::ToResume, keep(Taken::Ours)),
        ("its host has worked on it since", works(here), runs(here), Taking::ToResume, None),
        (
            "another VM of its host has had it since",
            lease(here, Some((VmId::new(), other, false))),
            runs(here),
            Taking::ToResume,
            None,
        ),
        ("another host has it since", runs(there), runs(here), Taking::ToResume, None),
        ("another host has sent it since", sent(there), runs(here), Taking::ToResume, None),
    ] {
        assert_eq!(decide(&found, &wanted, taking), then, "{case}");
    }
}

#[test]
fn one_host_has_it_until_it_gives_it_up() {
    let shared = Shared::new();
    let (ours, theirs, vdi) = (shared.seen(), shared.seen(), VdiId::new());
    let (here, there) = (lease(HostId::new(), None), lease(HostId::new(), None));
    assert_eq!(ours.read(vdi).unwrap(), None);
    assert!(!shared.root.path().join(VDI_LEASES).exists(), "looking makes nothing");
    for _ in 0..2 {
        assert_eq!(take(&ours, vdi, &here, Taking::ToRun).unwrap(), Taken::Ours);
    }
    let refused = take(&theirs, vdi, &there, Taking::ToRun).unwrap_err();
    let told = refused.to_string();
    assert!(told.contains("xen1") && told.contains("break-lease"), "{told}");
    assert_eq!(theirs.read(vdi).unwrap(), Some(here.clone()));
    // Who has not got it does not give it up.
    assert!(!theirs.give_up(vdi, there.host, &|| false).unwrap());
    assert!(ours.give_up(vdi, here.host, &needed).unwrap(), "it is needed");
    assert_eq!(ours.held_by(here.host).unwrap(), [(vdi, here.clone())]);
    assert!(!ours.give_up(vdi, here.host, &|| false).unwrap());
    assert_eq!(ours.held_by(here.host).unwrap(), []);
    assert_eq!(take(&theirs, vdi, &there, Taking::ToRun).unwrap(), Taken::Ours);
    assert_eq!(shared.names(), [lease_name(vdi)], "nothing else is left");
    let listing = FileDriver::attach(shared.sr, shared.root.path().to_owned()).unwrap().list().unwrap();
    assert_eq!(listing.left_overs, []);
}

#[test]
fn what_nobody_needs_any_more_is_not_taken() {
    let (shared, vdi) = (Shared::new(), VdiId::new());
    let wanted = lease(HostId::new(), None);
    let taken = shared.seen().take(vdi, &wanted, Taking::Again, &|| false).unwrap();
    assert_eq!((taken, shared.seen().read(vdi).unwrap()), (Taken::NotNeeded, None));
}

#[test]
fn saved_memory_goes_on_only_while_its_lease_was_never_lost() {
    let (shared, vdi) = (Shared::new(), VdiId::new());
    let (here, there) = (HostId::new(), HostId::new());
    let (vm, leases) = (VmId::new(), shared.seen());
    let of = |host| lease(host, Some((vm, IncarnationId::new(), false)));
    let resumes = || take(&leases, vdi, &of(here), Taking::ToResume);
    let is_lost = || matches!(resumes(), Err(StorageError::LeaseLost { .. }));
    take(&leases, vdi, &of(here), Taking::ToRun).unwrap();
    // Twice: the first one did not get as far as its domain.
    for _ in 0..2 {
        assert_eq!(resumes().unwrap(), Taken::Ours);
    }
    assert!(leases.break_of(vdi, there, &[here]).unwrap().broken);
    assert!(is_lost(), "nobody has it");
    take(&leases, vdi, &of(there), Taking::ToRun).unwrap();
    assert!(is_lost(), "the other host has it");
    leases.give_up(vdi, there, &|| false).unwrap();
    assert!(is_lost(), "the other host had it");
    assert_eq!(leases.read(vdi).unwrap(), None, "and none is taken");
    assert_eq!(take(&leases, vdi, &of(here), Taking::ToRun).unwrap(), Taken::Ours, "a start takes it");
}

#[test]
fn of_hosts_that_ask_at_once_one_gets_it() {
    let shared = Arc::new(Shared::new());
    for _ in 0..20 {
        let (vdi, got) = (VdiId::new(), Arc::new(AtomicUsize::new(0)));
        let hosts: Vec<_> = (0..8)
            .map(|_| {
                let (shared, got) = (Arc::clone(&shared), Arc::clone(&got));
                std::thread::spawn(move || {
                    let wanted = lease(HostId::new(), None);
                    match take(&shared.seen(), vdi, &wanted, Taking::ToRun) {
                        Ok(_) => got.fetch_add(1, Ordering::SeqCst),
                        Err(StorageError::LeasedElsewhere { .. }) => 0,
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        for host in hosts {
            host.join().unwrap();
        }
        assert_eq!(got.load(Ordering::SeqCst), 1);
    }
}

/// Neither may run it on its own word, and of the two that may take it one does.
#[test]
fn a_run_that_was_sent_is_taken_by_one_of_the_two() {
    let (vm, run) = (VmId::new(), IncarnationId::new());
    for _ in 0..20 {
        let shared = Arc::new(Shared::new());
        let (source, destination, vdi) = (HostId::new(), HostId::new(), VdiId::new());
        let runs = move |host, sent| lease(host, Some((vm, run, sent)));
        let seen = shared.seen();
        take(&seen, vdi, &runs(source, false), Taking::ToRun).unwrap();
        let arrives = take(&seen, vdi, &runs(destination, false), Taking::ToArrive).unwrap();
        assert_eq!(arrives, Taken::Senders);
        assert!(take(&seen, vdi, &runs(destination, false), Taking::ToRun).is_err(), "it was not sent yet");
        take(&seen, vdi, &runs(source, true), Taking::ToRun).unwrap();
        assert_eq!(take(&seen, vdi, &runs(source, false), Taking::Again).unwrap(), Taken::SaysSent);
        // What arrived and is given up again is not its to give up.
        seen.give_up(vdi, destination, &|| false).unwrap();
        let both = [source, destination].map(|host| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || take(&shared.seen(), vdi, &runs(host, false), Taking::ToRun).is_ok())
        });
        let got = both.map(|one| one.join().unwrap());
        assert_eq!(got.iter().filter(|got| **got).count(), 1, "{got:?}");
        let holder = seen.read(vdi).unwrap().unwrap();
        assert_eq!(holder, runs(if got[0] { source } else { destination }, false));
        assert_eq!(shared.names(), [lease_name(vdi)]);
    }
}

/// The sender writes, and could not take it: it must be able to as long as it does.
#[test]
fn what_arrives_takes_no_lease_that_its_sender_has_not() {
    let (shared, vdi, vm, run) = (Shared::new(), VdiId::new(), VmId::new(), IncarnationId::new());
    let seen = shared.seen();
    let runs = |host| lease(host, Some((vm, run, false)));
    let (source, destination) = (HostId::new(), HostId::new());
    assert_eq!(take(&seen, vdi, &runs(destination), Taking::ToArrive).unwrap(), Taken::Senders);
    assert_eq!(seen.read(vdi).unwrap(), None);
    assert_eq!(take(&seen, vdi, &runs(source), Taking::Again).unwrap(), Taken::Ours);
}

#[test]
fn a_lease_is_broken_when_it_is_of_the_host_that_is_meant() {
    let (shared, vdi) = (Shared::new(), VdiId::new());
    let (leases, us) = (shared.seen(), HostId::new());
    let dead = lease(HostId::new(), Some((VmId::new(), IncarnationId::new(), false)));
    take(&leases, vdi, &dead, Taking::ToRun).unwrap();
    for of in [vec![], vec![HostId::new()]] {
        let broken = leases.break_of(vdi, us, &of).unwrap();
        assert_eq!(broken, Broken { found: Some(dead.clone()), broken: false });
    }
    let broken = leases.break_of(vdi, us, &[HostId::new(), dead.host]).unwrap();
    assert_eq!(broken, Broken { found: Some(dead.clone()), broken: true });
    let again = leases.break_of(vdi, us, &[dead.host]).unwrap();
    assert_eq!(again, Broken { found: None, broken: false });
    // The host that lost it finds that out, and takes nothing from who has it by now.
    take(&leases, vdi, &lease(us, None), Taking::ToRun).unwrap();
    assert!(take(&leases, vdi, &dead, Taking::Again).is_err());
    assert!(!leases.give_up(vdi, dead.host, &|| false).unwrap());
    assert_eq!(leases.read(vdi).unwrap().map(|lease| lease.host), Some(us));
}

/// As `kill -9` leaves it: a turn, what was to be put there, and that linked and not removed yet.
#[test]
fn what_a_crash_leaves_keeps_other_hosts_away_and_not_its_own() {
    let (shared, vdi) = (Shared::new(), VdiId::new());
    let (leases, here, there) = (shared.seen(), lease(HostId::new(), None), lease(HostId::new(), None));
    take(&leases, vdi, &here, Taking::ToRun).unwrap();
    let folder = shared.root.path().join(VDI_LEASES);
    fs::hard_link(folder.join(lease_name(vdi)), folder.join(new_name(here.host))).unwrap();
    let run = lease(here.host, Some((VmId::new(), IncarnationId::new(), false)));
    std::os::unix::fs::symlink(here.host.to_string(), folder.join(turn_name(vdi))).unwrap();
    let told = leases.break_of(vdi, there.host, &[HostId::new()]).unwrap_err();
    assert!(matches!(told, StorageError::LeaseChanging { host, .. } if host == here.host), "{told}");
    // The lease that is there is not written in place, although it has two names.
    let before = fs::metadata(folder.join(lease_name(vdi))).unwrap().ino();
    assert_eq!(take(&leases, vdi, &run, Taking::ToRun).unwrap(), Taken::Ours);
    assert_ne!(fs::metadata(folder.join(lease_name(vdi))).unwrap().ino(), before);
    assert_eq!(shared.names(), [lease_name(vdi)]);
    // A turn that a dead host left ends with its lease.
    std::os::unix::fs::symlink(here.host.to_string(), folder.join(turn_name(vdi))).unwrap();
    assert!(leases.break_of(vdi, there.host, &[here.host]).unwrap().broken);
    assert_eq!(shared.names(), Vec::<String>::new());
    fs::write(folder.join(new_name(here.host)), "{\"ho").unwrap();
    assert_eq!(leases.held_by(here.host).unwrap(), []);
    assert_eq!(shared.names(), Vec::<String>::new());
}

#[test]
fn a_lease_that_nobody_wrote_so_is_in_everybodys_way() {
    let (shared, vdi) = (Shared::new(), VdiId::new());
    let (leases, here) = (shared.seen(), lease(HostId::new(), None));
    take(&leases, vdi, &here, Taking::ToRun).unwrap();
    fs::write(shared.root.path().join(VDI_LEASES).join(lease_name(vdi)), "{\"host\": \"0189").unwrap();
    let told = take(&leases, vdi, &here, Taking::ToRun).unwrap_err();
    assert!(matches!(told, StorageError::Damaged { .. }), "{told}");
    assert_eq!(leases.held_by(here.host).unwrap(), []);
}

#[test]
fn an_sr_that_is_not_mounted_has_no_leases_to_take() {
    let shared = Shared::new();
    FileDriver::unmark(shared.sr, shared.root.path()).unwrap();
    let told = take(&shared.seen(), VdiId::new(), &lease(HostId::new(), None), Taking::ToRun).unwrap_err();
    assert!(told.to_string().contains("mounted"), "{told}");
    assert!(!shared.root.path().join(VDI_LEASES).exists());
}

/// A look as the agent makes it, 15 seconds after the one before: how many leases were read, and which are lost.
fn look(leases: &VdiLeases, vdis: &[VdiId], wanted: &VdiLease) -> (usize, Vec<VdiId>) {
    let before_that = Duration::from_secs(15);
    {
        let mut looked = leases.looked();
        if let Some((_, since)) = &mut looked.folder {
            *since -= before_that;
        }
        looked.ours.values_mut().for_each(|read| *read -= before_that);
    }
    let before = leases.reads.load(Ordering::Relaxed);
    let unchanged = leases.unchanged().unwrap();
    let read = vdis.iter().filter(|vdi| !unchanged.contains(vdi));
    let lost = read.copied().filter(|vdi| take(leases, *vdi, wanted, Taking::Again).is_err()).collect();
    (leases.reads.load(Ordering::Relaxed) - before, lost)
}

#[test]
fn only_what_may_have_changed_is_read_again() {
    let shared = Shared::new();
    let (ours, theirs) = (shared.seen(), shared.seen());
    let (here, there) = (lease(HostId::new(), None), lease(HostId::new(), None));
    let vdis = [VdiId::new(), VdiId::new(), VdiId::new()];
    for vdi in vdis {
        take(&ours, vdi, &here, Taking::ToRun).unwrap();
    }
    let read = || look(&ours, &vdis, &here).0;
    assert_eq!([read(), read()], [3, 3], "the second time, because a change may have left the same times");
    assert_eq!([read(), read(), read(), read(), read(), read(), read()], [0; 7], "nobody has touched any");
    assert_eq!([read(), read()], [3, 0], "now and then all of them");

    shared.tick();
    take(&theirs, VdiId::new(), &there, Taking::ToRun).unwrap();
    assert_eq!([read(), read(), read()], [3, 3, 0], "which one another host has taken is not known");

    shared.tick();
    theirs.break_of(vdis[1], there.host, &[here.host]).unwrap();
    take(&theirs, vdis[1], &there, Taking::ToRun).unwrap();
    for reads in [3, 3, 1, 1] {
        assert_eq!(look(&ours, &vdis, &here), (reads, vec![vdis[1]]), "what is lost is told at each look");
    }
}
