//! The machine of a simulated host, and its two systems. Restarting takes no time, and ends neither the agent nor, since
//! none runs then, a guest: what is seen of it is another boot, another slot, another version.

use std::path::Path;

use async_trait::async_trait;
use xenith_hypervisor_agent_backend::{HypervisorError, Machine, Result, SystemSlots};
use xenith_hypervisor_agent_types::system::{HostSystem, PackagesDone, SystemSlot, SystemStanding};

use crate::SimHypervisor;

/// What becomes of a system that is started for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewSystem {
    #[default]
    ComesUp,
    /// It does not, and the one before starts again.
    FallsBack,
    /// It runs, and is never found healthy.
    StaysOnTrial,
}

/// An image for simulated hosts, as it lies on a web server: a name and its content. Its signature fits the key of every
/// simulated host; what signed it was not kept.
pub const IMAGE: [(&str, &[u8]); 3] = [
    ("image.json", include_bytes!("system/image.json")),
    ("image.json.minisig", include_bytes!("system/image.json.minisig")),
    ("filesystem.squashfs", include_bytes!("system/filesystem.squashfs")),
];
const KEY: &str = include_str!("system/image.pub");

/// One slot's.
#[derive(Debug, Clone)]
struct Installed {
    version: String,
    /// It ran, and was healthy.
    proven: bool,
}

#[derive(Debug)]
pub(crate) struct Systems {
    slot: SystemSlot,
    standing: SystemStanding,
    boot: u32,
    installed: [Option<Installed>; 2],
    next: NewSystem,
    is_off: bool,
    /// It is off before it can answer that it will be.
    off_at_once: bool,
    /// It was not installed from the medium.
    has_packages: bool,
    /// How often the packages were updated, and what that says.
    updated: (u32, PackagesDone),
}

impl Default for Systems {
    fn default() -> Self {
        let first = Installed { version: env!("CARGO_PKG_VERSION").to_owned(), proven: true };
        Self {
            slot: SystemSlot::A,
            standing: SystemStanding::Good,
            boot: 1,
            installed: [Some(first), None],
            next: NewSystem::default(),
            is_off: false,
            off_at_once: false,
            has_packages: false,
            updated: (0, PackagesDone { restart: true }),
        }
    }
}

impl Systems {
    fn look(&self) -> HostSystem {
        let version = self.installed[self.slot.index()].as_ref().map(|installed| installed.version.clone());
        HostSystem {
            slot: self.slot,
            version: version.unwrap_or_default(),
            boot: format!("boot-{}", self.boot),
            standing: self.standing,
        }
    }

    fn start(&mut self, slot: SystemSlot) {
        if slot == self.slot {
            self.standing = SystemStanding::Good;
            return;
        }
        self.boot += 1;
        let next = self.next;
        match &mut self.installed[slot.index()] {
            Some(installed) if installed.proven || next == NewSystem::ComesUp => {
                installed.proven = true;
                (self.slot, self.standing) = (slot, SystemStanding::Good);
            }
            Some(_) if next == NewSystem::StaysOnTrial => {
                (self.slot, self.standing) = (slot, SystemStanding::OnTrial);
            }
            // An empty slot does not come up either.
            _ => self.standing = SystemStanding::FellBack,
        }
    }
}

#[async_trait]
impl SystemSlots for SimHypervisor {
    async fn look(&self) -> Result<HostSystem> {
        self.inner.with(|world, _| match world.systems.has_packages {
            true => Err(HypervisorError::Unsupported {
                operation: "upgrading the host",
                why: "it was not installed from Xenith's medium".to_owned(),
            }),
            false => Ok(world.systems.look()),
        })
    }

    async fn image_key(&self) -> Result<String> {
        Ok(KEY.trim().to_owned())
    }

    async fn fill(&self, folder: &Path, told: &(dyn Fn(u8) + Send + Sync)) -> Result<()> {
        let text = tokio::fs::read(folder.join("image.json")).await;
        let image: std::io::Result<serde_json::Value> =
            text.and_then(|text| serde_json::from_slice(&text).map_err(std::io::Error::other));
        let image = image.map_err(|error| HypervisorError::Failed {
            operation: "fill",
            code: "image.json".to_owned(),
            log: error.to_string(),
        })?;
        let version = image["version"].as_str().unwrap_or_default().to_owned();
        self.inner.with(|world, _| {
            let other = world.systems.slot.other();
            world.systems.installed[other.index()] = Some(Installed { version, proven: false });
        });
        told(100);
        Ok(())
    }

    async fn stop_filling(&self) -> Result<()> {
        Ok(())
    }

    async fn start(&self, slot: SystemSlot) -> Result<()> {
        self.inner.with(|world, _| world.systems.start(slot));
        Ok(())
    }
}

#[async_trait]
impl Machine for SimHypervisor {
    async fn boot(&self) -> Result<String> {
        Ok(self.system().boot)
    }

    async fn restart(&self) -> Result<()> {
        self.inner.with(|world, _| world.systems.boot += 1);
        Ok(())
    }

    async fn power_off(&self) -> Result<()> {
        let answers = self.inner.with(|world, _| {
            world.systems.is_off = true;
            !world.systems.off_at_once
        });
        if answers {
            return Ok(());
        }
        let log = "the host went off before it could answer".to_owned();
        Err(HypervisorError::Failed { operation: "power off", code: "gone".to_owned(), log })
    }

    async fn update_packages(&self) -> Result<PackagesDone> {
        Ok(self.inner.with(|world, _| {
            world.systems.updated.0 += 1;
            world.systems.updated.1
        }))
    }
}

impl SimHypervisor {
    /// From now on it is a host with packages and without slots, and an update of those says this.
    pub fn set_packages(&self, done: PackagesDone) {
        self.inner.with(|world, _| (world.systems.has_packages, world.systems.updated.1) = (true, done));
    }

    /// How often its packages were updated.
    #[must_use]
    pub fn packages_updated(&self) -> u32 {
        self.inner.with(|world, _| world.systems.updated.0)
    }

    /// From now on it goes off before it answers the order: nobody hears that it took it.
    pub fn goes_off_at_once(&self) {
        self.inner.with(|world, _| world.systems.off_at_once = true);
    }

    /// It was switched off. Its agent goes on: whoever holds it ends that.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.inner.with(|world, _| world.systems.is_off)
    }

    /// From now on a system that is started for the first time behaves like this.
    pub fn set_new_systems(&self, next: NewSystem) {
        self.inner.with(|world, _| world.systems.next = next);
    }

    /// What runs.
    #[must_use]
    pub fn system(&self) -> HostSystem {
        self.inner.with(|world, _| world.systems.look())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(next: NewSystem) -> Systems {
        let new = Installed { version: "2".to_owned(), proven: false };
        let mut systems = Systems { next, ..Systems::default() };
        systems.installed[1] = Some(new);
        systems
    }

    #[test]
    fn a_new_system_is_tried_once_and_the_old_one_always_comes_up() {
        use SystemSlot::{A, B};
        use SystemStanding::{FellBack, Good, OnTrial};
        for (next, slot, standing) in [
            (NewSystem::ComesUp, B, Good),
            (NewSystem::FallsBack, A, FellBack),
            (NewSystem::StaysOnTrial, B, OnTrial),
        ] {
            let mut systems = filled(next);
            systems.start(B);
            let seen = systems.look();
            assert_eq!((seen.slot, seen.standing, &*seen.boot), (slot, standing, "boot-2"), "{next:?}");
            systems.start(A);
            let seen = systems.look();
            assert_eq!((seen.slot, seen.standing), (A, Good), "{next:?}");
        }
        let mut empty = Systems::default();
        empty.start(B);
        assert_eq!(empty.look().standing, FellBack);
    }
}
