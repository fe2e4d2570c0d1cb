//! The devices and the packet filter of a real host, through `ip`, `bridge` and `nft`.
//!
//! The programs get lists of arguments, never a line for a shell, and what they say is read as JSON. Each call ends
//! within [`PATIENCE`]. A change that is made already is no error where the program makes it one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::{Output, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;
use xenith_hypervisor_agent_backend::{
    FilterTable, HypervisorError, LinkChange, LinkKind, MeshDevice, NetworkDevices, Result, SeenLink,
};
use xenith_hypervisor_agent_types::mesh::WireGuardKey;
use xenith_hypervisor_agent_types::network::BondMode;

use super::{rules, tunnels};

const PATIENCE: Duration = Duration::from_secs(20);
/// Of a tunnel: what is for everybody, or for a card whose place is not known.
const EVERYBODY: &str = "00:00:00:00:00:00";

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelDevices;

#[async_trait]
impl NetworkDevices for KernelDevices {
    async fn links(&self) -> Result<Vec<SeenLink>> {
        let shown = run(&words("ip -json -details address show"), "").await?;
        let mut links = parse_links(&shown).map_err(|error| broken("ip address", error.to_string()))?;
        if links.iter().any(|link| matches!(link.kind, LinkKind::Tunnel { .. })) {
            let shown = run(&words("bridge -json fdb show"), "").await?;
            let peers = parse_peers(&shown).map_err(|error| broken("bridge fdb", error.to_string()))?;
            for link in &mut links {
                if let LinkKind::Tunnel { peers: of, .. } = &mut link.kind {
                    *of = peers.get(&link.name).cloned().unwrap_or_default();
                }
            }
        }
        Ok(links)
    }

    async fn change(&self, change: &LinkChange) -> Result<()> {
        run(&arguments(change), "").await.map(drop)
    }

    async fn load_filter(&self, commands: &str) -> Result<()> {
        run(&words("nft -f -"), commands).await.map(drop)
    }

    async fn has_filter(&self, table: FilterTable) -> Result<bool> {
        let (family, name) = match table {
            FilterTable::Vms => ("bridge", rules::TABLE),
            FilterTable::Tunnels => ("ip6", tunnels::TABLE),
        };
        let shown = run(&words(&format!("nft list tables {family}")), "").await?;
        Ok(shown.lines().any(|line| line.trim() == format!("table {family} {name}")))
    }

    async fn mesh_key(&self) -> Result<String> {
        run(&words("wg genkey"), "").await.map(|private| private.trim().to_owned())
    }

    async fn mesh_public_key(&self, private: &str) -> Result<WireGuardKey> {
        let public = run(&words("wg pubkey"), private).await?;
        public.trim().parse().map_err(|_| broken("wg pubkey", "it printed no key".to_owned()))
    }

    async fn make_mesh(&self, device: &MeshDevice) -> Result<()> {
        let MeshDevice { name, address, mtu, .. } = device;
        if run(&words(&format!("ip -json link show dev {name}")), "").await.is_err() {
            run(&words(&format!("ip link add name {name} type wireguard")), "")
                .await
                .map_err(without_module)?;
        }
        run(&words(&format!("wg syncconf {name} /dev/stdin")), &mesh_configuration(device))
            .await
            .map_err(|error| without_key(error, &device.private_key))?;
        run(&words(&format!("ip -6 address replace {address}/128 dev {name} nodad")), "").await?;
        run(&words(&format!("ip link set dev {name} mtu {mtu} up")), "").await?;
        for peer in &device.routes {
            run(&words(&format!("ip -6 route replace {peer}/128 dev {name}")), "").await?;
        }
        Ok(())
    }

    async fn remove_mesh(&self, name: &str) -> Result<()> {
        run(&words(&format!("ip link delete dev {name}")), "").await.map(drop)
    }
}

/// What `wg` reads from its input: no argument has a key in it, which everybody on the host could see.
fn mesh_configuration(device: &MeshDevice) -> String {
    let mut text =
        format!("[Interface]\nPrivateKey = {}\nListenPort = {}\n", device.private_key, device.port);
    for peer in &device.peers {
        let endpoint = SocketAddr::new(peer.endpoint, device.port);
        let lines = [
            "[Peer]".to_owned(),
            format!("PublicKey = {}", peer.key),
            format!("Endpoint = {endpoint}"),
            format!("AllowedIPs = {}/128", peer.address),
        ];
        text.push_str(&lines.join("\n"));
        text.push('\n');
    }
    text
}

/// `wg` shows a line that it cannot read.
fn without_key(error: HypervisorError, key: &str) -> HypervisorError {
    match error {
        HypervisorError::Device { device, detail } => {
            HypervisorError::Device { device, detail: detail.replace(key, "(the private key)") }
        }
        other => other,
    }
}

fn without_module(error: HypervisorError) -> HypervisorError {
    match error {
        HypervisorError::Device { detail, .. }
            if ["Unknown device type", "not supported"].iter().any(|said| detail.contains(said)) =>
        {
            let why = "its kernel has no WireGuard; load the module (modprobe wireguard), or take the encryption off \
                       the network"
                .to_owned();
            HypervisorError::Unsupported { operation: "an encrypted network", why }
        }
        other => other,
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn broken(program: &str, detail: String) -> HypervisorError {
    HypervisorError::Device { device: program.to_owned(), detail }
}

/// The program and its arguments. No name of a device has a space in it.
pub(super) fn arguments(change: &LinkChange) -> Vec<String> {
    words(&match change {
        LinkChange::AddBridge { name } => {
            format!("ip link add name {name} type bridge forward_delay 0 stp_state 0")
        }
        LinkChange::AddVlan { name, on, vlan } => {
            format!("ip link add link {on} name {name} type vlan id {vlan}")
        }
        LinkChange::AddBond { name, mode } => {
            let more = if *mode == BondMode::Lacp { " xmit_hash_policy layer3+4" } else { "" };
            format!("ip link add name {name} type bond mode {} miimon 100{more}", mode.linux_name())
        }
        LinkChange::AddTunnel { name, vni, local } => {
            let from = local.map(|local| format!(" local {local}")).unwrap_or_default();
            format!("ip link add name {name} type vxlan id {vni} dstport 4789{from}")
        }
        // What people call a network may have spaces: one argument.
        LinkChange::SetAlias { name, alias } => {
            return [words(&format!("ip link set dev {name} alias")), vec![alias.clone()]].concat();
        }
        LinkChange::SetMtu { name, mtu } => format!("ip link set dev {name} mtu {mtu}"),
        LinkChange::KeepWithoutAddress { name } => format!("ip link set dev {name} addrgenmode none"),
        LinkChange::Plug { port, into } => format!("ip link set dev {port} master {into}"),
        LinkChange::Unplug { port } => format!("ip link set dev {port} nomaster"),
        LinkChange::Up { name } => format!("ip link set dev {name} up"),
        LinkChange::Down { name } => format!("ip link set dev {name} down"),
        LinkChange::AddPeer { tunnel, peer } => {
            format!("bridge fdb append {EVERYBODY} dev {tunnel} dst {peer}")
        }
        LinkChange::RemovePeer { tunnel, peer } => {
            format!("bridge fdb delete {EVERYBODY} dev {tunnel} dst {peer}")
        }
        LinkChange::Delete { name } => format!("ip link delete dev {name}"),
    })
}

async fn run(call: &[String], input: &str) -> Result<String> {
    let (program, arguments) = call.split_first().expect("a call names its program");
    let shown = call.join(" ");
    let output = match timeout(PATIENCE, output(program, arguments, input)).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            let package = match program.as_str() {
                "nft" => "nftables",
                "wg" => "wireguard-tools",
                _ => "iproute2",
            };
            let why = format!("this host has no {program}; install {package}");
            return Err(HypervisorError::Unsupported { operation: "a network", why });
        }
        Ok(Err(error)) => return Err(broken(&shown, error.to_string())),
        Err(_) => {
            let operation = "a change of the host's network";
            return Err(HypervisorError::TimedOut { operation, after: Some(PATIENCE), log: shown });
        }
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(broken(&shown, said.trim().chars().take(2000).collect()))
}

async fn output(program: &str, arguments: &[String], input: &str) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it all has said why on its other pipe.
        let _told = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}

#[derive(Deserialize)]
struct Shown {
    ifname: String,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    mtu: u32,
    master: Option<String>,
    /// What a VLAN is on.
    link: Option<String>,
    #[serde(default)]
    ifalias: String,
    linkinfo: Option<LinkInfo>,
    inet6_addr_gen_mode: Option<String>,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct LinkInfo {
    info_kind: Option<String>,
    info_data: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Address {
    local: Option<IpAddr>,
    #[serde(default)]
    scope: String,
}

fn parse_links(json: &str) -> serde_json::Result<Vec<SeenLink>> {
    let shown: Vec<Shown> = serde_json::from_str(json)?;
    Ok(shown.into_iter().map(SeenLink::from).collect())
}

impl From<Shown> for SeenLink {
    fn from(shown: Shown) -> Self {
        let kind = kind(&shown);
        let addresses = shown.addr_info.into_iter().filter(|address| address.scope == "global");
        Self {
            kind,
            port_of: shown.master,
            is_up: shown.flags.iter().any(|flag| flag == "UP"),
            mtu: shown.mtu,
            alias: shown.ifalias,
            addresses: addresses.filter_map(|address| address.local).collect(),
            gives_itself_one: shown.inet6_addr_gen_mode.is_some_and(|mode| mode != "none"),
            name: shown.ifname,
        }
    }
}

fn kind(shown: &Shown) -> LinkKind {
    let Some(info) = &shown.linkinfo else { return LinkKind::Other };
    let number = |field: &str| {
        let value = info.info_data.as_ref().and_then(|data| data.get(field)?.as_u64());
        value.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    };
    match info.info_kind.as_deref() {
        Some("bridge") => LinkKind::Bridge,
        Some("vlan") => LinkKind::Vlan { on: shown.link.clone().unwrap_or_default(), vlan: number("id") },
        Some("bond") => {
            let mode = info.info_data.as_ref().and_then(|data| data.get("mode")?.as_str());
            LinkKind::Bond { mode: mode.unwrap_or_default().to_owned() }
        }
        Some("vxlan") => {
            let data = info.info_data.as_ref();
            let text = |field: &str| data.and_then(|data| data.get(field)?.as_str()?.parse().ok());
            let local = text("local6").or_else(|| text("local"));
            LinkKind::Tunnel { vni: number("id"), local, peers: BTreeSet::new() }
        }
        _ => LinkKind::Other,
    }
}

#[derive(Deserialize)]
struct Forwarding {
    mac: String,
    ifname: Option<String>,
    dst: Option<IpAddr>,
}

/// Of each tunnel.
fn parse_peers(json: &str) -> serde_json::Result<BTreeMap<String, BTreeSet<IpAddr>>> {
    let entries: Vec<Forwarding> = serde_json::from_str(json)?;
    let mut peers: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for entry in entries {
        if let (EVERYBODY, Some(tunnel), Some(peer)) = (entry.mac.as_str(), entry.ifname, entry.dst) {
            peers.entry(tunnel).or_default().insert(peer);
        }
    }
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::mesh::{MeshPeer, mesh_port};

    use super::*;

    #[test]
    fn what_ip_shows() {
        let json = r#"[
            {"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536,"addr_info":[
                {"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},
            {"ifindex":2,"ifname":"eth0","flags":["BROADCAST"],"mtu":1400,"inet6_addr_gen_mode":"eui64",
             "addr_info":[{"family":"inet","local":"192.0.2.2","prefixlen":24,"scope":"global"},
                {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"},{}]},
            {"ifname":"xn-1","ifalias":"lan","linkinfo":{"info_kind":"bridge","info_data":{"stp_state":0}},
             "flags":["UP"],"mtu":9000,"inet6_addr_gen_mode":"none","addr_info":[]},
            {"ifname":"xv-1","link":"eth0","master":"xn-1","linkinfo":{"info_kind":"vlan",
             "info_data":{"protocol":"802.1Q","id":7,"flags":["REORDER_HDR"]},"info_slave_kind":"bridge"}},
            {"ifname":"b0","linkinfo":{"info_kind":"bond","info_data":{"mode":"802.3ad","miimon":100}}},
            {"ifname":"xt-1","linkinfo":{"info_kind":"vxlan","info_data":{"id":42,"port":4789}}},
            {"ifname":"xt-2","linkinfo":{"info_kind":"vxlan","info_data":{"id":43,"local6":"fd00::1","port":4789}}},
            {"ifname":"vif3.0","linkinfo":{"info_slave_kind":"bridge"}},
            {"ifname":"odd","linkinfo":{"info_kind":"vlan"}}
        ]"#;
        let links = parse_links(json).unwrap();
        let of = |name: &str| links.iter().find(|link| link.name == name).unwrap();
        for (name, kind) in [
            ("lo", LinkKind::Other),
            ("eth0", LinkKind::Other),
            ("xn-1", LinkKind::Bridge),
            ("xv-1", LinkKind::Vlan { on: "eth0".into(), vlan: 7 }),
            ("b0", LinkKind::Bond { mode: "802.3ad".into() }),
            ("xt-1", LinkKind::Tunnel { vni: 42, local: None, peers: BTreeSet::new() }),
            ("xt-2", LinkKind::Tunnel { vni: 43, local: "fd00::1".parse().ok(), peers: BTreeSet::new() }),
            ("vif3.0", LinkKind::Other),
            ("odd", LinkKind::Vlan { on: String::new(), vlan: 0 }),
        ] {
            assert_eq!(of(name).kind, kind, "{name}");
        }
        assert_eq!(of("eth0").addresses, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
        assert!(of("lo").addresses.is_empty() && of("lo").is_up && !of("eth0").is_up);
        assert!(of("eth0").gives_itself_one && !of("xn-1").gives_itself_one);
        assert_eq!((of("xn-1").alias.as_str(), of("xn-1").mtu), ("lan", 9000));
        assert_eq!(of("xv-1").port_of.as_deref(), Some("xn-1"));
        assert!(parse_links("{}").is_err());
    }

    #[test]
    fn what_wg_is_told() {
        let device = MeshDevice {
            name: "xw-0".into(),
            port: mesh_port(4),
            private_key: "secret".into(),
            address: "fd00::1".parse().unwrap(),
            mtu: 1420,
            peers: vec![MeshPeer {
                key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().unwrap(),
                endpoint: "2001:db8::2".parse().unwrap(),
                address: "fd00::2".parse().unwrap(),
            }],
            routes: vec![],
        };
        assert_eq!(
            mesh_configuration(&device),
            "[Interface]\nPrivateKey = secret\nListenPort = 51820\n[Peer]\n\
             PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n\
             Endpoint = [2001:db8::2]:51820\nAllowedIPs = fd00::2/128\n"
        );
        assert!(!format!("{device:?}").contains("secret"));
    }

    #[test]
    fn what_bridge_shows() {
        let json = r#"[
            {"mac":"00:00:00:00:00:00","ifname":"xt-1","dst":"10.0.0.2","flags":["self"],"state":"permanent"},
            {"mac":"00:00:00:00:00:00","ifname":"xt-1","dst":"fd00::3","flags":["self"],"state":"permanent"},
            {"mac":"00:16:3e:00:00:01","ifname":"xt-1","dst":"10.0.0.9","flags":["self"],"state":""},
            {"mac":"33:33:00:00:00:01","ifname":"eth0","flags":["self"],"state":"permanent"}
        ]"#;
        let expected = BTreeSet::from(["10.0.0.2".parse().unwrap(), "fd00::3".parse().unwrap()]);
        assert_eq!(parse_peers(json).unwrap(), BTreeMap::from([("xt-1".to_owned(), expected)]));
    }
}
