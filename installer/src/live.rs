//! The network of the live system: first any, then exactly the one that the host will have.
//!
//! What is checked here is what is installed: the same files of systemd-networkd, in /run instead of /etc.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const UNITS: &str = "/run/systemd/network";
/// Every card comes up and asks for an address: only then can it be seen where a cable is.
const ANY: (&str, &str) = (
    "80-xenith-live.network",
    "[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\n[DHCPv4]\nClientIdentifier=mac\n",
);
/// Switches with spanning tree forward nothing for 30 s after a link comes up.
const ADDRESS_LIMIT: Duration = Duration::from_secs(60);
const LINK_LIMIT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: io::Error },
    #[error("networkctl failed: {said}")]
    Reload { said: String },
    #[error("{bridge} got no address within {seconds} s; cable, VLAN and DHCP server right?")]
    NoAddress { bridge: String, seconds: u64 },
}

/// Brings every card up. Waits a moment for links, since a machine without any is no error here.
pub fn any_network() -> Result<(), LiveError> {
    put(&[(ANY.0.to_owned(), ANY.1.to_owned())])?;
    let up = || {
        crate::nics::list(Path::new("/sys/class/net"))
            .is_ok_and(|nics| nics.iter().any(|nic| nic.link == crate::nics::Link::Up))
    };
    wait(LINK_LIMIT, up);
    Ok(())
}

/// The network of the answers, until it has an address. Returns the address.
pub fn this_network(units: &[(String, String)], bridge: &str) -> Result<String, LiveError> {
    clear();
    put(units)?;
    let mut found = None;
    wait(ADDRESS_LIMIT, || {
        found = address_of(bridge);
        found.is_some()
    });
    found.ok_or_else(|| LiveError::NoAddress { bridge: bridge.to_owned(), seconds: ADDRESS_LIMIT.as_secs() })
}

fn wait(limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() && Instant::now() < deadline {
        thread::sleep(POLL);
    }
}

/// What an earlier attempt left: bridges and bonds stay until they are removed.
fn clear() {
    for entry in fs::read_dir(UNITS).into_iter().flatten().flatten() {
        // A file that stays shows itself when the new ones do not work.
        let _stays = fs::remove_file(entry.path());
    }
    for device in ["xenbr0", "mgmt", "bond0"] {
        let _not_there = Command::new("ip").args(["link", "delete", device]).output();
    }
}

fn put(units: &[(String, String)]) -> Result<(), LiveError> {
    for (name, text) in units {
        let path = format!("{UNITS}/{name}");
        fs::create_dir_all(UNITS)
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| LiveError::Write { path, source })?;
    }
    let output = Command::new("networkctl")
        .arg("reload")
        .output()
        .map_err(|error| LiveError::Reload { said: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    Err(LiveError::Reload { said: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// The first global address of an interface.
#[must_use]
pub fn address_of(interface: &str) -> Option<String> {
    let output = Command::new("ip")
        .args(["-json", "address", "show", "dev", interface, "scope", "global"])
        .output()
        .ok()?;
    parse_address(&output.stdout)
}

fn parse_address(json: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    let infos = value.as_array()?.iter().filter_map(|link| link["addr_info"].as_array()).flatten();
    let mut found = infos
        .filter(|info| info["scope"] == "global")
        .filter_map(|info| Some(format!("{}/{}", info["local"].as_str()?, info["prefixlen"].as_u64()?)));
    found.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_global_address_is_taken() {
        let json = br#"[{"ifname":"xenbr0","addr_info":[
            {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"},
            {"family":"inet","local":"10.0.2.15","prefixlen":24,"scope":"global"}]}]"#;
        assert_eq!(parse_address(json).as_deref(), Some("10.0.2.15/24"));
        assert_eq!(parse_address(b"[]"), None);
        assert_eq!(parse_address(b"Device does not exist"), None);
    }
}
