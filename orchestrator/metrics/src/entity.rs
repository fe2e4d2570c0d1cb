//! Who has series.

use std::fmt;
use std::str::FromStr;

use xenith_common_ids::{HostId, VmId};
use xenith_orchestrator_types::metrics::Measured;

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    Host(HostId),
    Vm(VmId),
}

impl Entity {
    /// A letter and 16 bytes.
    pub(crate) const BYTES: usize = 17;
    /// With the period behind it.
    #[cfg(feature = "test-support")]
    pub(crate) const KEY_BYTES: usize = Self::BYTES + size_of::<u32>();

    #[must_use]
    pub const fn kind(self) -> Measured {
        match self {
            Self::Host(_) => Measured::Host,
            Self::Vm(_) => Measured::Vm,
        }
    }

    /// Keys begin so.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let (letter, id) = match &self {
            Self::Host(host) => (b'h', host.as_bytes()),
            Self::Vm(vm) => (b'v', vm.as_bytes()),
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
        }
    }
}

/// As [`Entity`] is shown.
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
        for bad in [&keys[0][1..], b"", b"x"] {
            assert_eq!(Entity::parse_key(bad), None);
        }
    }
}
