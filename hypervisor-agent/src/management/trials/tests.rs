//! A change in a folder that stands for `/`, with programs that write down what would run. A mount is played by folders
//! that change places.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;

use xenith_hypervisor_agent_types::network::Vlan;

use super::*;

/// What would have run, and what is mounted.
#[derive(Debug, Clone)]
struct Played {
    calls: Arc<Mutex<Vec<String>>>,
    configured: PathBuf,
    hidden: PathBuf,
}

impl Programs for Played {
    fn run(&self, call: &[&str]) -> io::Result<()> {
        let mounted = self.hidden.exists();
        match call[0] {
            "mountpoint" if mounted => return Ok(()),
            "mountpoint" => return Err(io::Error::other("is not a mountpoint")),
            "mount" => {
                fs::rename(&self.configured, &self.hidden)?;
                files::copy(Path::new(call[2]), &self.configured, &|_| false)?;
            }
            "umount" => {
                fs::remove_dir_all(&self.configured)?;
                fs::rename(&self.hidden, &self.configured)?;
            }
            _ => {}
        }
        self.calls.lock().unwrap().push(call.join(" "));
        Ok(())
    }
}

struct Host {
    folder: tempfile::TempDir,
    played: Played,
    trials: Trials<Played>,
}

fn mac(number: u8) -> MacAddr {
    MacAddr::from_xen_block([0, 0, number])
}

fn before() -> Management {
    Management {
        cards: vec![mac(0)],
        bond: None,
        vlan: Some(Vlan::try_from(7).unwrap()),
        address: "192.0.2.5/24".parse().unwrap(),
        gateway: Some("192.0.2.1".parse().unwrap()),
        dns: vec![],
    }
}

fn trial(change: &str) -> ManagementTrial {
    let wanted = Management { cards: vec![mac(1)], address: "192.0.2.6/24".parse().unwrap(), ..before() };
    ManagementTrial { change: change.to_owned(), wanted, seconds: 60 }
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let places = Places {
            configured: folder.path().join("network"),
            run: folder.path().join("run"),
            net: folder.path().join("net"),
            others: vec![folder.path().join("interfaces")],
        };
        let mut files: BTreeMap<_, _> = Units::from(&before()).files().into_iter().collect();
        files.insert("50-storage.network".to_owned(), "[Match]\nName=eth7\n".to_owned());
        fs::create_dir(&places.configured).unwrap();
        for (name, text) in files {
            fs::write(places.configured.join(name), text).unwrap();
        }
        for number in 0..2 {
            let card = places.net.join(format!("eth{number}"));
            fs::create_dir_all(card.join("device")).unwrap();
            fs::write(card.join("address"), format!("{}\n", mac(number))).unwrap();
        }
        let played = Played {
            calls: Arc::default(),
            configured: places.configured.clone(),
            hidden: folder.path().join("hidden"),
        };
        let trials = Trials::new(places, played.clone());
        Self { folder, played, trials }
    }

    fn management(&self) -> Management {
        Units::read(&texts(&self.trials.places.configured).unwrap()).unwrap()
    }

    /// What ran since this was asked last, but for looking and stopping.
    fn ran(&self) -> Vec<String> {
        let mut calls = std::mem::take(&mut *self.played.calls.lock().unwrap());
        calls.retain(|call| !call.starts_with("systemctl stop"));
        calls
    }

    /// As after a power cut: what was mounted is not any more, and what was in memory is gone.
    fn power_cut(&self) {
        if self.played.hidden.exists() {
            self.played.run(&["umount"]).unwrap();
        }
        fs::remove_dir_all(&self.trials.places.run).unwrap();
    }
}

#[test]
fn the_way_back_is_armed_before_anything_changes() {
    let host = Host::new();
    host.trials.try_out(&trial("one")).unwrap();
    let ran = host.ran();
    assert!(ran[0].contains("--unit=xenith-management-back --on-active=60s"), "{ran:?}");
    assert!(ran[0].ends_with("management back"), "{ran:?}");
    assert!(ran[1].contains("--unit=xenith-management-try") && ran[1].ends_with("management try"), "{ran:?}");
    assert_eq!(ran.len(), 2, "{ran:?}");
    assert_eq!(host.management(), before());
    assert_eq!(host.trials.keep("one").unwrap(), Keeping::NotYet, "whoever asks came the old way");
    host.trials.try_out(&trial("one")).unwrap();
    assert!(host.ran().is_empty(), "said twice, it is armed once");
    assert!(host.trials.try_out(&trial("two")).is_err());
}

#[test]
fn on_trial_the_new_files_lie_over_the_old_and_nobody_heard_is_the_way_back() {
    let host = Host::new();
    host.trials.try_out(&trial("one")).unwrap();
    host.ran();
    host.trials.apply().unwrap();
    assert_eq!(
        host.ran()[1..],
        [
            "ip link set dev eth0 nomaster",
            "ip link set dev eth1 nomaster",
            "ip link delete dev mgmt",
            "ip address flush dev xenbr0 scope global",
            "systemctl restart systemd-networkd.service",
        ]
    );
    assert_eq!(host.management(), trial("one").wanted);
    let others = texts(&host.trials.places.configured).unwrap();
    assert!(others.contains_key("50-storage.network"), "what is not ours stays");
    let state = host.trials.look().unwrap();
    assert_eq!((state.management, state.on_trial.as_deref()), (before(), Some("one")));

    host.trials.back().unwrap();
    let ran = host.ran();
    assert!(ran[0].starts_with("umount --lazy") && ran.last().unwrap().contains("restart"), "{ran:?}");
    assert_eq!(host.management(), before());
    assert_eq!(host.trials.keep("one").unwrap(), Keeping::WentBack);
    host.trials.back().unwrap();
    assert!(host.ran().is_empty(), "it has gone back already");
}

#[test]
fn a_power_cut_on_trial_is_the_old_configuration() {
    let host = Host::new();
    host.trials.try_out(&trial("one")).unwrap();
    host.trials.apply().unwrap();
    host.power_cut();
    assert_eq!(host.management(), before());
    assert_eq!(host.trials.look().unwrap().on_trial, None);
}

#[test]
fn what_is_kept_outlives_a_power_cut_and_can_still_be_taken_back() {
    let host = Host::new();
    host.trials.try_out(&trial("one")).unwrap();
    host.trials.apply().unwrap();
    assert_eq!(host.trials.keep("one").unwrap(), Keeping::Kept);
    assert_eq!(host.trials.keep("one").unwrap(), Keeping::Kept, "said twice");
    host.ran();
    // The timer had gone off while it was kept.
    host.trials.back().unwrap();
    assert!(host.ran().is_empty());
    host.power_cut();
    assert_eq!(host.management(), trial("one").wanted);
    assert_eq!(host.trials.look().unwrap().kept.as_deref(), Some("one"));

    host.trials.go_back("another").unwrap();
    assert!(host.ran().is_empty(), "that was not kept last");
    host.trials.go_back("one").unwrap();
    assert!(host.ran()[0].ends_with("management back"));
    host.trials.back().unwrap();
    assert_eq!(host.management(), before());
    assert_eq!(host.trials.look().unwrap().kept, None);
}

#[test]
fn a_crash_around_the_commit_point_is_the_old_one_or_the_new_one() {
    let host = Host::new();
    let staged = |host: &Host| {
        host.trials.try_out(&trial("one")).unwrap();
        host.trials.apply().unwrap();
        host.ran();
    };
    // Before it: unmounted, and not exchanged. The timer goes back.
    staged(&host);
    host.trials.unmount().unwrap();
    host.trials.back().unwrap();
    assert_eq!(host.management(), before());
    assert!(host.ran().last().unwrap().contains("restart"), "what runs is taken back too");
    // Behind it: exchanged, and not tidied up. The timer leaves it so, and the repeat says that it is kept.
    staged(&host);
    host.trials.prepare(&host.trials.marker().unwrap().unwrap()).unwrap();
    host.trials.unmount().unwrap();
    host.trials.exchange().unwrap();
    host.ran();
    host.trials.back().unwrap();
    assert!(host.ran().is_empty());
    assert_eq!(host.trials.keep("one").unwrap(), Keeping::Kept);
    assert_eq!(host.management(), trial("one").wanted);
}

#[test]
fn a_host_that_is_configured_otherwise_names_the_file() {
    let host = Host::new();
    let refused = || host.trials.look().unwrap_err().to_string();
    let bridge = host.trials.places.configured.join("30-xenbr0.network");
    fs::write(&bridge, "[Match]\nName=xenbr0\n\n[Network]\nDHCP=ipv4\n").unwrap();
    assert!(refused().contains("network/30-xenbr0.network"), "{}", refused());
    fs::remove_file(&bridge).unwrap();
    fs::write(host.folder.path().join("interfaces"), "auto lo\niface lo inet loopback\n").unwrap();
    assert!(refused().contains("network/30-xenbr0.network"), "{}", refused());
    fs::write(host.folder.path().join("interfaces"), "iface xenbr0 inet dhcp\n").unwrap();
    assert!(refused().contains("/interfaces on the host"), "{}", refused());
}

#[test]
fn a_card_of_a_network_is_not_taken_out_of_it() {
    let host = Host::new();
    let master = host.folder.path().join("xn-b302099a8057");
    std::os::unix::fs::symlink(&master, host.trials.places.net.join("eth1/master")).unwrap();
    let refused = host.trials.try_out(&trial("one")).unwrap_err().to_string();
    assert!(refused.contains("eth1 belongs to a network (xn-b302099a8057)"), "{refused}");
    assert!(host.ran().is_empty());
}

#[test]
fn what_is_not_ours_comes_along_as_it_is() {
    let host = Host::new();
    let configured = host.trials.places.configured.clone();
    let drop_in = "50-storage.network.d/mtu.conf";
    fs::create_dir(configured.join("50-storage.network.d")).unwrap();
    fs::write(configured.join(drop_in), "[Link]\nMTUBytes=9000\n").unwrap();
    // The key of somebody's own tunnel.
    let key = configured.join("60-tunnel.netdev");
    fs::write(&key, "[WireGuard]\nPrivateKey=secret\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("/dev/null", configured.join("70-masked.network")).unwrap();
    fs::write(configured.join(std::ffi::OsStr::from_bytes(b"80-\xff.link")), b"\xff").unwrap();
    let others = || {
        let entries = fs::read_dir(&configured).unwrap().map(|entry| entry.unwrap());
        let mut others: Vec<_> = entries
            .filter(|entry| {
                !Units::is_ours(&entry.file_name().to_string_lossy()) && entry.file_name() != KEPT
            })
            .map(|entry| (entry.file_name(), fs::symlink_metadata(entry.path()).unwrap().mode()))
            .collect();
        others.sort();
        others
    };
    let before = others();
    host.trials.try_out(&trial("one")).unwrap();
    host.trials.apply().unwrap();
    assert_eq!(others(), before, "on trial");
    assert_eq!(host.trials.keep("one").unwrap(), Keeping::Kept);
    assert_eq!(others(), before, "kept");
    assert_eq!(fs::read_to_string(configured.join(drop_in)).unwrap(), "[Link]\nMTUBytes=9000\n");
    assert_eq!(fs::read_link(configured.join("70-masked.network")).unwrap(), Path::new("/dev/null"));
}
