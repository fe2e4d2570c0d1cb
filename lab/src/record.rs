//! What a host remembers between runs, in `host.json`.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Doing, LabError};
use crate::paths::write;

/// Ports stay the same from run to run where they are still free: an orchestrator has stored the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    /// Recipe hash of the image under the root disk.
    pub rootfs: String,
    pub number: u8,
    pub ssh_port: u16,
    pub agent_port: u16,
    /// For disks on their way in and out; the agent's own port has the same number, for that is what it tells.
    #[serde(default)]
    pub upload_port: u16,
    /// Sockets of the present run.
    pub sockets: PathBuf,
}

impl HostRecord {
    fn path(dir: &Path) -> PathBuf {
        dir.join("host.json")
    }

    /// `None` if there is none, or none that can be read: then the host is as good as new.
    pub fn load(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(dir)).ok()?).ok()
    }

    pub fn agent_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.agent_port).into()
    }

    /// See [`crate::LabHost::agent_settings`].
    pub fn agent_settings(&self) -> String {
        format!("advertise = \"{}\"\nuploads = \"0.0.0.0:{}\"\n", self.agent_address(), self.upload_port)
    }

    /// Written beside and renamed: a crash leaves the old record.
    pub fn store(&self, dir: &Path) -> Result<(), LabError> {
        let part = dir.join("host.json.part");
        let text = serde_json::to_vec_pretty(self).expect("a record of strings and numbers is JSON");
        write(&part, text)?;
        std::fs::rename(&part, Self::path(dir)).doing(|| format!("could not write {}", dir.display()))
    }
}

/// Below those that the kernel hands out to whoever asks for any, to listeners and to each connection that is made: it begins
/// at 32768 (`ip_local_port_range`).
const UNCLAIMED: Range<u16> = 20_000..32_000;
const THROWS: u32 = 500;

/// A port of loopback that is free, and so is the one that is so much `further`, if that is not 0. For a program that is told
/// its port and takes it a moment later: until then nobody gets it by chance.
pub fn unclaimed_port(further: u16) -> Result<u16, LabError> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let (dice, ports) = (RandomState::new(), u64::from(UNCLAIMED.end - UNCLAIMED.start));
    (0..THROWS)
        .map(|throw| dice.hash_one(throw) % ports)
        .map(|by_chance| UNCLAIMED.start + u16::try_from(by_chance).expect("it is less than there are ports"))
        .find(|port| free(*port) && (further == 0 || free(*port + further)))
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
        .doing(|| "no free port on 127.0.0.1".into())
}

/// The wished port if it is free, else any free one. It is free again when this returns: QEMU takes it next,
/// and if somebody was quicker QEMU says so and ends.
pub(crate) fn choose_port(wished: Option<u16>) -> Result<u16, LabError> {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    wished.filter(free).map_or_else(|| unclaimed_port(0), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_broken_one_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(HostRecord::load(dir.path()), None);
        let record = HostRecord {
            rootfs: "abc".into(),
            number: 1,
            ssh_port: 2,
            agent_port: 3,
            upload_port: 4,
            sockets: "/run/x".into(),
        };
        record.store(dir.path()).unwrap();
        assert_eq!(HostRecord::load(dir.path()), Some(record));
        std::fs::write(dir.path().join("host.json"), "{").unwrap();
        assert_eq!(HostRecord::load(dir.path()), None);
    }

    #[test]
    fn a_free_port_is_kept_and_a_taken_one_is_replaced() {
        let port = unclaimed_port(0).unwrap();
        assert!(UNCLAIMED.contains(&port));
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(choose_port(Some(port)).unwrap(), port);
        drop(taken);
        assert_eq!(choose_port(Some(port)).unwrap(), port);
    }
}
