//! Who has series. Disks and NICs have their own where a VM has several of a kind: of one alone the VM's are the same, and a
//! large site holds two in memory for each VM less.

use std::fmt;
use std::str::FromStr;

use xenith_common_ids::{HostId, VmId};
use xenith_orchestrator_types::metrics::Measured;

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    Host(HostId),
    Vm(VmId),
    /// With the index of its device: 0 is `xvda`.
    Disk(VmId, u8),
    /// With its number: 0 is the first.
    Nic(VmId, u8),
}

/// Where the letters of disks and NICs begin: the number is in the letter, so that all keys are of one length, and of a VM
/// in one group.
const DISK: u8 = 0x80;
const NIC: u8 = 0xc0;

impl Entity {
    /// Disks of a VM that can have series: `xvda` to `xvdz`.
    pub const DISKS: u8 = 26;
    /// NICs of a VM that can.
    pub const NICS: u8 = 32;
    /// A letter and 16 bytes.
    pub(crate) const BYTES: usize = 17;
    /// With the period behind it.
    #[cfg(feature = "test-support")]
    pub(crate) const KEY_BYTES: usize = Self::BYTES + size_of::<u32>();

    #[must_use]
    pub const fn kind(self) -> Measured {
        match self {
            Self::Host(_) => Measured::Host,
            Self::Vm(_) | Self::Disk(..) | Self::Nic(..) => Measured::Vm,
        }
    }

    /// The VM that it is, or is of.
    #[must_use]
    pub const fn vm(self) -> Option<VmId> {
        match self {
            Self::Host(_) => None,
            Self::Vm(vm) | Self::Disk(vm, _) | Self::Nic(vm, _) => Some(vm),
        }
    }

    /// Every disk and NIC of a VM that may have series.
    pub fn devices_of(vm: VmId) -> impl Iterator<Item = Self> {
        let disks = (0..Self::DISKS).map(move |index| Self::Disk(vm, index));
        disks.chain((0..Self::NICS).map(move |number| Self::Nic(vm, number)))
    }

    /// Keys begin so.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let (letter, id) = match &self {
            Self::Host(host) => (b'h', host.as_bytes()),
            Self::Vm(vm) => (b'v', vm.as_bytes()),
            Self::Disk(vm, index) => (DISK + *index, vm.as_bytes()),
            Self::Nic(vm, number) => (NIC + *number, vm.as_bytes()),
        };
        let mut bytes = [letter; Self::BYTES];
        bytes[1..].copy_from_slice(id);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (letter, id) = bytes.split_first()?;
        let id: [u8; 16] = id.try_into().ok()?;
        match letter {
            b'h' => Some(Self::Host(HostId::from_bytes(id))),
            b'v' => Some(Self::Vm(VmId::from_bytes(id))),
            letter if (DISK..DISK + Self::DISKS).contains(letter) => {
                Some(Self::Disk(VmId::from_bytes(id), letter - DISK))
            }
            letter if (NIC..NIC + Self::NICS).contains(letter) => {
                Some(Self::Nic(VmId::from_bytes(id), letter - NIC))
            }
            _ => None,
        }
    }

    /// The key of its record of a period (an hour or a day since 1970).
    pub(crate) fn key(self, period: u32) -> Vec<u8> {
        [&self.to_bytes()[..], &period.to_be_bytes()].concat()
    }

    pub(crate) fn parse_key(key: &[u8]) -> Option<(Self, u32)> {
        let (entity, period) = key.split_at_checked(Self::BYTES)?;
        Some((Self::from_bytes(entity)?, u32::from_be_bytes(period.try_into().ok()?)))
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host/{host}"),
            Self::Vm(vm) => write!(f, "vm/{vm}"),
            Self::Disk(vm, index) => write!(f, "vm/{vm}/disk/{index}"),
            Self::Nic(vm, number) => write!(f, "vm/{vm}/nic/{number}"),
        }
    }
}

/// As a VM or host is shown: rules and alarms are about those.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither vm/ID nor host/ID")]
pub struct ParseEntityError(String);

impl FromStr for Entity {
    type Err = ParseEntityError;

    fn from_str(text: &str) -> Result<Self, ParseEntityError> {
        let parsed = match text.split_once('/') {
            Some(("vm", id)) => id.parse().ok().map(Self::Vm),
            Some(("host", id)) => id.parse().ok().map(Self::Host),
            _ => None,
        };
        parsed.ok_or_else(|| ParseEntityError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_sort_by_entity_and_period() {
        let (vm, host) = (Entity::Vm(VmId::new()), Entity::Host(HostId::new()));
        let keys = [host.key(7), host.key(300), vm.key(1), vm.key(256), vm.key(u32::MAX)];
        assert!(keys.is_sorted());
        assert_eq!(Entity::parse_key(&keys[3]), Some((vm, 256)));
        for entity in [vm, host] {
            assert_eq!(entity.to_string().parse(), Ok(entity));
        }
        assert!("pool/1".parse::<Entity>().is_err());
        for device in Entity::devices_of(vm.vm().unwrap()) {
            assert_eq!(Entity::parse_key(&device.key(9)), Some((device, 9)));
            assert_eq!((device.vm(), device.kind()), (vm.vm(), Measured::Vm));
            assert!(device.to_string().parse::<Entity>().is_err(), "no rule is about {device}");
        }
        for bad in [&keys[0][1..], b"", b"x"] {
            assert_eq!(Entity::parse_key(bad), None);
        }
    }
}
