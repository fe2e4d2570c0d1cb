//! From the networks that a host must have, and the devices that it has, to the changes between them. Pure.
//!
//! What always holds:
//! * only devices of ours (by their names, see [`xenith_hypervisor_agent_types::network`]) are made, changed in kind, or
//!   removed. Of the host's own, an interface that a network names is plugged in, brought up, and given a larger MTU;
//! * an interface that carries an address of the host is not plugged into anything, and its MTU stays: by it the host
//!   may be managed. A VLAN on it is another matter, and disturbs it not;
//! * an interface that is a port of somebody else's bridge or bond stays there;
//! * a bridge that guests are on is not removed;
//! * what is as it is wanted needs no change: carrying out a plan leaves nothing to plan.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use xenith_hypervisor_agent_backend::{LinkChange, LinkKind, SeenLink};
use xenith_hypervisor_agent_types::network::{
    BondMode, HostNetwork, InterfaceName, Uplink, Vlan, Vni, bond_device, bridge_of, is_guest_interface,
    is_network_device, tunnel_of, vlan_of,
};

/// Why a network cannot be on this host, in an administrator's words.
pub type Obstacle = String;

/// The changes that one network still needs. `mesh`: the host's address in it, where it is there.
pub fn network(
    wanted: &HostNetwork,
    seen: &[SeenLink],
    mesh: Option<Ipv6Addr>,
) -> Result<Vec<LinkChange>, Obstacle> {
    let mut plan = Plan { seen, mtu: wanted.mtu.get(), mesh, changes: Vec::new() };
    let port = match &wanted.uplink {
        Uplink::Internal => None,
        Uplink::Interface { interface, vlan: None } => {
            Some(plan.card(interface, &bridge_of(wanted.network))?)
        }
        Uplink::Interface { interface, vlan: Some(vlan) } => {
            plan.carrier(interface)?;
            Some(plan.vlan(vlan_of(wanted.network), interface.as_str(), *vlan))
        }
        Uplink::Bond { bond, mode, interfaces, vlan } => {
            let device = plan.bond(bond, *mode, interfaces)?;
            Some(match vlan {
                Some(vlan) => plan.vlan(vlan_of(wanted.network), &device, *vlan),
                None => device,
            })
        }
        Uplink::Private { vni } => Some(plan.tunnel(wanted, *vni)),
    };
    plan.bridge(wanted, port.as_deref())?;
    Ok(plan.changes)
}

/// What a network that cannot be encrypted must not have: a tunnel that encrypts nothing.
pub fn unencrypted(wanted: &HostNetwork, seen: &[SeenLink]) -> Option<LinkChange> {
    let name = tunnel_of(wanted.network);
    let is_open = |link: &SeenLink| matches!(link.kind, LinkKind::Tunnel { local: None, .. });
    seen.iter().find(|link| link.name == name && is_open(link)).map(|_| LinkChange::Delete { name })
}

/// Takes away what is ours and not wanted. Also says which bridges stay because guests are on them.
pub fn removal(wanted: &[HostNetwork], seen: &[SeenLink]) -> (Vec<LinkChange>, Vec<String>) {
    let mut keep = BTreeSet::new();
    for network in wanted {
        keep.extend([bridge_of(network.network), vlan_of(network.network), tunnel_of(network.network)]);
        if let Uplink::Bond { bond, .. } = &network.uplink {
            keep.insert(bond_device(bond));
        }
    }
    let (mut changes, mut stay) = (Vec::new(), Vec::new());
    let ours = seen.iter().filter(|link| is_network_device(&link.name) && !keep.contains(&link.name));
    // Bridges first, what is in them next, and bonds, which VLANs are on, last.
    let rank = |link: &&SeenLink| match link.kind {
        LinkKind::Bridge => 0,
        LinkKind::Bond { .. } => 2,
        _ => 1,
    };
    let mut ours: Vec<&SeenLink> = ours.collect();
    ours.sort_by_key(rank);
    for link in ours {
        let guests = ports_of(&link.name, seen).any(|port| is_guest_interface(&port.name));
        if link.kind == LinkKind::Bridge && guests {
            stay.push(link.name.clone());
        } else {
            changes.push(LinkChange::Delete { name: link.name.clone() });
        }
    }
    (changes, stay)
}

fn ports_of<'a>(name: &'a str, seen: &'a [SeenLink]) -> impl Iterator<Item = &'a SeenLink> {
    seen.iter().filter(move |link| link.port_of.as_deref() == Some(name))
}

struct Plan<'a> {
    seen: &'a [SeenLink],
    mtu: u32,
    /// This host's address in the mesh.
    mesh: Option<Ipv6Addr>,
    changes: Vec<LinkChange>,
}

impl<'a> Plan<'a> {
    fn find(&self, name: &str) -> Option<&'a SeenLink> {
        self.seen.iter().find(|link| link.name == name)
    }

    /// An interface of the host that a network names.
    fn host_interface(&self, name: &InterfaceName) -> Result<&'a SeenLink, Obstacle> {
        let link = self.find(name.as_str()).ok_or_else(|| format!("this host has no interface {name}"))?;
        match link.kind {
            LinkKind::Bridge => Err(format!(
                "{name} is a bridge; declare the network with that bridge, or name the interface that is in it"
            )),
            _ => Ok(link),
        }
    }

    /// An interface that is to be a port of `into` and of nothing else.
    fn card(&mut self, name: &InterfaceName, into: &str) -> Result<String, Obstacle> {
        let link = self.host_interface(name)?;
        if let Some(address) = link.addresses.first() {
            return Err(format!(
                "{name} carries the address {address}, by which this host may be managed, and is left alone; name \
                 another interface, a VLAN on this one, or the bridge that the host has it in"
            ));
        }
        if let Some(other) = link.port_of.as_deref().filter(|other| *other != into) {
            return Err(format!(
                "{name} is a port of {other}, and stays there; take it out, or declare the network with that bridge"
            ));
        }
        self.at_least_mtu(link)?;
        Ok(name.to_string())
    }

    /// An interface that VLANs are on.
    fn carrier(&mut self, name: &InterfaceName) -> Result<(), Obstacle> {
        let link = self.host_interface(name)?;
        let bond = link.port_of.as_deref().and_then(|of| self.find(of));
        if let Some(SeenLink { name: bond, kind: LinkKind::Bond { .. }, .. }) = bond {
            return Err(format!("{name} is in the bond {bond}; a VLAN goes on the bond"));
        }
        self.at_least_mtu(link)?;
        self.up(Some(link), name.as_str());
        Ok(())
    }

    /// The MTU of what a network is on: others may be on it too, so it only grows.
    fn at_least_mtu(&mut self, link: &SeenLink) -> Result<(), Obstacle> {
        if link.mtu >= self.mtu {
            return Ok(());
        }
        let name = link.name.clone();
        if link.addresses.is_empty() {
            self.changes.push(LinkChange::SetMtu { name, mtu: self.mtu });
            return Ok(());
        }
        Err(format!(
            "{name} has an MTU of {}, the network wants {}, and {name} carries an address of this host; raise it there \
             yourself, or give the network a smaller one",
            link.mtu, self.mtu
        ))
    }

    fn bond(
        &mut self,
        bond: &InterfaceName,
        mode: BondMode,
        interfaces: &[InterfaceName],
    ) -> Result<String, Obstacle> {
        let device = bond_device(bond);
        let mut ports = Vec::new();
        for interface in interfaces {
            ports.push(self.card(interface, &device)?);
        }
        let mut there = self.find(&device);
        if let Some(SeenLink { kind: LinkKind::Bond { mode: is }, .. }) = there
            && is != mode.linux_name()
        {
            self.changes.push(LinkChange::Delete { name: device.clone() });
            there = None;
        }
        match there {
            Some(SeenLink { kind: LinkKind::Bond { .. }, .. }) => {}
            Some(_) => {
                return Err(format!("{device} is there and is no bond; remove it (ip link delete {device})"));
            }
            None => self.changes.push(LinkChange::AddBond { name: device.clone(), mode }),
        }
        for port in ports_of(&device, self.seen).filter(|port| !ports.contains(&port.name)) {
            self.changes.push(LinkChange::Unplug { port: port.name.clone() });
        }
        for port in ports {
            let in_it = there.is_some()
                && self.find(&port).is_some_and(|link| link.port_of.as_ref() == Some(&device));
            if !in_it {
                // Linux takes no interface into a bond that is up.
                self.changes.push(LinkChange::Down { name: port.clone() });
                self.changes.push(LinkChange::Plug { port, into: device.clone() });
            }
        }
        match there {
            Some(link) => self.at_least_mtu(link)?,
            None => self.changes.push(LinkChange::SetMtu { name: device.clone(), mtu: self.mtu }),
        }
        self.up(there, &device);
        Ok(device)
    }

    fn vlan(&mut self, name: String, on: &str, vlan: Vlan) -> String {
        let right = LinkKind::Vlan { on: on.to_owned(), vlan: vlan.get() };
        let there = self.replaced(&name, |kind| *kind == right);
        if there.is_none() {
            self.changes.push(LinkChange::AddVlan { name: name.clone(), on: on.to_owned(), vlan });
        }
        self.port(there, name)
    }

    fn tunnel(&mut self, wanted: &HostNetwork, vni: Vni) -> String {
        let name = tunnel_of(wanted.network);
        let local = if wanted.encryption.is_none() { None } else { self.mesh };
        let from = local.map(IpAddr::V6);
        let right = |kind: &LinkKind| match kind {
            LinkKind::Tunnel { vni: is, local, .. } => *is == vni.get() && *local == from,
            _ => false,
        };
        let there = self.replaced(&name, right);
        if there.is_none() {
            self.changes.push(LinkChange::AddTunnel { name: name.clone(), vni, local });
        }
        let none = BTreeSet::new();
        let has = match there {
            Some(SeenLink { kind: LinkKind::Tunnel { peers, .. }, .. }) => peers,
            _ => &none,
        };
        let wants: BTreeSet<_> = wanted.peers.iter().copied().collect();
        for peer in has.difference(&wants).copied() {
            self.changes.push(LinkChange::RemovePeer { tunnel: name.clone(), peer });
        }
        for peer in wants.difference(has).copied() {
            self.changes.push(LinkChange::AddPeer { tunnel: name.clone(), peer });
        }
        self.port(there, name)
    }

    /// A device of ours that may stay; one that is another than it should be goes.
    fn replaced(&mut self, name: &str, right: impl Fn(&LinkKind) -> bool) -> Option<&'a SeenLink> {
        let there = self.find(name)?;
        if right(&there.kind) {
            return Some(there);
        }
        self.changes.push(LinkChange::Delete { name: name.to_owned() });
        None
    }

    /// A device of ours that only this network has: its MTU is the network's.
    fn port(&mut self, there: Option<&SeenLink>, name: String) -> String {
        if there.is_none_or(|link| link.mtu != self.mtu) {
            self.changes.push(LinkChange::SetMtu { name: name.clone(), mtu: self.mtu });
        }
        name
    }

    fn bridge(&mut self, wanted: &HostNetwork, port: Option<&str>) -> Result<(), Obstacle> {
        let name = bridge_of(wanted.network);
        let there = self.find(&name);
        match there {
            Some(SeenLink { kind: LinkKind::Bridge, .. }) => {}
            Some(_) => {
                return Err(format!("{name} is there and is no bridge; remove it (ip link delete {name})"));
            }
            None => self.changes.push(LinkChange::AddBridge { name: name.clone() }),
        }
        if there.is_none_or(|link| link.gives_itself_one) {
            self.changes.push(LinkChange::KeepWithoutAddress { name: name.clone() });
        }
        if there.is_none_or(|link| link.alias != wanted.name) {
            self.changes.push(LinkChange::SetAlias { name: name.clone(), alias: wanted.name.clone() });
        }
        for other in ports_of(&name, self.seen) {
            if Some(other.name.as_str()) != port && !is_guest_interface(&other.name) {
                self.changes.push(LinkChange::Unplug { port: other.name.clone() });
            }
        }
        if let Some(port) = port {
            let link = self.find(port);
            // A device that is made anew is in no bridge, whatever is seen of the one before it.
            let made_anew =
                self.changes.iter().any(|change| *change == LinkChange::Delete { name: port.to_owned() });
            let link = link.filter(|_| !made_anew);
            if link.is_none_or(|link| link.port_of.as_ref() != Some(&name)) {
                self.changes.push(LinkChange::Plug { port: port.to_owned(), into: name.clone() });
            }
            self.up(link, port);
        }
        // After its ports: a bridge would take over the smallest MTU among them.
        if there.is_none_or(|link| link.mtu != self.mtu) {
            self.changes.push(LinkChange::SetMtu { name: name.clone(), mtu: self.mtu });
        }
        self.up(there, &name);
        Ok(())
    }

    fn up(&mut self, there: Option<&SeenLink>, name: &str) {
        let up = LinkChange::Up { name: name.to_owned() };
        if there.is_none_or(|link| !link.is_up) && !self.changes.contains(&up) {
            self.changes.push(up);
        }
    }
}

#[cfg(test)]
mod tests;
