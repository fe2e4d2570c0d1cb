//! The questions, in the order in which a person knows the answers. Each is asked until its answer is valid.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::str::FromStr;

use super::Terminal;
use crate::answers::values::{BondMode, PasswordHash, VlanId};
use crate::answers::{
    Access, Addressing, After, Answers, Check, Join, Network, Role, SrKind, System, Target,
};
use crate::facts::Facts;
use crate::nics::Link;

/// All of them.
pub fn ask(terminal: &mut dyn Terminal, facts: &Facts) -> io::Result<Answers> {
    let target = target(terminal, facts)?;
    let system = system(terminal)?;
    let network = network(terminal, facts)?;
    let access = access(terminal)?;
    let join = match system.role {
        Role::Host => join(terminal)?,
        // It joins the orchestrator beside it.
        Role::HostAndOrchestrator => None,
    };
    Ok(Answers { target, system, network, access, join })
}

/// Asks until the answer can be read; empty takes the default.
fn value<T: FromStr<Err = String>>(
    terminal: &mut dyn Terminal,
    question: &str,
    default: &str,
) -> io::Result<T> {
    loop {
        let typed = terminal.ask(&format!("{question} [{default}]"))?;
        let text = if typed.is_empty() { default } else { &typed };
        match text.parse() {
            Ok(value) => return Ok(value),
            Err(problem) => terminal.show(&format!("  {problem}")),
        }
    }
}

/// The same for what may be missing.
fn optional<T: FromStr<Err = String>>(terminal: &mut dyn Terminal, question: &str) -> io::Result<Option<T>> {
    loop {
        let typed = terminal.ask(&format!("{question} [none]"))?;
        if typed.is_empty() {
            return Ok(None);
        }
        match typed.parse() {
            Ok(value) => return Ok(Some(value)),
            Err(problem) => terminal.show(&format!("  {problem}")),
        }
    }
}

/// Values until an empty line.
fn several<T: FromStr<Err = String>>(terminal: &mut dyn Terminal, question: &str) -> io::Result<Vec<T>> {
    let mut values = Vec::new();
    while let Some(value) = optional(terminal, question)? {
        values.push(value);
    }
    Ok(values)
}

/// Numbers of a list that was shown, from 1.
fn pick(terminal: &mut dyn Terminal, question: &str, of: usize, most: usize) -> io::Result<Vec<usize>> {
    loop {
        let typed = terminal.ask(&format!("{question} [1]"))?;
        let typed = if typed.is_empty() { "1" } else { &typed };
        let numbers: Option<Vec<usize>> = typed.split_whitespace().map(|word| word.parse().ok()).collect();
        match numbers {
            Some(numbers)
                if (1..=most).contains(&numbers.len()) && numbers.iter().all(|n| (1..=of).contains(n)) =>
            {
                return Ok(numbers);
            }
            _ => {
                terminal.show(&format!("  numbers from 1 to {of}, with a blank between them, {most} at most"))
            }
        }
    }
}

fn target(terminal: &mut dyn Terminal, facts: &Facts) -> io::Result<Target> {
    terminal.show("\nDisks of this machine:");
    let usable: Vec<_> = facts.disks.iter().filter(|disk| disk.unusable.is_none()).collect();
    for (index, disk) in usable.iter().enumerate() {
        terminal.show(&format!("  {}  {}", index + 1, disk.title()));
        for line in &disk.contents {
            terminal.show(&format!("       has {line}"));
        }
    }
    if usable.is_empty() {
        terminal.show("  none that can be used");
        return Err(io::Error::other("there is no disk to install on"));
    }
    let numbers = pick(terminal, "Install on which (two numbers: a mirror)", usable.len(), 2)?;
    let disks = numbers.iter().map(|number| usable[number - 1].path.clone()).collect();
    terminal.show(
        "  1  XFS with shared blocks\n  2  a thin pool of LVM\n  3  none, the rest of the disk stays empty",
    );
    let sr = match pick(terminal, "SR", 3, 1)?.as_slice() {
        [2] => SrKind::LvmThin,
        [3] => SrKind::None,
        _ => SrKind::Xfs,
    };
    Ok(Target { disks, erase: true, sr, after: After::default() })
}

fn system(terminal: &mut dyn Terminal) -> io::Result<System> {
    terminal.show("");
    Ok(System {
        name: value(terminal, "Name of the host", "xenith")?,
        timezone: value(terminal, "Time zone", "UTC")?,
        ntp: several(terminal, "Time server; Enter ends, without any Debian's are asked")?,
        role: role(terminal)?,
    })
}

fn role(terminal: &mut dyn Terminal) -> io::Result<Role> {
    terminal.show(
        "  1  host\n  2  host, and the orchestrator of this and other hosts, which this one joins by itself",
    );
    let both = pick(terminal, "Role", 2, 1)? == [2];
    Ok(if both { Role::HostAndOrchestrator } else { Role::Host })
}

fn network(terminal: &mut dyn Terminal, facts: &Facts) -> io::Result<Network> {
    terminal.show("\nNetwork cards:");
    for (index, nic) in facts.nics.iter().enumerate() {
        let cable = if nic.link == Link::Up { "cable in" } else { "no cable" };
        terminal.show(&format!("  {}  {}  {}  {cable}", index + 1, nic.name, nic.mac));
    }
    if facts.nics.is_empty() {
        return Err(io::Error::other("there is no network card"));
    }
    let numbers = pick(terminal, "Management network on which (several: a bond)", facts.nics.len(), 8)?;
    let nics =
        numbers.iter().filter_map(|number| facts.nics[number - 1].mac.parse().ok()).collect::<Vec<_>>();
    let bond = if nics.len() > 1 {
        terminal.show("  1  active-backup, works with every switch\n  2  802.3ad (LACP), the switch must be set up for it");
        let lacp = pick(terminal, "Bond", 2, 1)? == [2];
        Some(if lacp { BondMode::Lacp } else { BondMode::ActiveBackup })
    } else {
        None
    };
    let vlan = optional::<VlanId>(terminal, "VLAN")?;
    let address = address(terminal)?;
    let dns = match address {
        Addressing::Dhcp => Vec::new(),
        Addressing::Static { .. } => several(terminal, "DNS server; Enter ends")?,
    };
    Ok(Network { nics, bond, vlan, address, dns })
}

fn address(terminal: &mut dyn Terminal) -> io::Result<Addressing> {
    loop {
        let typed = terminal.ask("Address, as 192.0.2.10/24 [dhcp]")?;
        if typed.is_empty() || typed == "dhcp" {
            return Ok(Addressing::Dhcp);
        }
        let address: crate::answers::values::Address = match typed.parse() {
            Ok(address) => address,
            Err(problem) => {
                terminal.show(&format!("  {problem}"));
                continue;
            }
        };
        let gateway = terminal.ask("Gateway [none]")?;
        if gateway.is_empty() {
            return Ok(Addressing::Static { address, gateway: None });
        }
        match gateway.parse() {
            Ok(gateway) if address.reaches(gateway) => {
                return Ok(Addressing::Static { address, gateway: Some(gateway) });
            }
            Ok(gateway) => terminal.show(&format!("  {gateway} is not in the network of {address}")),
            Err(_) => terminal.show("  that is no address"),
        }
    }
}

fn access(terminal: &mut dyn Terminal) -> io::Result<Access> {
    terminal.show(
        "\nThere is no default password. Without one nobody logs in at the console; SSH takes keys only.",
    );
    let root_password_hash = loop {
        let first = terminal.ask_secret("Password of root [none]")?;
        if first.is_empty() {
            break None;
        }
        if terminal.ask_secret("Again")? != first {
            terminal.show("  they differ");
            continue;
        }
        match hash(&first) {
            Ok(hash) => break Some(hash),
            Err(problem) => terminal.show(&format!("  it cannot be hashed: {problem}")),
        }
    };
    let ssh_keys = several(terminal, "SSH public key of an administrator; Enter ends")?;
    Ok(Access { root_password_hash, ssh_keys })
}

/// SHA-512 crypt, by OpenSSL, which reads the password from its standard input.
fn hash(password: &str) -> Result<PasswordHash, String> {
    let mut child = Command::new("openssl")
        .args(["passwd", "-6", "-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(password.as_bytes()).map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    String::from_utf8_lossy(&output.stdout).trim().parse()
}

fn join(terminal: &mut dyn Terminal) -> io::Result<Option<Join>> {
    terminal.show("\nThe token comes from `xenith host add` on the orchestrator. A host can join later too.");
    loop {
        let typed = terminal.ask("Join token [none]")?;
        if typed.is_empty() {
            return Ok(None);
        }
        match typed.parse() {
            Ok(token) => return Ok(Some(Join { token, advertise: None, check: Check::Required })),
            Err(error) => terminal.show(&format!("  {error}")),
        }
    }
}

impl FromStr for VlanId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u16>().map_err(|_| "a VLAN is a number".to_owned())?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::disks::{Disk, DiskKind, Health};
    use crate::facts::Firmware;
    use crate::nics::Nic;

    /// Types what a test gives it.
    struct Script {
        typed: VecDeque<&'static str>,
        shown: String,
    }

    impl Script {
        fn new(typed: &[&'static str]) -> Self {
            Self { typed: typed.iter().copied().collect(), shown: String::new() }
        }
    }

    impl Terminal for Script {
        fn show(&mut self, line: &str) {
            self.shown.push_str(line);
            self.shown.push('\n');
        }
        fn ask(&mut self, question: &str) -> io::Result<String> {
            self.show(question);
            self.typed.pop_front().map(str::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        }
        fn ask_secret(&mut self, question: &str) -> io::Result<String> {
            self.ask(question)
        }
    }

    fn facts() -> Facts {
        let disk = |path: &str, unusable| Disk {
            path: path.into(),
            bytes: 64 << 30,
            model: "Disk".into(),
            serial: path.into(),
            wwn: String::new(),
            kind: DiskKind::Ssd,
            contents: vec![format!("{path}1: ntfs \"Windows\", 60.0 GB")],
            unusable,
            holders: Vec::new(),
            health: Health::Unknown,
        };
        let nic =
            |n: u8| Nic { name: format!("eno{n}"), mac: format!("52:54:00:00:00:0{n}"), link: Link::Up };
        Facts {
            firmware: Firmware::Bios,
            memory_mib: 4000,
            disks: vec![
                disk("/dev/sda", Some("the installer runs from it")),
                disk("/dev/sdb", None),
                disk("/dev/sdc", None),
            ],
            nics: vec![nic(1), nic(2)],
        }
    }

    #[test]
    fn enter_takes_what_is_offered() {
        let mut script = Script::new(&["", "", "", "", "", "", "", "", "", "", "", ""]);
        let answers = ask(&mut script, &facts()).unwrap();
        assert_eq!(answers.target.disks, ["/dev/sdb"], "the medium is not offered");
        assert_eq!(answers.target.sr, SrKind::Xfs);
        assert_eq!(answers.network.address, Addressing::Dhcp);
        assert_eq!((answers.access, answers.join), (Access::default(), None));
        assert!(script.shown.contains("has /dev/sdb1: ntfs \"Windows\""), "{}", script.shown);
    }

    #[test]
    fn a_wrong_answer_is_asked_again() {
        let mut script = Script::new(&[
            "3",
            "1 2", // disks: there are two
            "4",
            "2", // SR
            "Xen 1",
            "xen1",
            "Europe/Berlin",
            "192.0.2.9",
            "", // system
            "3",
            "1", // role
            "2 1",
            "2",
            "5000",
            "7", // cards, bond, VLAN
            "192.0.2.10",
            "192.0.2.10/24",
            "192.0.3.1",
            "192.0.2.10/24",
            "192.0.2.1",
            "192.0.2.53",
            "", // address
            "one",
            "two",
            "", // password
            "no key",
            "", // keys
            "no token",
            "", // join
        ]);
        let answers = ask(&mut script, &facts()).unwrap();
        assert_eq!(answers.target.disks, ["/dev/sdb", "/dev/sdc"]);
        assert_eq!(answers.target.sr, SrKind::LvmThin);
        assert_eq!(answers.system.name.as_str(), "xen1");
        assert_eq!(answers.network.nics[0].as_str(), "52:54:00:00:00:02");
        assert_eq!(answers.network.bond, Some(BondMode::Lacp));
        for part in [
            "numbers from 1 to 2",
            "lower-case",
            "1 to 4094",
            "not in the network",
            "they differ",
            "public key",
        ] {
            assert!(script.shown.contains(part), "{part} is missing in\n{}", script.shown);
        }
        assert!(script.typed.is_empty());
    }

    #[test]
    fn a_host_with_its_orchestrator_is_not_asked_for_a_token() {
        let mut script = Script::new(&["", "", "", "", "", "2", "", "", "", "", ""]);
        let answers = ask(&mut script, &facts()).unwrap();
        assert_eq!((answers.system.role, answers.join), (Role::HostAndOrchestrator, None));
        assert!(!script.shown.contains("Join token"), "{}", script.shown);
    }

    #[test]
    fn a_console_that_goes_away_ends_the_questions() {
        assert!(ask(&mut Script::new(&["1", "xen1"]), &facts()).is_err());
    }
}
