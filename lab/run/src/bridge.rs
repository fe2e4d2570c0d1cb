//! Which network the VM of the commands to try is plugged into, and what it is plugged into on this machine.

use std::fs;
use std::path::Path;

use anyhow::Result;
use xenith_orchestrator_api::network;
use xenith_orchestrator_client::Client;
use xenith_orchestrator_types::network::{CreateNetwork, Network};

/// Of hosts that we make: the lab's and simulated ones.
const OURS: &str = "xenbr0";
/// The network that the commands to try name, where nothing speaks against it.
const NETWORK: &str = "default";

/// The bridges of the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridges {
    names: Vec<String>,
    /// The interface with the default route, a bridge or not.
    uplink: Option<String>,
}

/// What the commands to try say of a NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nic {
    On {
        network: String,
    },
    /// `uplink` is the network card that a bridge could be made over.
    None {
        uplink: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    Use { network: String },
    Create { network: String, bridge: String },
    NoBridge,
}

impl Bridges {
    /// Of lab and simulated hosts.
    pub fn ours() -> Self {
        Self { names: vec![OURS.to_owned()], uplink: Some(OURS.to_owned()) }
    }

    pub fn of_this_machine() -> Self {
        let routes = |file: &str| fs::read_to_string(Path::new("/proc/net").join(file)).unwrap_or_default();
        Self {
            names: bridges_under(Path::new("/sys/class/net")),
            uplink: uplink(&routes("route"), &routes("ipv6_route")),
        }
    }

    /// The one with the default route, else the first.
    fn best(&self) -> Option<&String> {
        let routed = self.uplink.as_ref().filter(|uplink| self.names.contains(uplink));
        routed.or(self.names.first())
    }

    fn plan(&self, networks: &[Network]) -> Plan {
        let here = |network: &&Network| self.names.contains(&network.bridge);
        let named = |network: &&Network| network.name == NETWORK;
        let usable = networks.iter().filter(here);
        if let Some(network) = usable.clone().find(named).or_else(|| usable.clone().next()) {
            return Plan::Use { network: network.name.clone() };
        }
        let Some(bridge) = self.best() else { return Plan::NoBridge };
        // An earlier run, or somebody, gave that name to a bridge which is not here.
        let taken = networks.iter().any(|network| network.name == NETWORK);
        let network = if taken { bridge.clone() } else { NETWORK.to_owned() };
        Plan::Create { network, bridge: bridge.clone() }
    }

    /// Finds a network that a VM can be plugged into, or makes one.
    pub async fn ensure_network(self, client: &Client) -> Result<Nic> {
        let networks = client.all::<network::List, _>("").await?;
        match self.plan(&networks) {
            Plan::Use { network } => Ok(Nic::On { network }),
            Plan::Create { network, bridge } => {
                let wanted = CreateNetwork { name: network.clone(), bridge, ..CreateNetwork::default() };
                client.call::<network::Create>(&wanted).await?;
                Ok(Nic::On { network })
            }
            Plan::NoBridge => Ok(Nic::None { uplink: self.uplink }),
        }
    }
}

impl Nic {
    /// Of `xenith vm create`, with a space before it.
    pub fn option(&self) -> String {
        match self {
            Self::On { network } => format!(" --nic {network}"),
            Self::None { .. } => String::new(),
        }
    }

    /// What to do where there is none.
    pub fn advice(&self) -> Option<String> {
        let Self::None { uplink } = self else { return None };
        let card = uplink.as_deref().unwrap_or("eth0");
        Some(format!(
            "This machine has no bridge, so that VM has no NIC. To make one on Debian, install bridge-utils and put\n\
             this into /etc/network/interfaces in place of what it says of {card}, then restart and run this again:\n\
             \x20 auto {OURS}\n\
             \x20 iface {OURS} inet dhcp\n\
             \x20   bridge_ports {card}"
        ))
    }
}

fn bridges_under(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bridges = entries.filter(|entry| entry.path().join("bridge").is_dir());
    let mut names: Vec<String> = bridges.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// From the kernel's `/proc/net/route` and `/proc/net/ipv6_route`.
fn uplink(ipv4: &str, ipv6: &str) -> Option<String> {
    let fields = |line: &'_ str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    let zero = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte == b'0');
    // Iface Destination Gateway Flags RefCnt Use Metric Mask …
    let four = ipv4.lines().map(fields).find(|route| match &route[..] {
        [_, destination, _, _, _, _, _, mask, ..] => zero(destination) && zero(mask),
        _ => false,
    });
    // destination length source length next metric … device; what nothing routes is given to lo.
    let six = || {
        ipv6.lines().map(fields).find(|route| match &route[..] {
            [destination, length, .., device] => zero(destination) && zero(length) && device != "lo",
            _ => false,
        })
    };
    four.and_then(|route| route.first().cloned()).or_else(|| six().and_then(|route| route.last().cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                          lan\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                          lan\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    const ROUTES_6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                            fe800000000000000000000000000001 00000400 00000001 00000000 00000003     wan\n\
                            00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                            00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";

    fn bridges(names: &[&str], uplink: Option<&str>) -> Bridges {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Bridges { names, uplink: uplink.map(ToOwned::to_owned) }
    }

    fn network(name: &str, bridge: &str) -> Network {
        let id = "018f2f5e-7d3a-7000-8000-000000000001";
        let network = serde_json::json!({ "id": id, "name": name, "pool": id, "bridge": bridge });
        serde_json::from_value(network).unwrap()
    }

    #[test]
    fn the_vm_to_try_gets_a_bridge_that_is_there() {
        let uses = |network: &str| Plan::Use { network: network.to_owned() };
        let creates = |network: &str, bridge: &str| Plan::Create {
            network: network.to_owned(),
            bridge: bridge.to_owned(),
        };
        let table = [
            ("a lab host", Bridges::ours(), vec![], creates("default", "xenbr0")),
            ("a later run", Bridges::ours(), vec![network("default", "xenbr0")], uses("default")),
            ("one with the route", bridges(&["br0", "lan"], Some("lan")), vec![], creates("default", "lan")),
            (
                "none with the route",
                bridges(&["br0", "lan"], Some("eth0")),
                vec![],
                creates("default", "br0"),
            ),
            ("no route at all", bridges(&["br0"], None), vec![], creates("default", "br0")),
            ("no bridge", bridges(&[], Some("eth0")), vec![], Plan::NoBridge),
            (
                "no bridge, but a network of an earlier run",
                bridges(&[], Some("eth0")),
                vec![network("default", "xenbr0")],
                Plan::NoBridge,
            ),
            (
                "the name went to a bridge that is not here",
                bridges(&["lan"], None),
                vec![network("default", "xenbr0")],
                creates("lan", "lan"),
            ),
            (
                "and the next run finds what that one made",
                bridges(&["lan"], None),
                vec![network("default", "xenbr0"), network("lan", "lan")],
                uses("lan"),
            ),
        ];
        for (case, bridges, networks, expected) in table {
            assert_eq!(bridges.plan(&networks), expected, "{case}");
        }
    }

    #[test]
    fn where_packets_leave_this_machine() {
        assert_eq!(uplink(ROUTES, ROUTES_6).as_deref(), Some("lan"));
        assert_eq!(uplink("Iface\tDestination\n", ROUTES_6).as_deref(), Some("wan"));
        assert_eq!(uplink("", ""), None);
    }

    #[test]
    fn bridges_are_those_that_the_kernel_calls_so() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["xenbr0/bridge", "br0/bridge", "eth0/device"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        assert_eq!(bridges_under(folder.path()), ["br0", "xenbr0"]);
        assert!(bridges_under(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn without_a_bridge_the_command_has_no_nic_and_the_way_to_one_is_told() {
        let with = Nic::On { network: "lan".to_owned() };
        assert_eq!((with.option().as_str(), with.advice()), (" --nic lan", None));
        let without = Nic::None { uplink: Some("enp3s0".to_owned()) };
        assert_eq!(without.option(), "");
        assert!(without.advice().unwrap().contains("bridge_ports enp3s0"));
    }
}
