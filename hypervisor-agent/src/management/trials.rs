//! A change of the management interface on trial, over the files of systemd-networkd that our medium writes.
//!
//! ```text
//!  /run/xenith/management/network   the new files        --bind-->  /etc/systemd/network   while it is on trial
//!  /etc/systemd/network.before      what was there before it was kept
//! ```
//!
//! What always holds:
//! * on trial, the new files lie over the old ones as a mount: a power cut takes it away, and the old ones were never
//!   touched;
//! * the way back is a timer of systemd's that is armed before anything changes, and starts this program anew: it needs
//!   no agent that is alive;
//! * **commit point** of a change that is kept: the exchange of two folders in `/etc/systemd`, both whole and written out.
//!   The number of the change lies in the new one. A crash before it: the timer goes back. A crash behind it: the timer
//!   finds the number, and leaves it so;
//! * one at a time, over all processes: a lock on a file is held over each call;
//! * what is not ours in the folder comes along with every change, as it is ([`files`]).
//!
//! Ports of the bridge that are guests' stay where they are: the bridge itself is never removed.

mod files;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, FlockOperation, RenameFlags, fcntl_lock, renameat_with};
use serde::{Deserialize, Serialize};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_backend::{HypervisorError, Result};
use xenith_hypervisor_agent_types::management::{
    BRIDGE, Card, Keeping, Management, ManagementState, ManagementTrial, Units,
};
use xenith_hypervisor_agent_types::network::{is_guest_interface, is_network_device};

use super::programs::{HostPrograms, Programs};
use files::{made_from, texts};

const CHANGING: &str = "changing the management interface";
/// In the folder with the files: the change that was kept last. systemd-networkd reads no file that ends like this.
const KEPT: &str = "xenith-change";
const UNIT_TRY: &str = "xenith-management-try";
const UNIT_BACK: &str = "xenith-management-back";
/// Seconds until what was answered is done: the answer has to leave first, over what is about to change.
const SOON: u32 = 1;

/// Where things are; `/` but for tests.
#[derive(Debug, Clone)]
pub struct Places {
    /// The files of systemd-networkd.
    pub configured: PathBuf,
    /// What a power cut takes away.
    pub run: PathBuf,
    /// The kernel's interfaces.
    pub net: PathBuf,
    /// Who else may configure a network: files and folders, by the name that an administrator knows.
    pub others: Vec<PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        let others = ["/etc/network/interfaces", "/etc/netplan", "/etc/NetworkManager/system-connections"];
        Self {
            configured: "/etc/systemd/network".into(),
            run: "/run/xenith/management".into(),
            net: "/sys/class/net".into(),
            others: others.iter().map(PathBuf::from).collect(),
        }
    }
}

/// What is on trial, as long as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Marker {
    trial: ManagementTrial,
    before: Management,
}

/// See the module.
#[derive(Debug)]
pub struct Trials<P> {
    places: Places,
    programs: P,
    /// The lock on the file keeps other processes out, not this one.
    turn: Mutex<()>,
}

fn failed(code: impl ToString, log: impl ToString) -> HypervisorError {
    HypervisorError::Failed { operation: CHANGING, code: code.to_string(), log: log.to_string() }
}

fn at(path: &Path) -> impl Fn(io::Error) -> HypervisorError {
    let path = path.display().to_string();
    move |error| failed(&path, error)
}

impl Trials<HostPrograms> {
    #[must_use]
    pub fn of_this_host() -> Self {
        Self::new(Places::default(), HostPrograms)
    }
}

impl<P: Programs> Trials<P> {
    #[must_use]
    pub const fn new(places: Places, programs: P) -> Self {
        Self { places, programs, turn: Mutex::new(()) }
    }

    fn staged(&self) -> PathBuf {
        self.places.run.join("network")
    }

    fn applied(&self) -> PathBuf {
        self.places.run.join("applied")
    }

    fn undo(&self) -> PathBuf {
        self.places.run.join("undo")
    }

    fn marker_path(&self) -> PathBuf {
        self.places.run.join("trial.json")
    }

    fn beside(&self) -> PathBuf {
        self.places.configured.with_extension("before")
    }

    /// The file is closed before anybody else here may open it: closing one takes the locks of all.
    fn lock(&self) -> Result<(File, MutexGuard<'_, ()>)> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.places.run.join("lock");
        fs::create_dir_all(&self.places.run).map_err(at(&self.places.run))?;
        let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
        fcntl_lock(&file, FlockOperation::LockExclusive).map_err(|error| at(&path)(error.into()))?;
        Ok((file, turn))
    }

    fn marker(&self) -> Result<Option<Marker>> {
        match fs::read(self.marker_path()) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|error| failed("trial.json", error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&self.marker_path())(error)),
        }
    }

    fn kept(&self) -> Option<String> {
        fs::read_to_string(self.places.configured.join(KEPT)).ok().map(|text| text.trim().to_owned())
    }

    fn is_mounted(&self) -> bool {
        let configured = self.places.configured.display().to_string();
        self.programs.run(&["mountpoint", "-q", configured.as_str()]).is_ok()
    }

    /// What the files say, or whose they are.
    fn configured(&self) -> Result<Management> {
        let folder = &self.places.configured;
        let files = texts(folder).unwrap_or_default();
        Units::read(&files).map_err(|name| {
            let other = if files.contains_key(&name) { None } else { self.places.others.iter().find(is_used) };
            let file = other.cloned().unwrap_or_else(|| folder.join(name));
            let why = format!(
                "its network is not set up as Xenith's medium does it; edit {} on the host, and then say where it is: \
                 xenith host set-address",
                file.display()
            );
            HypervisorError::Unsupported { operation: CHANGING, why }
        })
    }

    fn cards(&self) -> Vec<Card> {
        let entries = fs::read_dir(&self.places.net).into_iter().flatten().flatten();
        let mut cards: Vec<Card> = entries.filter_map(|entry| card(&entry.path())).collect();
        cards.sort_by(|a, b| a.name.cmp(&b.name));
        cards
    }

    pub fn look(&self) -> Result<ManagementState> {
        let _alone = self.lock()?;
        let (management, on_trial) = match self.marker()? {
            Some(marker) => (marker.before, Some(marker.trial.change)),
            None => (self.configured()?, None),
        };
        Ok(ManagementState { management, cards: self.cards(), on_trial, kept: self.kept() })
    }

    pub fn try_out(&self, trial: &ManagementTrial) -> Result<()> {
        let _alone = self.lock()?;
        if let Some(marker) = self.marker()? {
            if marker.trial == *trial {
                return Ok(());
            }
            return Err(failed("busy", format!("the change {} is on trial", marker.trial.change)));
        }
        if self.kept().as_deref() == Some(trial.change.as_str()) {
            return Ok(());
        }
        let before = self.configured()?;
        self.cards_are_free(&trial.wanted)?;
        // Of one that was cut off while it tidied up.
        self.clean_up();
        self.stage(&trial.wanted)?;
        let marker = serde_json::to_vec(&Marker { trial: trial.clone(), before })
            .map_err(|error| failed("json", error))?;
        fs::write(self.marker_path(), marker).map_err(at(&self.marker_path()))?;
        let armed = self.arm(UNIT_BACK, "back", trial.seconds).and_then(|()| self.arm(UNIT_TRY, "try", SOON));
        if armed.is_err() {
            self.disarm(UNIT_BACK);
            self.clean_up();
        }
        armed
    }

    /// A card that a network of ours has would be taken out of it.
    fn cards_are_free(&self, wanted: &Management) -> Result<()> {
        for card in self.cards().into_iter().filter(|card| wanted.cards.contains(&card.mac)) {
            let master = fs::read_link(self.places.net.join(&card.name).join("master")).ok();
            let master =
                master.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
            if let Some(of) = master.filter(|name| is_network_device(name)) {
                let problem = format!("{} belongs to a network ({of}); delete that first", card.name);
                return Err(HypervisorError::InvalidSpec { field: "interfaces".to_owned(), problem });
            }
        }
        Ok(())
    }

    /// Everything that is configured, with the new files in place of the old ones.
    fn stage(&self, wanted: &Management) -> Result<()> {
        let is_replaced = |name: &str| Units::is_ours(name) || name == KEPT;
        let (configured, staged) = (&self.places.configured, self.staged());
        made_from(configured, &staged, &is_replaced, &Units::from(wanted).ours()).map_err(at(&staged))
    }

    fn arm(&self, unit: &str, what: &str, seconds: u32) -> Result<()> {
        self.disarm(unit);
        let program = std::env::current_exe().map_err(|error| failed("this program", error))?;
        let program = program.to_string_lossy();
        // Of a program that was replaced meanwhile.
        let program = program.trim_end_matches(" (deleted)");
        let (unit, when) = (format!("--unit={unit}"), format!("--on-active={seconds}s"));
        let exactly = "--timer-property=AccuracySec=100ms";
        let call = [
            "systemd-run",
            "--quiet",
            "--collect",
            unit.as_str(),
            when.as_str(),
            exactly,
            "--",
            program,
            "management",
            what,
        ];
        self.programs.run(&call).map_err(|error| failed("arm", error))
    }

    fn disarm(&self, unit: &str) {
        let timer = format!("{unit}.timer");
        if let Err(error) = self.programs.run(&["systemctl", "stop", timer.as_str()]) {
            tracing::debug!(%error, "there was nothing to stop");
        }
    }

    fn clean_up(&self) {
        for path in [self.marker_path(), self.applied(), self.undo()] {
            let _not_there = fs::remove_file(path);
        }
        let _not_there = fs::remove_dir_all(self.staged());
    }

    /// What [`UNIT_TRY`] does.
    pub fn apply(&self) -> Result<()> {
        let _alone = self.lock()?;
        let Some(marker) = self.marker()? else { return Ok(()) };
        if self.applied().exists() || self.kept().as_deref() == Some(marker.trial.change.as_str()) {
            return Ok(());
        }
        let (staged, over) = (self.staged(), &self.places.configured);
        let (staged, over) = (staged.display().to_string(), over.display().to_string());
        let call = ["mount", "--bind", staged.as_str(), over.as_str()];
        self.programs.run(&call).map_err(|error| failed("mount", error))?;
        self.switch(&marker.before, &marker.trial.wanted)?;
        fs::write(self.applied(), b"").map_err(at(&self.applied()))
    }

    /// What [`UNIT_BACK`] does.
    pub fn back(&self) -> Result<()> {
        let _alone = self.lock()?;
        if let Some(marker) = self.marker()? {
            return self.back_from(&marker);
        }
        let undone = fs::read_to_string(self.undo()).ok();
        if undone.is_some() && undone.as_deref().map(str::trim) == self.kept().as_deref() {
            let now = self.configured()?;
            self.exchange()?;
            let then = self.configured()?;
            self.switch(&now, &then)?;
        }
        self.clean_up();
        Ok(())
    }

    fn back_from(&self, marker: &Marker) -> Result<()> {
        let mounted = self.is_mounted();
        if !mounted && self.kept().as_deref() == Some(marker.trial.change.as_str()) {
            self.clean_up();
            return Ok(());
        }
        if mounted {
            self.unmount()?;
        }
        if mounted || self.applied().exists() {
            self.switch(&marker.trial.wanted, &marker.before)?;
        }
        self.disarm(UNIT_TRY);
        self.clean_up();
        Ok(())
    }

    pub fn keep(&self, change: &str) -> Result<Keeping> {
        let _alone = self.lock()?;
        let is_kept = || self.kept().as_deref() == Some(change);
        let Some(marker) = self.marker()?.filter(|marker| marker.trial.change == change) else {
            return Ok(if is_kept() { Keeping::Kept } else { Keeping::WentBack });
        };
        let mounted = self.is_mounted();
        if mounted || !is_kept() {
            if !self.applied().exists() {
                return Ok(Keeping::NotYet);
            }
            self.prepare(&marker)?;
            if mounted {
                self.unmount()?;
            }
            self.exchange()?;
        }
        self.disarm(UNIT_BACK);
        self.clean_up();
        Ok(Keeping::Kept)
    }

    pub fn go_back(&self, change: &str) -> Result<()> {
        let _alone = self.lock()?;
        let on_trial = self.marker()?.is_some_and(|marker| marker.trial.change == change);
        if !on_trial && self.kept().as_deref() == Some(change) {
            fs::write(self.undo(), change).map_err(at(&self.undo()))?;
        } else if !on_trial {
            return Ok(());
        }
        self.arm(UNIT_BACK, "back", SOON)
    }

    /// What is exchanged then.
    fn prepare(&self, marker: &Marker) -> Result<()> {
        let number = [(KEPT.to_owned(), format!("{}\n", marker.trial.change))];
        let beside = self.beside();
        made_from(&self.staged(), &beside, &|name| name == KEPT, &number).map_err(at(&beside))
    }

    /// The commit point.
    fn exchange(&self) -> Result<()> {
        let (beside, configured) = (self.beside(), &self.places.configured);
        renameat_with(CWD, &beside, CWD, configured, RenameFlags::EXCHANGE)
            .map_err(|error| at(configured)(error.into()))?;
        xenith_common_files::sync_folder_of(configured).map_err(at(configured))
    }

    /// Also from under somebody who is in that folder: the timer that goes back goes off once, and a shell that an
    /// administrator has left there must not keep the host away.
    fn unmount(&self) -> Result<()> {
        let configured = self.places.configured.display().to_string();
        let call = ["umount", "--lazy", configured.as_str()];
        self.programs.run(&call).map_err(|error| failed("umount", error))
    }

    /// From one to the other, whose files are in place. systemd-networkd makes what is missing; it would not change a VLAN
    /// or a bond into another, and might leave a port where it was.
    fn switch(&self, from: &Management, to: &Management) -> Result<()> {
        let macs: BTreeSet<MacAddr> = from.cards.iter().chain(&to.cards).copied().collect();
        let cards = self.cards();
        let mut calls: Vec<Vec<&str>> = Vec::new();
        for card in cards.iter().filter(|card| macs.contains(&card.mac)) {
            calls.push(vec!["ip", "link", "set", "dev", card.name.as_str(), "nomaster"]);
        }
        for device in from.made_anew_for(to) {
            calls.push(vec!["ip", "link", "delete", "dev", device]);
        }
        calls.push(vec!["ip", "address", "flush", "dev", BRIDGE, "scope", "global"]);
        for call in calls {
            if let Err(error) = self.programs.run(&call) {
                tracing::info!(%error, "that was so already, or is not there");
            }
        }
        let restart = ["systemctl", "restart", "systemd-networkd.service"];
        self.programs.run(&restart).map_err(|error| failed("restart", error))
    }
}

fn is_used(path: &&PathBuf) -> bool {
    if path.is_dir() {
        return fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().any(|line| line.trim_start().starts_with("iface ") && !line.contains(" lo "))
}

/// By its own address, whatever a bond has given it.
fn card(folder: &Path) -> Option<Card> {
    let name = folder.file_name()?.to_str()?.to_owned();
    if !folder.join("device").exists() || is_guest_interface(&name) {
        return None;
    }
    let text = fs::read_to_string(folder.join("bonding_slave/perm_hwaddr"))
        .or_else(|_| fs::read_to_string(folder.join("address")))
        .ok()?;
    Some(Card { name, mac: text.trim().parse().ok()? })
}

#[cfg(test)]
mod tests;
