//! The settings of the orchestrator on a host with the role "host and orchestrator".
//!
//! They need the address of this host, which DHCP may give only when it has started. So they are written before the
//! orchestrator starts for the first time, and not touched afterwards: they are the administrator's then. The host joins
//! by the token that the orchestrator puts where its agent looks.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::BRIDGE;

pub const SETTINGS: &str = "/etc/xenith/orchestrator.toml";
/// Whoever starts us tries again.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_secs(1);

/// Writes the settings, where there are none.
pub fn ensure_settings() -> Result<(), String> {
    let path = Path::new(SETTINGS);
    if path.exists() {
        return Ok(());
    }
    let address = address().ok_or_else(|| {
        format!("{BRIDGE} has no address yet; without one nobody could reach the orchestrator")
    })?;
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    write(path, &settings(name.trim(), &address))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn address() -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = crate::live::address_of(BRIDGE);
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::sleep(POLL);
    }
}

/// `address` has the length of its network behind it.
fn settings(name: &str, address: &str) -> String {
    let address = address.split('/').next().unwrap_or(address);
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let loopback = if address.contains(':') { "::1" } else { "127.0.0.1" };
    format!(
        "# Written before the first start, with the address that this host had then. Change it freely.\n\
         # Names and addresses by which people and hosts reach this orchestrator; they are in its certificate.\n\
         names = [\"{name}\", \"localhost\"]\n\
         addresses = [\"{address}\", \"{loopback}\"]\n\
         # In the join tokens of hosts.\n\
         join_address = \"{host}:8443\"\n\
         # This host joins by itself, as long as no host has.\n\
         first_host_token = \"/etc/xenith/join-token\"\n"
    )
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("new");
    fs::write(&partial, text)?;
    fs::File::open(&partial)?.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_get_an_address_that_reaches_this_one() {
        for (address, host) in
            [("192.0.2.10/24", "192.0.2.10:8443"), ("2001:db8::1/64", "[2001:db8::1]:8443")]
        {
            let text = settings("xen1", address);
            let table: toml::Table = text.parse().unwrap();
            assert_eq!(table["join_address"].as_str(), Some(host));
            assert_eq!(table["names"][0].as_str(), Some("xen1"));
            assert_eq!(table["addresses"][0].as_str(), address.split('/').next());
            assert_eq!(table["first_host_token"].as_str(), Some("/etc/xenith/join-token"));
        }
    }

    #[test]
    fn the_agent_looks_where_the_orchestrator_puts_the_token() {
        let agent = include_str!("../../hypervisor-agent/dist/agent.toml");
        assert!(agent.contains("join_token = \"/etc/xenith/join-token\""));
        let unit = include_str!("../dist/xenith-join.path");
        assert!(unit.contains("PathChanged=/etc/xenith/join-token"));
    }
}
