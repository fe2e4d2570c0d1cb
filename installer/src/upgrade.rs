//! A new system into the other slot, and whether it stays.
//!
//! ```text
//!  verify -> make the file system -> unpack -> carry the settings over -> write out -> TRIAL (commit point)
//! ```
//!
//! Until the last step the running system is the one that starts next, whatever happens. After it the new one is
//! started once ([`crate::boot_state`]). Where that is ordered later the settings are carried over once more
//! ([`carry_again`]). The state partition and the SR belong to neither slot and are not touched.

mod settings;
mod slots;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use xenith_hypervisor_agent_types::system::{HostSystem, SystemSlot, SystemStanding};

use crate::answers::After;
use crate::boot_state::{Boot, BootState, BootStateError, ESP, RECORD, Record, Trial, Used};
use crate::image::Description;
use crate::mirror;
use crate::plan::{Action, BRIDGE, Plan, TARGET, run};

use self::settings::{HAD_ADDRESS, settings, step, written_out};
pub use self::settings::{carry_again, forget_waiting, is_waiting, note_waiting};
pub use self::slots::{SlotError, other};

/// Under emulation dom0's services take minutes; a host that is not up after ten is not coming.
const HEALTH_LIMIT: Duration = Duration::from_secs(600);
const HEALTH_POLL: Duration = Duration::from_secs(5);

/// Until the next start: the running system was found good. The disk with the boot menu may be lost after that.
const FOUND_GOOD: &str = "/run/xenith/found-good";

/// The system that the new one takes its settings from.
#[derive(Debug, Clone, Copy)]
pub struct Old<'a> {
    /// Where it is mounted.
    pub root: &'a str,
    /// What stands in its `/etc/fstab` and `/etc/shadow`.
    pub fstab: &'a str,
    pub shadow: &'a str,
    /// That of the management bridge, where it runs and has one.
    pub address: Option<&'a str>,
}

/// The plan of an upgrade from the running slot to the other one, which is on `partition` ([`other`]).
#[must_use]
pub fn plan(
    record: &Record,
    running: SystemSlot,
    from: &Old<'_>,
    (partition, version): (&str, &str),
) -> Plan {
    let slot = running.other();
    let new = &record.slots[slot.index()];
    let label = format!("xenith-{}", slot.as_str());
    let steps = vec![
        step(
            "make the file system",
            partition,
            vec![
                Action::Unmount { at: TARGET.to_owned() },
                run("mkfs.ext4", &["-q", "-F", "-m", "1", "-L", &label, "-U", new, partition]),
                Action::MakeDir { path: TARGET.to_owned(), mode: 0o755 },
                Action::Mount { device: partition.to_owned(), at: TARGET.to_owned() },
            ],
        ),
        step("copy the system", partition, vec![Action::Unpack { to: TARGET.to_owned() }]),
        step("carry the settings over", TARGET, settings(record, slot, from)),
        written_out(partition),
    ];
    let summary = vec![
        format!(
            "Xenith {version} into slot {} ({partition}); slot {} stays as it is",
            slot.as_str(),
            running.as_str()
        ),
        "VMs, disks of VMs, logs and the identity of this host are not touched".to_owned(),
    ];
    Plan { summary, steps, after: After::Reboot }
}

/// Refuses an image whose source is older than that of the running system: whoever signs signed that one too, with the faults
/// that were mended since, and whoever serves the files could give it to a host. `running` is what stands in the system.
pub fn ensure_not_older(image: &Description, running: &str) -> Result<(), String> {
    // A system that came before this file says nothing.
    let Ok(running) = running.trim().parse::<u64>() else { return Ok(()) };
    if image.source_date >= running {
        return Ok(());
    }
    Err(format!(
        "this image (Xenith {}) is older than the system that runs here; if that is what you want: `xenith-installer upgrade \
         FOLDER --older` on the host",
        image.version
    ))
}

/// Before the other slot is written over: from here on nothing starts it, from no disk, whatever happens. What `running` came
/// from while it is on trial is all that there is to go back to, and stays.
pub fn give_up_other(
    record: &Record,
    running: SystemSlot,
    esp: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), BootStateError> {
    let state = BootState::read(esp)?;
    if state.judge(running) == Boot::OnTrial {
        return Err(BootStateError::OnTrial { slot: running });
    }
    if state != (BootState { good: running, trial: None }) {
        keep(running, esp)?;
    }
    mirror::tell(record, running, say);
    Ok(())
}

/// The commit point: the new slot is tried at the next start, once.
pub fn commit(running: SystemSlot, esp: &Path) -> Result<(), BootStateError> {
    let mut state = BootState::read(esp)?;
    // Who runs by hand what was not confirmed has looked at it: this is the one to come back to.
    state.good = running;
    state.trial = Some(Trial { slot: running.other(), used: Used::No });
    state.write(esp)
}

/// The running system is the one that starts next, whatever was to be tried.
pub fn keep(running: SystemSlot, esp: &Path) -> Result<(), BootStateError> {
    let mut state = BootState::read(esp)?;
    state.good = running;
    state.trial = None;
    state.write(esp)
}

/// The next start is this slot's. One that was never found good is tried once.
pub fn next_start(running: SystemSlot, slot: SystemSlot, esp: &Path) -> Result<(), BootStateError> {
    let state = BootState::read(esp)?;
    let starts_anyway = state.good == slot && state.trial.is_none_or(|trial| trial.used == Used::Yes);
    match slot {
        slot if slot == running => keep(running, esp),
        // The way back from a system on trial, or from one that was chosen by hand.
        _ if starts_anyway => Ok(()),
        _ => commit(running, esp),
    }
}

/// What the agent is told of the running system.
pub fn system(esp: &Path) -> Result<HostSystem, BootStateError> {
    let (_, running) = here()?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Ok(HostSystem {
        slot: running,
        // This program came with the system.
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot: boot.trim().to_owned(),
        standing: match BootState::read(esp)?.judge(running) {
            Boot::Ordinary => SystemStanding::Good,
            Boot::OnTrial => SystemStanding::OnTrial,
            Boot::FellBack { .. } => SystemStanding::FellBack,
            Boot::ByHand => SystemStanding::ByHand,
        },
    })
}

/// What is running here.
pub fn here() -> Result<(Record, SystemSlot), BootStateError> {
    let record = Record::load(Path::new(RECORD))?;
    mirror::stand_in(&record, Path::new(ESP));
    let running = record.running(&fs::read_to_string("/proc/cmdline").unwrap_or_default())?;
    Ok((record, running))
}

/// What became of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Healthy,
    /// The machine is to start again, into the other slot.
    GoBack,
    /// There is nothing to go back to.
    Stay,
}

/// Long after the start of a system on trial: whether it is on trial still. One that cannot tell did not come up.
#[must_use]
pub fn still_on_trial() -> bool {
    let state = |slot| BootState::read(Path::new(ESP)).map(|state| state.judge(slot));
    is_on_trial(Path::new(FOUND_GOOD), || here().and_then(|(_, running)| state(running)))
}

/// The boot menu is not asked of a system that was found good: VMs run on it, and its disk may not answer any more.
fn is_on_trial(found_good: &Path, boot: impl FnOnce() -> Result<Boot, BootStateError>) -> bool {
    !found_good.exists() && boot().map_or(true, |boot| boot == Boot::OnTrial)
}

/// What cannot be noted is said: the boot menu has it.
fn note_good(found_good: &Path, say: &mut dyn FnMut(&str)) {
    let folder = found_good.parent().map_or(Ok(()), fs::create_dir_all);
    if let Err(error) = folder.and_then(|()| fs::write(found_good, "")) {
        say(&format!("cannot write {}: {error}", found_good.display()));
    }
}

/// Waits for health, then writes down what the boot menu has to know.
pub fn boot_good(say: &mut dyn FnMut(&str)) -> Result<Verdict, BootStateError> {
    let (record, running) = here()?;
    let esp = Path::new(ESP);
    let mut state = BootState::read(esp)?;
    let boot = state.judge(running);
    if let Boot::FellBack { from } = boot {
        say(&format!("the system in slot {} did not come up; this is the one before it", from.as_str()));
        state.trial = None;
        state.write(esp)?;
        return Ok(Verdict::Stay);
    }
    if boot == Boot::Ordinary {
        if let Some(problem) = not_tried(&state) {
            say(&problem);
            state.trial = None;
            state.write(esp)?;
        }
        // Also what could not be told when it became good.
        mirror::tell(&record, running, say);
        return Ok(Verdict::Healthy);
    }
    let problem = wait_for_health();
    // Minutes have passed, and another start may have been ordered: what was read before them is old.
    let mut state = BootState::read(esp)?;
    let on_trial = state.judge(running) == Boot::OnTrial;
    if let Some(problem) = problem {
        say(&format!("not healthy after {} s: {problem}", HEALTH_LIMIT.as_secs()));
        return Ok(if on_trial { Verdict::GoBack } else { Verdict::Stay });
    }
    if on_trial {
        state.good = running;
        state.trial = None;
        state.write(esp)?;
        note_good(Path::new(FOUND_GOOD), say);
        say(&format!(
            "the system in slot {} is healthy and is the one that starts from now on",
            running.as_str()
        ));
        mirror::tell(&record, running, say);
    }
    Ok(Verdict::Healthy)
}

/// At a start: a try that was ordered before it, and that the boot menu did not make. It may not come as a surprise months later.
fn not_tried(state: &BootState) -> Option<String> {
    let trial = state.trial.filter(|trial| trial.used == Used::No)?;
    Some(format!(
        "the system in slot {} was not tried: this machine started from the other disk of its mirror, or its firmware does not \
         let the boot menu write; it is not tried any more",
        trial.slot
    ))
}

/// What is still wrong when there was time enough.
fn wait_for_health() -> Option<String> {
    let deadline = Instant::now() + HEALTH_LIMIT;
    loop {
        match ill() {
            Some(_) if Instant::now() < deadline => thread::sleep(HEALTH_POLL),
            outcome => return outcome,
        }
    }
}

/// What is wrong with this host, if anything is: Xen's tools must answer, the agent must run, and a host that could be reached
/// before must have its network: a card that the new kernel does not know would take it away for good.
fn ill() -> Option<String> {
    let xl = Command::new("xl").arg("info").output();
    if !xl.is_ok_and(|output| output.status.success()) {
        return Some("Xen does not answer `xl info`".to_owned());
    }
    let show = Command::new("systemctl")
        .args(["show", "xenith-agent", "--property=ActiveState,ExecMainStatus"])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    if !agent_is_well(&show) {
        return Some(format!("the agent does not run ({})", show.replace('\n', " ")));
    }
    let carrier = fs::read_to_string(format!("/sys/class/net/{BRIDGE}/carrier")).unwrap_or_default();
    let had = fs::read_to_string(HAD_ADDRESS).ok();
    unreachable(had.as_deref(), crate::live::address_of(BRIDGE).as_deref(), &carrier)
}

/// Why nobody reaches this host, if somebody did before: `had` is the address of then, `has` that of now.
fn unreachable(had: Option<&str>, has: Option<&str>, carrier: &str) -> Option<String> {
    let had = had?.trim();
    if has.is_none() {
        return Some(format!("{BRIDGE} has no address; before the upgrade it had {had}"));
    }
    if carrier.trim() != "1" {
        return Some(format!("{BRIDGE} has no link; before the upgrade this host was reached at {had}"));
    }
    None
}

/// Running, or waiting for a person (status 2), which no other system would change.
fn agent_is_well(show: &str) -> bool {
    let has = |line: &str| show.lines().any(|l| l == line);
    has("ActiveState=active") || (has("ActiveState=failed") && has("ExecMainStatus=2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record { slots: ["aa".into(), "bb".into()], esp: vec!["11112222".into()], dom0_mib: 1024 }
    }

    const FSTAB: &str = "UUID=aa / ext4 defaults 0 1\nUUID=cc /var/lib/xenith ext4 defaults 0 2\n";

    #[test]
    fn only_the_other_slot_is_written() {
        let from = Old { root: "/run/old", fstab: FSTAB, shadow: "root:$y$hash:1\n", address: None };
        let plan = plan(&record(), SystemSlot::A, &from, ("/dev/sda4", "2.0"));
        let actions: Vec<_> = plan.steps.iter().flat_map(|step| &step.actions).collect();
        let shown = actions.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(shown.contains("-U bb /dev/sda4"), "{shown}");
        assert!(shown.contains("cd /run/old; "), "{shown}");
        for other in ["xenith-a", "xenith-state", "xenith-sr", "sfdisk", "grub-install", "release"] {
            assert!(!shown.contains(other), "{other}: {shown}");
        }
        let written = |path: &str| {
            let content = actions.iter().find_map(|action| match action {
                Action::Write { path: at, content, .. } if at.ends_with(path) => Some(content.clone()),
                _ => None,
            });
            String::from_utf8(content.unwrap()).unwrap()
        };
        assert_eq!(written("/etc/fstab"), FSTAB.replace("UUID=aa", "UUID=bb"));
        assert!(written("/boot/xenith.cfg").contains("root=UUID=bb"));
        assert!(plan.summary[0].contains("into slot b"), "{}", plan.summary[0]);
        assert!(!shown.contains(HAD_ADDRESS), "{shown}");
    }

    #[test]
    fn a_file_that_cannot_be_carried_over_ends_the_upgrade() {
        let old = tempfile::tempdir().unwrap();
        let root = old.path().to_str().unwrap();
        for name in ["etc/xenith", "etc/systemd/network"] {
            fs::create_dir_all(old.path().join(name)).unwrap();
        }
        fs::write(old.path().join(settings::RECORDED), "").unwrap();
        let from = Old { root, fstab: FSTAB, shadow: "", address: Some("192.0.2.10/24") };
        let plan = plan(&record(), SystemSlot::A, &from, ("/dev/sda4", "2.0"));
        let actions: Vec<_> = plan.steps.iter().flat_map(|step| &step.actions).collect();
        let carry = actions.iter().find_map(|action| match action {
            Action::Run { program: "sh", args, .. } => Some(args[1].clone()),
            _ => None,
        });
        let shown = actions.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(shown.contains(HAD_ADDRESS), "{shown}");
        assert!(shown.find("sync --file-system").unwrap() < shown.rfind("umount").unwrap(), "{shown}");
        let carried = |to: &str| {
            let line = carry.clone().unwrap().replace(TARGET, to);
            Command::new("sh").args(["-c", &line]).status().unwrap().success()
        };
        let new = tempfile::tempdir().unwrap();
        assert!(carried(new.path().to_str().unwrap()));
        assert!(new.path().join("etc/systemd/network").is_dir());
        // There is a file where a folder has to be, so that nothing can be copied into it.
        let odd = tempfile::tempdir().unwrap();
        fs::create_dir(odd.path().join("etc")).unwrap();
        fs::write(odd.path().join("etc/systemd"), "").unwrap();
        assert!(!carried(odd.path().to_str().unwrap()), "the network would be missing");
    }

    #[test]
    fn a_try_that_the_menu_did_not_make_is_given_up() {
        let state = |trial| BootState { good: SystemSlot::A, trial };
        let trial = |used| Some(Trial { slot: SystemSlot::B, used });
        assert!(not_tried(&state(trial(Used::No))).unwrap().contains("slot b was not tried"));
        assert_eq!(not_tried(&state(trial(Used::Yes))), None);
        assert_eq!(not_tried(&state(None)), None);
    }

    #[test]
    fn a_system_that_was_found_good_is_left_running_without_its_boot_menu() {
        let dir = tempfile::tempdir().unwrap();
        let found_good = dir.path().join("run/found-good");
        let lost = || BootState::read(Path::new("/nonexistent")).map(|_| Boot::Ordinary);
        assert!(is_on_trial(&found_good, lost), "one that cannot tell did not come up");
        assert!(is_on_trial(&found_good, || Ok(Boot::OnTrial)));
        assert!(!is_on_trial(&found_good, || Ok(Boot::Ordinary)));
        note_good(&found_good, &mut |problem| panic!("{problem}"));
        assert!(!is_on_trial(&found_good, lost));
    }

    #[test]
    fn an_older_system_is_not_taken_for_a_new_one() {
        let image = |source_date| Description {
            version: "1.2".into(),
            sha256: "00".into(),
            bytes: 1,
            unpacked_bytes: 1,
            source_date,
        };
        for (date, running, fine) in
            [(10, "10\n", true), (11, "10\n", true), (9, "10\n", false), (9, "", true), (0, "x", true)]
        {
            assert_eq!(ensure_not_older(&image(date), running).is_ok(), fine, "{date} {running}");
        }
    }

    #[test]
    fn a_host_that_was_reached_before_has_to_be_reached_again() {
        let (had, has) = (Some("192.0.2.10/24\n"), Some("192.0.2.11/24"));
        for (had, has, carrier, well) in [
            (None, None, "", true),
            (had, has, "1\n", true),
            (had, None, "1\n", false),
            (had, has, "0\n", false),
            (had, has, "", false),
        ] {
            assert_eq!(unreachable(had, has, carrier).is_none(), well, "{had:?} {has:?} {carrier}");
        }
    }

    #[test]
    fn an_upgrade_counts_from_its_last_step() {
        let esp = tempfile::tempdir().unwrap();
        fs::create_dir(esp.path().join("grub")).unwrap();
        fs::write(esp.path().join("grub/grubenv"), crate::plan::env_block(&[("slot", "b")])).unwrap();
        commit(SystemSlot::B, esp.path()).unwrap();
        let state = BootState::read(esp.path()).unwrap();
        assert_eq!(
            state,
            BootState { good: SystemSlot::B, trial: Some(Trial { slot: SystemSlot::A, used: Used::No }) }
        );
        keep(SystemSlot::B, esp.path()).unwrap();
        assert_eq!(BootState::read(esp.path()).unwrap(), BootState { good: SystemSlot::B, trial: None });
    }

    #[test]
    fn nothing_starts_a_slot_that_is_about_to_be_written_over() {
        use SystemSlot::{A, B};
        let esp = tempfile::tempdir().unwrap();
        fs::create_dir(esp.path().join("grub")).unwrap();
        let trial = |slot, used| Some(Trial { slot, used });
        for (name, good, trial, running, given_up) in [
            ("an installation", A, None, A, true),
            ("an upgrade that was not started yet", A, trial(B, Used::No), A, true),
            ("after a fall-back", A, trial(B, Used::Yes), A, true),
            ("chosen by hand", A, None, B, true),
            ("on trial", A, trial(B, Used::Yes), B, false),
        ] {
            fs::write(esp.path().join("grub/grubenv"), crate::plan::env_block(&[("slot", "a")])).unwrap();
            let before = BootState { good, trial };
            before.write(esp.path()).unwrap();
            let done = give_up_other(&record(), running, esp.path(), &mut |_| ());
            assert_eq!(done.is_ok(), given_up, "{name}: {done:?}");
            let after = if given_up { BootState { good: running, trial: None } } else { before };
            assert_eq!(BootState::read(esp.path()).unwrap(), after, "{name}");
        }
    }

    #[test]
    fn who_goes_back_from_a_system_on_trial_does_not_make_it_the_good_one() {
        let esp = tempfile::tempdir().unwrap();
        fs::create_dir(esp.path().join("grub")).unwrap();
        fs::write(esp.path().join("grub/grubenv"), crate::plan::env_block(&[("slot", "a")])).unwrap();
        let read = || BootState::read(esp.path()).unwrap();
        let to_b =
            BootState { good: SystemSlot::A, trial: Some(Trial { slot: SystemSlot::B, used: Used::No }) };
        next_start(SystemSlot::A, SystemSlot::B, esp.path()).unwrap();
        assert_eq!(read(), to_b);
        next_start(SystemSlot::A, SystemSlot::A, esp.path()).unwrap();
        assert_eq!(read(), BootState { good: SystemSlot::A, trial: None }, "nothing is tried any more");
        let on_trial = BootState { trial: Some(Trial { slot: SystemSlot::B, used: Used::Yes }), ..to_b };
        on_trial.write(esp.path()).unwrap();
        next_start(SystemSlot::B, SystemSlot::A, esp.path()).unwrap();
        assert_eq!(read(), on_trial, "the next start is the good one's already");
    }

    #[test]
    fn an_agent_that_waits_for_a_person_is_no_reason_to_go_back() {
        for (show, well) in [
            ("ActiveState=active\nExecMainStatus=0\n", true),
            ("ActiveState=failed\nExecMainStatus=2\n", true),
            ("ActiveState=failed\nExecMainStatus=3\n", false),
            ("ActiveState=activating\nExecMainStatus=0\n", false),
            ("", false),
        ] {
            assert_eq!(agent_is_well(show), well, "{show}");
        }
    }
}
