//! The console of an installed host, on the screen and on the serial line: what somebody in front of the rack needs.
//!
//! The status is for everybody who stands there. What changes or reveals more asks for root's password, checked by PAM's
//! own helper; a host without one says that SSH by key is the way in.

pub mod status;

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use self::status::Status;

const REFRESH: Duration = Duration::from_secs(10);
const UNITS: &str = "/etc/systemd/network";
/// At the end of the unit of a bridge that has its address by DHCP.
const OF_DHCP: &str = "\n[DHCPv4]\nClientIdentifier=mac\n";
const MENU: &str = "Enter: show again   n: network   l: logs   s: log in   r: restart   p: power off";

/// Shows and asks until the console goes away.
pub fn run() -> io::Result<()> {
    let (lines, typed) = mpsc::sync_channel(1);
    let (next, wanted) = mpsc::sync_channel::<()>(1);
    // One line at a time, and only when it is wanted: a login must not lose what is typed into it.
    thread::spawn(move || {
        while wanted.recv().is_ok() {
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line);
            if lines.send(read.map(|bytes| (bytes > 0).then(|| line.trim().to_owned()))).is_err() {
                break;
            }
        }
    });
    let mut shown = String::new();
    loop {
        // The reader is idle here: its last line was taken, or it was never asked.
        if next.send(()).is_err() {
            return Ok(());
        }
        let line = loop {
            let now = Status::gather().to_string();
            if now != shown {
                println!("\n{now}\n{MENU}");
                shown = now;
            }
            match typed.recv_timeout(REFRESH) {
                Ok(line) => break line?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        };
        let Some(line) = line else { return Ok(()) };
        choose(&line);
        shown.clear();
    }
}

fn choose(line: &str) {
    let result = match line {
        "n" => as_root(network),
        "l" => as_root(logs),
        "s" => child("login", &[]),
        "r" => as_root(|| child("systemctl", &["reboot"])),
        "p" => as_root(|| child("systemctl", &["poweroff"])),
        _ => Ok(()),
    };
    if let Err(problem) = result {
        println!("{problem}");
    }
}

/// Runs a program on this console.
fn child(program: &str, args: &[&str]) -> Result<(), String> {
    Command::new(program)
        .args(args)
        .status()
        .map(drop)
        .map_err(|error| format!("{program} cannot be started: {error}"))
}

fn as_root(then: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let shadow =
        fs::read_to_string("/etc/shadow").map_err(|error| format!("/etc/shadow cannot be read: {error}"))?;
    if !has_password(&shadow) {
        return Err("root has no password on this host: log in with SSH by key".to_owned());
    }
    let password = rpassword::prompt_password("Password of root: ").map_err(|error| error.to_string())?;
    if password_is(&password)? { then() } else { Err("that is not the password".to_owned()) }
}

fn has_password(shadow: &str) -> bool {
    let hash =
        shadow.lines().find_map(|line| line.strip_prefix("root:")).and_then(|rest| rest.split(':').next());
    hash.is_some_and(|hash| hash.starts_with('$'))
}

/// Asks `unix_chkpwd`, the helper that PAM itself asks; it waits after a wrong one.
fn password_is(password: &str) -> Result<bool, String> {
    let failed = |error: io::Error| format!("the password cannot be checked: {error}");
    let mut child = Command::new("/usr/sbin/unix_chkpwd")
        .args(["root", "nonull"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        let mut bytes = password.as_bytes().to_vec();
        bytes.push(0);
        pipe.write_all(&bytes).map_err(failed)?;
    }
    child.wait().map(|status| status.success()).map_err(failed)
}

/// To open the files of the management network in an editor of lines is no help at 3 in the morning: two questions are.
fn network() -> Result<(), String> {
    if network_on_trial() {
        return Err("the orchestrator is trying another network on this host, and what is typed now would go with it; the host \
                    goes back by itself within minutes, then try again"
            .to_owned());
    }
    let shown = child("networkctl", &["--no-pager", "status", "xenbr0"]);
    print!("Address, as 192.0.2.10/24, or dhcp [leave it]: ");
    let address = line()?;
    if address.is_empty() {
        return shown;
    }
    let gateway = if address == "dhcp" {
        String::new()
    } else {
        print!("Gateway [none]: ");
        line()?
    };
    let path = format!("{UNITS}/30-xenbr0.network");
    let path = path.as_str();
    let text = fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let changed = with_address(&text, &address, &gateway)?;
    replace(Path::new(path), &changed).map_err(|error| format!("{path} cannot be written: {error}"))?;
    child("networkctl", &["reload"])?;
    child("networkctl", &["reconfigure", "xenbr0"])
}

/// Whole or not at all: half of it, after a power cut, would be a host without a network.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // systemd-networkd reads no file that ends like this.
    let partial = path.with_extension("new");
    fs::write(&partial, text)?;
    fs::set_permissions(&partial, fs::metadata(path)?.permissions())?;
    fs::File::open(&partial)?.sync_all()?;
    fs::rename(&partial, path)
}

/// Whether the agent is trying another management interface on this host.
#[must_use]
pub fn network_on_trial() -> bool {
    is_on_trial(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

/// The files of a change on trial lie over those of the host as a mount.
fn is_on_trial(mounts: &str) -> bool {
    mounts.lines().any(|line| line.split(' ').nth(1) == Some(UNITS))
}

fn line() -> Result<String, String> {
    io::stdout().flush().map_err(|error| error.to_string())?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    Ok(line.trim().to_owned())
}

/// The unit of the bridge with another address; everything else in it stays. What belongs to DHCP comes and goes with it: the
/// agent changes only units that are as it would write them itself (`hypervisor_agent_types::management`).
fn with_address(unit: &str, address: &str, gateway: &str) -> Result<String, String> {
    let unit = unit.strip_suffix(OF_DHCP).unwrap_or(unit);
    let mut lines: Vec<String> = unit
        .lines()
        .filter(|line| !["Address=", "Gateway=", "DHCP="].iter().any(|key| line.starts_with(key)))
        .map(str::to_owned)
        .collect();
    let place = lines.iter().position(|line| line == "[Network]").ok_or("the unit has no [Network]")? + 1;
    if address == "dhcp" {
        lines.insert(place, "DHCP=yes".to_owned());
        if !lines.iter().any(|line| line == "[DHCPv4]") {
            lines.extend(OF_DHCP.lines().map(str::to_owned));
        }
    } else {
        let address: crate::answers::values::Address = address.parse()?;
        if !gateway.is_empty() {
            let gateway: std::net::IpAddr =
                gateway.parse().map_err(|_| "the gateway is no address".to_owned())?;
            if !address.reaches(gateway) {
                return Err(format!("{gateway} is not in the network of {address}"));
            }
            lines.insert(place, format!("Gateway={gateway}"));
        }
        lines.insert(place, format!("Address={address}"));
    }
    Ok(lines.join("\n") + "\n")
}

fn logs() -> Result<(), String> {
    child(
        "journalctl",
        &["--no-pager", "--boot", "--lines=60", "--unit=xenith-agent", "--unit=xenith-boot-good"],
    )
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::management::Units;

    use super::*;

    #[test]
    fn only_a_hash_is_a_password() {
        for (shadow, has) in [
            ("root:$y$j9T$abc:19000:0:::::\n", true),
            ("root:*:19000:0:::::\n", false),
            ("root::19000:0:::::\n", false),
            ("daemon:$y$abc:1::::::\n", false),
        ] {
            assert_eq!(has_password(shadow), has, "{shadow}");
        }
    }

    #[test]
    fn the_agent_still_knows_a_unit_that_was_changed_here() {
        let units = |address: Option<&str>, gateway: Option<&str>| Units {
            cards: vec!["52:54:00:00:00:01".to_owned()],
            bond: None,
            vlan: None,
            address: address.map(str::to_owned),
            gateway: gateway.map(str::to_owned),
            dns: vec!["192.0.2.53".to_owned()],
        };
        let bridge = |units: &Units| {
            let mut files = units.files().into_iter();
            files.find(|(name, _)| name == "30-xenbr0.network").unwrap().1
        };
        let dhcp = bridge(&units(None, None));
        let fixed = bridge(&units(Some("192.0.2.10/24"), Some("192.0.2.1")));
        assert_eq!(with_address(&dhcp, "192.0.2.10/24", "192.0.2.1").unwrap(), fixed);
        assert_eq!(with_address(&fixed, "dhcp", "").unwrap(), dhcp);
    }

    #[test]
    fn a_network_on_trial_is_seen() {
        assert!(is_on_trial("tmpfs /run tmpfs rw 0 0\ntmpfs /etc/systemd/network tmpfs rw 0 0\n"));
        assert!(!is_on_trial("/dev/sda3 / ext4 rw 0 0\n"));
    }

    #[test]
    fn a_unit_is_replaced_with_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("30-xenbr0.network");
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_address_leaves_the_rest_of_the_unit() {
        let unit = &format!("[Match]\nName=xenbr0\n\n[Network]\nDHCP=yes\nDNS=192.0.2.53\n{OF_DHCP}");
        let fixed = with_address(unit, "192.0.2.10/24", "192.0.2.1").unwrap();
        assert_eq!(
            fixed,
            "[Match]\nName=xenbr0\n\n[Network]\nAddress=192.0.2.10/24\nGateway=192.0.2.1\nDNS=192.0.2.53\n"
        );
        assert_eq!(&with_address(&fixed, "dhcp", "").unwrap(), unit);
        assert_eq!(&with_address(unit, "dhcp", "").unwrap(), unit);
        for (address, gateway) in [("192.0.2.10", ""), ("192.0.2.10/24", "192.0.3.1"), ("192.0.2.10/24", "x")]
        {
            assert!(with_address(unit, address, gateway).is_err(), "{address} {gateway}");
        }
    }
}
