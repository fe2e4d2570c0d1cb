//! The memory of a running VM, kept with a snapshot of its disks: where it lies, and where it can go on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{SrId, VdiId};

use crate::VmSpec;

/// Where the memory is kept: a VDI of its own, which no VM gets as a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryOf {
    pub vdi: VdiId,
    pub sr: SrId,
}

/// What the VM did while its memory was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WrittenWhile {
    /// It ran, and stood for what it changed last.
    Running,
    /// It stood for all of it: Xen cannot tell what this kind of guest changes.
    Standing,
}

/// Memory that was kept, and what its guest must find again to go on from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptMemory {
    /// Of its image. A guest that changes its memory is read more than once.
    pub bytes: u64,
    pub written_while: WrittenWhile,
    pub cpu_model: String,
    pub xen_major: u32,
    pub xen_minor: u32,
}

impl KeptMemory {
    /// Why a guest cannot go on from this on a machine. Its kernel asked once what the processor can do; Xen reads what an
    /// older one wrote, and not the other way round.
    #[must_use]
    pub fn unlike(&self, cpu_model: &str, (major, minor): (u32, u32)) -> Option<String> {
        if self.cpu_model != cpu_model {
            let was = &self.cpu_model;
            return Some(format!("its host has other processors ({cpu_model}; the memory is of {was})"));
        }
        let was = (self.xen_major, self.xen_minor);
        ((major, minor) < was).then(|| {
            format!(
                "its host runs Xen {major}.{minor}, older than {}.{}, which wrote the memory",
                was.0, was.1
            )
        })
    }
}

impl VmSpec {
    /// What a guest would find changed when it went on from memory of the other one. Its name and what is done when it
    /// ends are no matter of the guest's.
    #[must_use]
    pub fn unlike(&self, other: &Self) -> Vec<&'static str> {
        [
            (self.platform != other.platform, "the platform"),
            (self.vcpus != other.vcpus, "the virtual CPUs"),
            (self.memory != other.memory, "the memory"),
            (self.disks != other.disks, "the disks"),
            (self.nics != other.nics, "the network cards"),
            (self.graphics != other.graphics, "the graphics"),
            (self.hardware != other.hardware, "the CD, the devices or other hardware"),
        ]
        .into_iter()
        .filter_map(|(differs, what)| differs.then_some(what))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemorySpec;
    use crate::test_support::small;

    #[test]
    fn memory_goes_on_where_its_guest_finds_what_it_knew() {
        let kept = KeptMemory {
            bytes: 1,
            written_while: WrittenWhile::Running,
            cpu_model: "Xeon".into(),
            xen_major: 4,
            xen_minor: 17,
        };
        for (case, cpu, xen, why) in [
            ("the same", "Xeon", (4, 17), None),
            ("a newer Xen", "Xeon", (4, 18), None),
            ("an older Xen", "Xeon", (4, 9), Some("older than 4.17")),
            (
                "another processor",
                "Opteron",
                (4, 17),
                Some("other processors (Opteron; the memory is of Xeon)"),
            ),
        ] {
            let unlike = kept.unlike(cpu, xen);
            assert_eq!(unlike.is_some(), why.is_some(), "{case}: {unlike:?}");
            assert!(why.is_none_or(|why| unlike.is_some_and(|unlike| unlike.contains(why))), "{case}");
        }
    }

    #[test]
    fn what_a_guest_would_miss_is_named() {
        let spec = small("v");
        let renamed = VmSpec { name: "w".parse().unwrap(), ..spec.clone() };
        assert!(spec.unlike(&renamed).is_empty());
        let more = MemorySpec { target: 512.try_into().unwrap(), ..spec.memory };
        let changed = VmSpec { memory: more, graphics: crate::Graphics::Vnc, ..spec.clone() };
        assert_eq!(spec.unlike(&changed), ["the memory", "the graphics"]);
    }
}
