//! The level of CPU features of a pool. Pure.
//!
//! What always holds: a level is of one maker's processors, and a guest on another maker's host is told nothing of it. A
//! host that is not heard counts as it was heard last, so that a level does not rise because a host is down.
//!
//! Who else touches this: the record is written by [`crate::app`] alone, and read when a VM is started
//! ([`crate::sagas`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use xenith_common_ids::HostId;
use xenith_hypervisor_agent_types::CpuFeatures;
use xenith_orchestrator_types::cpu_level::CpuLevelMode;

/// The level of a pool; its key is the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuLevelRecord {
    pub mode: CpuLevelMode,
    /// What its hosts have, as they were heard last.
    pub hosts: BTreeMap<HostId, CpuFeatures>,
}

impl CpuLevelRecord {
    /// What a guest is given at most that starts on a host like `on`. `None`: all that the host has.
    #[must_use]
    pub fn level_of(&self, on: &CpuFeatures) -> Option<CpuFeatures> {
        match self.mode {
            CpuLevelMode::Off => None,
            CpuLevelMode::Set { features } => features.common(on).map(|_| features),
            CpuLevelMode::Auto => {
                // Of another maker's there is nothing in common, and nothing to take from this.
                let less = |level: CpuFeatures, other| level.common(other).unwrap_or(level);
                Some(self.hosts.values().fold(*on, less))
            }
        }
    }

    /// Whether a guest that runs on a host like `on`, and was `given` these when it started, has more than it would be given
    /// now. One that was started without a level has all that its host has.
    #[must_use]
    pub fn is_above(&self, on: &CpuFeatures, given: Option<&CpuFeatures>) -> bool {
        self.level_of(on).is_some_and(|level| given.is_none_or(|given| !level.has_all_of(given)))
    }

    /// The level of each maker.
    #[must_use]
    pub fn levels(&self) -> Vec<CpuFeatures> {
        let of_hosts: BTreeSet<CpuFeatures> =
            self.hosts.values().filter_map(|features| self.level_of(features)).collect();
        match self.mode {
            CpuLevelMode::Set { features } if of_hosts.is_empty() => vec![features],
            _ => of_hosts.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(maker: &str, ebx: u32) -> CpuFeatures {
        CpuFeatures::new(maker, [1, 1, 1, 1, 1, ebx, 0, 0]).unwrap()
    }

    #[test]
    fn what_guests_are_given_by_mode() {
        let intel = |ebx| features("GenuineIntel", ebx);
        let amd = |ebx| features("AuthenticAMD", ebx);
        let hosts = |all: &[CpuFeatures]| all.iter().map(|features| (HostId::new(), *features)).collect();
        let mixed = [intel(0b11), intel(0b01), amd(0b110)];
        for (case, mode, all, on, level, count) in [
            ("no level", CpuLevelMode::Off, &mixed[..], intel(0b11), None, 0),
            ("what all have", CpuLevelMode::Auto, &mixed[..], intel(0b11), Some(intel(0b01)), 2),
            ("of its own maker", CpuLevelMode::Auto, &mixed[..], amd(0b110), Some(amd(0b110)), 2),
            ("one that is not known yet", CpuLevelMode::Auto, &mixed[..1], intel(0b10), Some(intel(0b10)), 1),
            (
                "as it was set",
                CpuLevelMode::Set { features: intel(0b10) },
                &mixed[..],
                intel(0b11),
                Some(intel(0b10)),
                1,
            ),
            (
                "set for another maker",
                CpuLevelMode::Set { features: intel(0b10) },
                &mixed[..],
                amd(0b110),
                None,
                1,
            ),
            (
                "set, and no host is known",
                CpuLevelMode::Set { features: intel(0b10) },
                &mixed[..0],
                intel(0b11),
                Some(intel(0b10)),
                1,
            ),
        ] {
            let record = CpuLevelRecord { mode, hosts: hosts(all) };
            assert_eq!(record.level_of(&on), level, "{case}");
            assert_eq!(record.levels().len(), count, "{case}: {:?}", record.levels());
        }
    }

    #[test]
    fn who_runs_with_more_than_the_level() {
        let intel = |ebx| features("GenuineIntel", ebx);
        let lesser = BTreeMap::from([(HostId::new(), intel(0b01))]);
        for (case, mode, given, above) in [
            ("no level", CpuLevelMode::Off, None, false),
            ("started without one", CpuLevelMode::Auto, None, true),
            ("started under a higher one", CpuLevelMode::Auto, Some(intel(0b11)), true),
            ("under this one", CpuLevelMode::Auto, Some(intel(0b01)), false),
            ("under a lower one", CpuLevelMode::Auto, Some(intel(0)), false),
            ("as it was set", CpuLevelMode::Set { features: intel(0b10) }, Some(intel(0b01)), true),
        ] {
            let record = CpuLevelRecord { mode, hosts: lesser.clone() };
            assert_eq!(record.is_above(&intel(0b11), given.as_ref()), above, "{case}");
        }
    }
}
