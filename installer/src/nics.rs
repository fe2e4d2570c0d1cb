//! The network cards of this machine, from sysfs.

use std::fs;
use std::path::Path;

use crate::answers::values::NicName;
use crate::facts::FactsError;

/// A physical card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// As the kernel names it now; the hardware address is what stays.
    pub name: String,
    pub mac: String,
    pub link: Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Up,
    Down,
}

/// Cards with a device behind them: no bridges, tunnels or VIFs of guests. Sorted by name.
pub fn list(net: &Path) -> Result<Vec<Nic>, FactsError> {
    let read_error = |source| FactsError::Read { path: net.display().to_string(), source };
    let mut nics = Vec::new();
    for entry in fs::read_dir(net).map_err(read_error)? {
        let dir = entry.map_err(read_error)?.path();
        let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default().trim().to_owned();
        // 1: Ethernet (linux/if_arp.h).
        if !dir.join("device").exists() || text("type") != "1" {
            continue;
        }
        // In a bond, such as one that an earlier attempt has made, all cards show the address of the first.
        let own = Some(text("bonding_slave/perm_hwaddr")).filter(|address| !address.is_empty());
        nics.push(Nic {
            name: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            mac: own.unwrap_or_else(|| text("address")).to_ascii_lowercase(),
            // Reading the file of a card that is down is an error, which reads as no cable too.
            link: if text("carrier") == "1" { Link::Up } else { Link::Down },
        });
    }
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nics)
}

/// The cards that the answers mean. Without any named: the only one, or the only one with a cable.
pub fn choose<'a>(nics: &'a [Nic], wanted: &[NicName]) -> Result<Vec<&'a Nic>, String> {
    let all = || nics.iter().map(|nic| format!("{} ({})", nic.name, nic.mac)).collect::<Vec<_>>().join(", ");
    if !wanted.is_empty() {
        let find = |name: &NicName| {
            let fits = |nic: &&Nic| nic.name == name.as_str() || nic.mac == name.as_str();
            nics.iter()
                .find(fits)
                .ok_or_else(|| format!("there is no network card {name}; this machine has: {}", all()))
        };
        let found = wanted.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let twice =
            found.iter().enumerate().find(|(place, nic)| found[..*place].iter().any(|other| other == *nic));
        return match twice {
            Some((_, nic)) => Err(format!("{} ({}) is named twice; name each card once", nic.name, nic.mac)),
            None => Ok(found),
        };
    }
    let linked: Vec<&Nic> = nics.iter().filter(|nic| nic.link == Link::Up).collect();
    match (nics, linked.as_slice()) {
        ([one], _) => Ok(vec![one]),
        (_, [one]) => Ok(vec![one]),
        ([], _) => Err("this machine has no network card that Linux knows".to_owned()),
        (_, []) => Err(format!("no network card has a cable; plug one in, or name the card: {}", all())),
        _ => Err(format!("several network cards have a cable; name one: {}", all())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(name: &str, link: Link) -> Nic {
        Nic { name: name.into(), mac: format!("52:54:00:00:00:{name:0>2}"), link }
    }

    #[test]
    fn only_cards_with_a_device_are_listed() {
        let net = tempfile::tempdir().unwrap();
        for (name, kind, device, carrier) in [
            ("eth1", "1", true, "1"),
            ("eth0", "1", true, "0"),
            ("br0", "1", false, "1"),
            ("ib0", "32", true, "1"),
        ] {
            let dir = net.path().join(name);
            fs::create_dir(&dir).unwrap();
            for (file, text) in [("type", kind), ("carrier", carrier), ("address", "52:54:00:AA:00:01\n")] {
                fs::write(dir.join(file), text).unwrap();
            }
            if device {
                fs::create_dir(dir.join("device")).unwrap();
            }
        }
        let nics = list(net.path()).unwrap();
        let seen: Vec<_> = nics.iter().map(|nic| (nic.name.as_str(), nic.link)).collect();
        assert_eq!(seen, [("eth0", Link::Down), ("eth1", Link::Up)]);
        assert_eq!(nics[0].mac, "52:54:00:aa:00:01");
    }

    #[test]
    fn a_card_in_a_bond_has_its_own_address() {
        let net = tempfile::tempdir().unwrap();
        for (name, own) in [("eth0", "52:54:00:00:00:01"), ("eth1", "52:54:00:00:00:02")] {
            let dir = net.path().join(name);
            fs::create_dir_all(dir.join("bonding_slave")).unwrap();
            fs::create_dir(dir.join("device")).unwrap();
            for (file, text) in
                [("type", "1"), ("address", "52:54:00:00:00:01"), ("bonding_slave/perm_hwaddr", own)]
            {
                fs::write(dir.join(file), format!("{text}\n")).unwrap();
            }
        }
        let macs: Vec<_> = list(net.path()).unwrap().into_iter().map(|nic| nic.mac).collect();
        assert_eq!(macs, ["52:54:00:00:00:01", "52:54:00:00:00:02"]);
    }

    #[test]
    fn one_card_is_chosen_where_there_is_no_doubt() {
        use Link::{Down, Up};
        for (name, nics, chosen) in [
            ("the only one, even unplugged", vec![nic("1", Down)], Ok("1")),
            ("the only one with a cable", vec![nic("1", Down), nic("2", Up)], Ok("2")),
            ("two with cables", vec![nic("1", Up), nic("2", Up)], Err("several")),
            ("none with a cable", vec![nic("1", Down), nic("2", Down)], Err("no network card has a cable")),
            ("none", vec![], Err("no network card that Linux knows")),
        ] {
            match (choose(&nics, &[]), chosen) {
                (Ok(found), Ok(expected)) => assert_eq!(found[0].name, expected, "{name}"),
                (Err(said), Err(part)) => assert!(said.contains(part), "{name}: {said}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn cards_are_named_by_name_or_address() {
        let nics = [nic("1", Link::Up), nic("2", Link::Up)];
        let wanted = ["52:54:00:00:00:02".parse().unwrap(), "1".parse().unwrap()];
        let found: Vec<_> = choose(&nics, &wanted).unwrap().iter().map(|nic| nic.name.clone()).collect();
        assert_eq!(found, ["2", "1"]);
        let same = ["2".parse().unwrap(), "52:54:00:00:00:02".parse().unwrap()];
        assert!(choose(&nics, &same).unwrap_err().contains("named twice"));
        assert!(choose(&nics, &["eno9".parse().unwrap()]).unwrap_err().contains("no network card eno9"));
    }
}
