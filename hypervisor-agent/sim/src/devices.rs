//! Network devices of a simulated host: made, plugged and removed in memory, by the same rules as the kernel's as far as
//! the agent can run into them. Cards are those that bridges have as uplinks and those of
//! [`HostModel::interfaces`](crate::HostModel); a reboot takes away what was made.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use xenith_hypervisor_agent_backend::{
    FilterTable, HypervisorError, LinkChange, LinkKind, MeshDevice, NetworkDevices, Result, SeenLink,
};
use xenith_hypervisor_agent_types::mesh::WireGuardKey;
use xenith_hypervisor_agent_types::{Bridge, ProofBridge};

use crate::SimHypervisor;
use crate::world::World;

/// What a simulated kernel knows of its network.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub links: Vec<SeenLink>,
    /// The commands that were loaded, in their order; `None`: there is no table.
    pub filter: Option<Vec<String>>,
    /// How often something was loaded for it.
    pub filter_loads: u64,
    /// The table of tunnels; `None`: there is none.
    pub tunnel_filter: Option<String>,
    /// Changes made.
    pub changes: u64,
    /// Why it filters nothing.
    pub no_filter: Option<&'static str>,
    /// By name.
    pub mesh: BTreeMap<String, MeshDevice>,
    /// Private keys that were made.
    pub mesh_keys: u64,
    /// Why it encrypts nothing.
    pub no_mesh: Option<&'static str>,
}

fn link(name: &str, kind: LinkKind) -> SeenLink {
    SeenLink {
        name: name.to_owned(),
        kind,
        port_of: None,
        is_up: false,
        mtu: 1500,
        alias: String::new(),
        addresses: Vec::new(),
        gives_itself_one: true,
    }
}

fn broken(device: &str, detail: &str) -> HypervisorError {
    HypervisorError::Device { device: device.to_owned(), detail: detail.to_owned() }
}

impl Net {
    /// After a boot.
    pub fn new(bridges: &[Bridge], interfaces: &[String]) -> Self {
        let mut links = Vec::new();
        for bridge in bridges.iter().filter(|bridge| !ProofBridge::is_one(&bridge.name)) {
            links.push(SeenLink { is_up: true, mtu: bridge.mtu, ..link(&bridge.name, LinkKind::Bridge) });
            links.extend(bridge.uplinks.iter().map(|uplink| SeenLink {
                port_of: Some(bridge.name.clone()),
                is_up: true,
                mtu: bridge.mtu,
                ..link(uplink, LinkKind::Other)
            }));
        }
        links.extend(interfaces.iter().map(|name| link(name, LinkKind::Other)));
        Self { links, ..Self::default() }
    }

    fn can_filter(&self) -> Result<()> {
        let Some(why) = self.no_filter else { return Ok(()) };
        Err(HypervisorError::Unsupported { operation: "a network", why: why.to_owned() })
    }

    fn can_encrypt(&self) -> Result<()> {
        let Some(why) = self.no_mesh else { return Ok(()) };
        Err(HypervisorError::Unsupported { operation: "an encrypted network", why: why.to_owned() })
    }

    fn get(&mut self, name: &str) -> Result<&mut SeenLink> {
        let found = self.links.iter_mut().find(|link| link.name == name);
        found.ok_or_else(|| broken(name, "Cannot find device"))
    }

    fn add(&mut self, name: &str, kind: LinkKind) -> Result<()> {
        if self.get(name).is_ok() {
            return Err(broken(name, "RTNETLINK answers: File exists"));
        }
        self.links.push(link(name, kind));
        Ok(())
    }

    fn peers(&mut self, tunnel: &str) -> Result<&mut BTreeSet<std::net::IpAddr>> {
        match &mut self.get(tunnel)?.kind {
            LinkKind::Tunnel { peers, .. } => Ok(peers),
            _ => Err(broken(tunnel, "Operation not supported")),
        }
    }

    fn change(&mut self, change: &LinkChange) -> Result<()> {
        self.changes += 1;
        match change {
            LinkChange::AddBridge { name } => self.add(name, LinkKind::Bridge)?,
            LinkChange::AddVlan { name, on, vlan } => {
                self.get(on)?;
                self.add(name, LinkKind::Vlan { on: on.clone(), vlan: vlan.get() })?;
            }
            LinkChange::AddBond { name, mode } => {
                self.add(name, LinkKind::Bond { mode: mode.linux_name().to_owned() })?;
            }
            LinkChange::AddTunnel { name, vni, local } => {
                let local = local.map(Into::into);
                self.add(name, LinkKind::Tunnel { vni: vni.get(), local, peers: BTreeSet::new() })?;
            }
            LinkChange::SetAlias { name, alias } => self.get(name)?.alias.clone_from(alias),
            LinkChange::SetMtu { name, mtu } => self.get(name)?.mtu = *mtu,
            LinkChange::KeepWithoutAddress { name } => self.get(name)?.gives_itself_one = false,
            LinkChange::Plug { port, into } => {
                let bond = matches!(self.get(into)?.kind, LinkKind::Bond { .. });
                let port = self.get(port)?;
                if bond && port.is_up {
                    return Err(broken(&port.name, "the bond takes no interface that is up"));
                }
                port.port_of = Some(into.clone());
                port.is_up |= bond;
            }
            LinkChange::Unplug { port } => self.get(port)?.port_of = None,
            LinkChange::Up { name } => self.get(name)?.is_up = true,
            LinkChange::Down { name } => self.get(name)?.is_up = false,
            LinkChange::AddPeer { tunnel, peer } => {
                self.peers(tunnel)?.insert(*peer);
            }
            LinkChange::RemovePeer { tunnel, peer } => {
                self.peers(tunnel)?.remove(peer);
            }
            LinkChange::Delete { name } => self.delete(name)?,
        }
        Ok(())
    }

    /// VLANs on it go with it; its ports are free.
    fn delete(&mut self, name: &str) -> Result<()> {
        self.get(name)?;
        self.links.retain(|link| {
            link.name != name && !matches!(&link.kind, LinkKind::Vlan { on, .. } if on == name)
        });
        for link in self.links.iter_mut().filter(|link| link.port_of.as_deref() == Some(name)) {
            link.port_of = None;
        }
        Ok(())
    }
}

impl World {
    /// Guests plug into what is there.
    fn show_bridges(&mut self) {
        let made = self.net.links.iter().filter(|link| link.kind == LinkKind::Bridge);
        let bridge = |made: &SeenLink| Bridge {
            name: made.name.clone(),
            uplinks: {
                let ports = self.net.links.iter().filter(|port| port.port_of.as_ref() == Some(&made.name));
                ports.map(|port| port.name.clone()).collect()
            },
            mtu: made.mtu,
        };
        let made: Vec<Bridge> = made.map(bridge).collect();
        // Those of proofs, and those that a test has added, are none of the kernel's here.
        let known = |name: &str| self.net_bridges.contains(name);
        let mut bridges: Vec<Bridge> =
            self.bridges.iter().filter(|bridge| !known(&bridge.name)).cloned().collect();
        self.net_bridges = made.iter().map(|bridge| bridge.name.clone()).collect();
        bridges.retain(|bridge| !self.net_bridges.contains(&bridge.name));
        bridges.extend(made);
        bridges.sort();
        self.bridges = bridges;
    }

    pub(crate) fn forget_devices(&mut self) {
        let before = self.config.host.bridges();
        // What is not installed is not there after a boot either.
        let (no_filter, no_mesh, mesh_keys) = (self.net.no_filter, self.net.no_mesh, self.net.mesh_keys);
        self.net = Net { no_filter, no_mesh, mesh_keys, ..Net::new(&before, &self.config.host.interfaces) };
        self.show_bridges();
    }
}

#[async_trait]
impl NetworkDevices for SimHypervisor {
    async fn links(&self) -> Result<Vec<SeenLink>> {
        Ok(self.inner.with(|world, _| world.net.links.clone()))
    }

    async fn change(&self, change: &LinkChange) -> Result<()> {
        self.inner.with(|world, _| {
            let changed = world.net.change(change);
            world.show_bridges();
            changed
        })
    }

    async fn load_filter(&self, commands: &str) -> Result<()> {
        self.inner.with(|world, _| {
            world.net.can_filter()?;
            if commands.starts_with("table ip6") {
                world.net.tunnel_filter = commands.contains('{').then(|| commands.to_owned());
                return Ok(());
            }
            let makes = commands.lines().any(|line| line.starts_with("table bridge") && line.ends_with('{'));
            let removes = commands.lines().any(|line| line.starts_with("delete table"));
            let loaded = world.net.filter.take().filter(|_| !removes);
            if loaded.is_none() && !makes && !removes {
                return Err(broken("nft", "No such file or directory"));
            }
            if makes || loaded.is_some() {
                let mut loaded = loaded.unwrap_or_default();
                loaded.push(commands.to_owned());
                world.net.filter = Some(loaded);
            }
            world.net.filter_loads += 1;
            Ok(())
        })
    }

    async fn has_filter(&self, table: FilterTable) -> Result<bool> {
        self.inner.with(|world, _| {
            world.net.can_filter()?;
            Ok(match table {
                FilterTable::Vms => world.net.filter.is_some(),
                FilterTable::Tunnels => world.net.tunnel_filter.is_some(),
            })
        })
    }

    async fn mesh_key(&self) -> Result<String> {
        self.inner.with(|world, _| {
            world.net.can_encrypt()?;
            world.net.mesh_keys += 1;
            // Another on each host.
            let host = world
                .hostname
                .bytes()
                .fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
            let name = format!("{host:x}k{}", world.net.mesh_keys);
            Ok(format!("{name:0>43}="))
        })
    }

    async fn mesh_public_key(&self, private: &str) -> Result<WireGuardKey> {
        private
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| broken("wg", "Key is not the correct length or format"))
    }

    async fn make_mesh(&self, device: &MeshDevice) -> Result<()> {
        self.inner.with(|world, _| {
            world.net.can_encrypt()?;
            world.net.changes += 1;
            if world.net.get(&device.name).is_err() {
                world.net.add(&device.name, LinkKind::Other)?;
            }
            world.net.mesh.insert(device.name.clone(), device.clone());
            Ok(())
        })
    }

    async fn remove_mesh(&self, name: &str) -> Result<()> {
        self.inner.with(|world, _| {
            world.net.mesh.remove(name);
            world.net.delete(name)
        })
    }
}

impl SimHypervisor {
    /// Changes of devices that were made, since the host was built or has booted.
    #[must_use]
    pub fn device_changes(&self) -> u64 {
        self.inner.with(|world, _| world.net.changes)
    }

    /// What was loaded for nftables since the table was made last.
    #[must_use]
    pub fn loaded_filter(&self) -> Option<Vec<String>> {
        self.inner.with(|world, _| world.net.filter.clone())
    }

    /// How often something was loaded for nftables, since the host was built or has booted.
    #[must_use]
    pub fn filter_loads(&self) -> u64 {
        self.inner.with(|world, _| world.net.filter_loads)
    }

    /// Whether what was loaded for nftables last has this in it.
    #[must_use]
    pub fn newest_filter_has(&self, text: &str) -> bool {
        let has = |loaded: &Vec<String>| loaded.last().is_some_and(|commands| commands.contains(text));
        self.inner.with(|world, _| world.net.filter.as_ref().is_some_and(has))
    }

    /// What was loaded for nftables about the tunnels of encrypted networks.
    #[must_use]
    pub fn loaded_tunnel_filter(&self) -> Option<String> {
        self.inner.with(|world, _| world.net.tunnel_filter.clone())
    }

    /// The host has no packet filter from now on, or has one again (`None`).
    pub fn take_filter(&self, why: Option<&'static str>) {
        self.inner.with(|world, _| {
            world.net.no_filter = why;
            world.net.filter = None;
            world.net.tunnel_filter = None;
        });
    }

    /// The interfaces that encrypt, in the order of their names.
    #[must_use]
    pub fn mesh(&self) -> Vec<MeshDevice> {
        self.inner.with(|world, _| world.net.mesh.values().cloned().collect())
    }

    /// The host has no WireGuard from now on, or has it again (`None`).
    pub fn take_wireguard(&self, why: Option<&'static str>) {
        self.inner.with(|world, _| world.net.no_mesh = why);
    }

    /// As `nft flush ruleset` does.
    pub fn flush_filter(&self) {
        self.inner.with(|world, _| {
            world.net.filter = None;
            world.net.tunnel_filter = None;
        });
    }
}
