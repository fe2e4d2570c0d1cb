//! An encrypted private network with real packets: two namespaces that stand for hosts, and a third one between them, which
//! stands for the wire and listens. What is made there is made by the agent's own code.
//!
//! That nothing can be read is only worth something beside the same network that is not encrypted, which the listener reads.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Command as Program;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use tokio::runtime::Runtime;
use xenith_common_ids::{HostId, NetworkId};
use xenith_hypervisor_agent::journal::Journal;
use xenith_hypervisor_agent::network::{KernelDevices, Networks};
use xenith_hypervisor_agent_types::filter::PacketFilter;
use xenith_hypervisor_agent_types::mesh::{
    Encryption, Mesh, MeshGeneration, MeshPeer, RealisedMesh, mesh_address,
};
use xenith_hypervisor_agent_types::network::{
    HostNetwork, HostNetworks, Mtu, Realised, Uplink, Vni, bridge_of,
};

use crate::packets::{PATIENCE, ip, must, within};

const SECRET: &[u8] = b"nobody on the wire reads this";
const WIRE: [&str; 2] = ["10.78.0.1", "10.78.0.2"];
const GUESTS: [&str; 2] = ["10.79.0.1", "10.79.0.2"];

/// The wire and the hosts; they go with it.
struct Spaces {
    wire: String,
    hosts: [String; 2],
}

impl Spaces {
    /// `Err`: why there can be none here.
    fn new() -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("only root makes network namespaces".to_owned());
        }
        if Program::new("wg").arg("--version").output().is_err() {
            return Err("this machine has no wg; install wireguard-tools".to_owned());
        }
        if Program::new("nft").arg("--version").output().is_err() {
            return Err("this machine has no nft; install nftables".to_owned());
        }
        let name = |what: &str| format!("xenith-test-{what}-{}", std::process::id());
        let spaces = Self { wire: name("wire"), hosts: [name("left"), name("right")] };
        for space in [&spaces.wire, &spaces.hosts[0], &spaces.hosts[1]] {
            if !ip(&format!("netns add {space}")) {
                return Err("this machine makes no network namespaces".to_owned());
            }
        }
        if !ip(&format!("-n {} link add probe type wireguard", spaces.wire)) {
            return Err("this kernel has no WireGuard".to_owned());
        }
        Ok(spaces)
    }

    /// A bridge between two cables.
    fn connect(&self) {
        let wire = &self.wire;
        must(&format!("-n {wire} link add wire type bridge"));
        must(&format!("-n {wire} link set wire up"));
        for (number, host) in self.hosts.iter().enumerate() {
            must(&format!("-n {wire} link add port{number} type veth peer name eth0 netns {host}"));
            must(&format!("-n {wire} link set port{number} master wire up"));
            must(&format!("-n {host} link set lo up"));
            must(&format!("-n {host} address add {}/24 dev eth0", WIRE[number]));
            must(&format!("-n {host} link set eth0 up"));
        }
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for space in [&self.wire, &self.hosts[0], &self.hosts[1]] {
            // It may never have been made.
            let _done = ip(&format!("netns delete {space}"));
        }
    }
}

/// One host's end.
struct Host<'a> {
    space: &'a str,
    number: usize,
    networks: Arc<Networks>,
    runtime: Runtime,
    folder: tempfile::TempDir,
    network: NetworkId,
}

impl<'a> Host<'a> {
    fn new(spaces: &'a Spaces, number: usize, network: NetworkId) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let networks = Networks::open(Arc::new(KernelDevices), Journal::open(folder.path()).unwrap());
        // The programs that it starts are in the namespace of the thread that waits for it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { space: &spaces.hosts[number], number, networks, runtime, folder, network }
    }

    fn realise(&self, encryption: Encryption, mesh: Option<Mesh>) -> Realised {
        let other = 1 - self.number;
        let peer = match encryption {
            Encryption::None => WIRE[other].parse().unwrap(),
            Encryption::WireGuard => mesh_address(id(other)).into(),
        };
        let network = HostNetwork {
            network: self.network,
            name: "back".to_owned(),
            uplink: Uplink::Private { vni: Vni::try_from(5).unwrap() },
            mtu: Mtu::try_from(1350).unwrap(),
            peers: vec![peer],
            encryption,
        };
        let wanted = HostNetworks { networks: vec![network], filter: PacketFilter::default(), mesh };
        within(self.space, || self.runtime.block_on(self.networks.realise(wanted))).unwrap()
    }

    fn mesh(&self, active: u64, others: &BTreeMap<u64, RealisedMesh>, offered: &[u64]) -> Mesh {
        let other = 1 - self.number;
        let generation = |number: &u64| {
            let key = others.get(number).and_then(|mesh| mesh.keys.get(number)).cloned();
            let peer = key.map(|key| MeshPeer {
                key,
                endpoint: WIRE[other].parse().unwrap(),
                address: mesh_address(id(other)),
            });
            MeshGeneration { number: *number, peers: peer.into_iter().collect() }
        };
        Mesh {
            address: mesh_address(id(self.number)),
            active,
            generations: offered.iter().map(generation).collect(),
        }
    }

    /// Encrypted, with the keys of the other side that are known.
    fn encrypts(&self, active: u64, others: &BTreeMap<u64, RealisedMesh>, offered: &[u64]) -> RealisedMesh {
        let realised = self.realise(Encryption::WireGuard, Some(self.mesh(active, others, offered)));
        assert!(realised.is_whole(), "{realised:?}");
        realised.mesh.unwrap()
    }

    /// Stands for a guest on the bridge.
    fn guest(&self) -> UdpSocket {
        let bridge = bridge_of(self.network);
        must(&format!("-n {} address replace {}/24 dev {bridge}", self.space, GUESTS[self.number]));
        let address = (GUESTS[self.number], 7000_u16);
        let socket = within(self.space, || UdpSocket::bind(address)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        socket
    }
}

fn id(number: usize) -> HostId {
    HostId::from_bytes([u8::try_from(number).unwrap() + 1; 16])
}

/// Reads all that passes the wire.
struct Ear(std::os::fd::OwnedFd);

impl Ear {
    fn on(wire: &str) -> Self {
        let open = || {
            let flags = SockFlag::SOCK_NONBLOCK;
            socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap()
        };
        Self(within(wire, open))
    }

    /// Whether the secret was among what passed since the last time.
    fn heard_secret(&self) -> bool {
        let (mut bytes, mut heard) = ([0; 4096], false);
        while let Ok(length) = recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            heard |= bytes[..length].windows(SECRET.len()).any(|part| part == SECRET);
        }
        heard
    }
}

/// Sends it until it arrives: the bridge learns, and WireGuard shakes hands.
fn arrives(from: &UdpSocket, to: &UdpSocket) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        from.send_to(SECRET, to.local_addr().unwrap()).unwrap();
        if to.recv(&mut [0; 64]).is_ok() {
            return;
        }
        assert!(Instant::now() < deadline, "nothing arrives");
    }
}

/// Once, and it arrives.
fn passes(from: &UdpSocket, to: &UdpSocket) {
    while to.recv(&mut [0; 64]).is_ok() {}
    from.send_to(SECRET, to.local_addr().unwrap()).unwrap();
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = to.recv(&mut [0; 64]).expect("what was sent while keys were renewed is lost");
    to.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(length, SECRET.len());
}

/// By generation, what each side has said.
type Said = [BTreeMap<u64, RealisedMesh>; 2];

fn tell(hosts: &[Host<'_>; 2], said: &mut Said, number: usize, (active, offered): (u64, &[u64])) {
    let realised = hosts[number].encrypts(active, &said[1 - number], offered);
    for generation in offered {
        said[number].insert(*generation, realised.clone());
    }
}

fn keys_are_renewed(hosts: &[Host<'_>; 2], said: &mut Said, guests: &[UdpSocket; 2]) {
    let [left, right] = guests;
    // As the orchestrator tells it: the next keys beside the first, everybody's to everybody, one after the other onto
    // them, and the first ones away.
    for (active, offered) in [(1, &[1, 2][..]), (1, &[1, 2][..]), (2, &[1, 2][..]), (2, &[2][..])] {
        for number in [0, 1] {
            tell(hosts, said, number, (active, offered));
            passes(left, right);
            passes(right, left);
        }
    }
}

#[test]
fn what_guests_say_is_read_on_the_wire_only_where_it_is_not_encrypted() {
    let spaces = match Spaces::new() {
        Ok(spaces) => spaces,
        Err(why) => return eprintln!("left out: {why}"),
    };
    spaces.connect();
    let ear = Ear::on(&spaces.wire);
    let network = NetworkId::new();
    let hosts = [Host::new(&spaces, 0, network), Host::new(&spaces, 1, network)];
    for host in &hosts {
        let realised = host.realise(Encryption::None, None);
        assert!(realised.is_whole(), "{realised:?}");
    }
    let guests = [hosts[0].guest(), hosts[1].guest()];
    arrives(&guests[0], &guests[1]);
    assert!(ear.heard_secret(), "the listener hears nothing, so it says nothing");

    // Live: keys first, then everybody's.
    let mut said = Said::default();
    for number in [0, 1, 0] {
        tell(&hosts, &mut said, number, (1, &[1]));
    }
    ear.heard_secret();
    arrives(&guests[0], &guests[1]);
    arrives(&guests[1], &guests[0]);
    assert!(!ear.heard_secret(), "it is read on the wire");
    keys_are_renewed(&hosts, &mut said, &guests);
    assert!(!ear.heard_secret(), "it is read on the wire");

    // A boot: all devices are gone, nobody says anything, and the journal has what is needed.
    let again = &hosts[0];
    let bridge = bridge_of(network);
    for device in ["xw-0", bridge.as_str(), bridge.replace("xn-", "xt-").as_str()] {
        must(&format!("-n {} link delete {device}", again.space));
    }
    let journal = Journal::open(again.folder.path()).unwrap();
    let networks = Networks::open(Arc::new(KernelDevices), journal);
    within(again.space, || again.runtime.block_on(networks.repair()));
    drop(guests);
    let guests = [again.guest(), hosts[1].guest()];
    arrives(&guests[0], &guests[1]);
    assert!(!ear.heard_secret(), "it is read on the wire");
}
