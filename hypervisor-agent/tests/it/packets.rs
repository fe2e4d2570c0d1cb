//! Rules against real packets: two network namespaces in place of guests, on a bridge that the agent's own code made in a
//! third one, which stands for the host. Nothing outside of these is touched.
//!
//! That something is dropped is seen without waiting: what is sent after it arrives, and nothing before it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command as Program;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Runtime;
use xenith_common_ids::{NetworkId, SecurityGroupId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent::journal::Journal;
use xenith_hypervisor_agent::network::{KernelDevices, Networks};
use xenith_hypervisor_agent_types::filter::{
    GroupRules, Members, PacketFilter, VifFilter, VifLock, VifSettings,
};
use xenith_hypervisor_agent_types::mesh::Encryption;
use xenith_hypervisor_agent_types::network::{
    HostNetwork, HostNetworks, Mtu, Realised, Uplink, bridge_of, guest_interface,
};

/// What is to arrive comes within this; only a failure waits so long.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection is tried that must not come about.
const SOON: Duration = Duration::from_millis(300);

const MACS: [&str; 2] = ["00:16:3e:77:00:01", "00:16:3e:77:00:02"];
const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

pub fn ip(line: &str) -> bool {
    Program::new("ip").args(line.split_whitespace()).output().is_ok_and(|output| output.status.success())
}

pub fn must(line: &str) {
    assert!(ip(line), "ip {line}");
}

/// The host's namespace, and those of the guests; they go with it.
struct Spaces {
    host: String,
    guests: [String; 2],
}

impl Spaces {
    /// `Err`: why there can be none here.
    fn new() -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("only root makes network namespaces".to_owned());
        }
        if Program::new("nft").arg("--version").output().is_err() {
            return Err("this machine has no nft; install nftables".to_owned());
        }
        let name = |what: &str| format!("xenith-test-{what}-{}", std::process::id());
        let spaces = Self { host: name("host"), guests: [name("a"), name("b")] };
        for space in spaces.all() {
            if !ip(&format!("netns add {space}")) {
                return Err("this machine makes no network namespaces".to_owned());
            }
        }
        Ok(spaces)
    }

    fn all(&self) -> [&String; 3] {
        [&self.host, &self.guests[0], &self.guests[1]]
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for space in self.all() {
            // It may never have been made.
            let _done = ip(&format!("netns delete {space}"));
        }
    }
}

/// Lets the thread that calls be in a namespace, with the programs that it starts.
pub fn enter(space: &str) {
    let space = File::open(format!("/run/netns/{space}")).unwrap();
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// A socket belongs to the namespace that it is made in, whoever uses it then.
pub fn within<T: Send>(space: &str, make: impl FnOnce() -> T + Send) -> T {
    let run = || {
        enter(space);
        make()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

/// The host's end of what is tested. Its thread is in the host's namespace.
struct Host {
    networks: Arc<Networks>,
    runtime: Runtime,
    network: NetworkId,
    /// Another one, with the same rules.
    other: NetworkId,
    _folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        // One thread: the programs that it starts are in this namespace.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let networks = Networks::open(Arc::new(KernelDevices), journal);
        let (network, other) = (NetworkId::new(), NetworkId::new());
        Self { networks, runtime, network, other, _folder: folder }
    }

    fn realise(&self, filter: PacketFilter) -> Realised {
        let uplink = Uplink::Internal;
        let mtu = Mtu::try_from(1400).unwrap();
        let declared = |network| HostNetwork {
            network,
            name: "a test".to_owned(),
            uplink: uplink.clone(),
            mtu,
            peers: vec![],
            encryption: Encryption::None,
        };
        let networks = [self.network, self.other].map(declared).into();
        let wanted = HostNetworks { networks, filter, mesh: None };
        self.runtime.block_on(self.networks.realise(wanted)).unwrap()
    }

    fn must(&self, filter: PacketFilter) {
        let realised = self.realise(filter);
        assert!(realised.is_whole(), "{realised:?}");
    }
}

fn mac(guest: usize) -> MacAddr {
    MACS[guest].parse().unwrap()
}

fn vif(guest: usize) -> VifFilter {
    VifFilter { mac: mac(guest), settings: VifSettings::default(), groups: Default::default() }
}

/// The first guest may send as itself only.
fn locked() -> PacketFilter {
    let mut vif = vif(0);
    vif.settings.lock = VifLock::Addresses;
    vif.settings.addresses.insert(ADDRESSES[0].parse().unwrap());
    PacketFilter { vifs: vec![vif], ..PacketFilter::default() }
}

/// The second guest gets only what these rules allow.
fn governed(rules: &[&str], web: Members) -> PacketFilter {
    let group = SecurityGroupId::from_bytes([7; 16]);
    let mut vif = vif(1);
    vif.groups.insert(group);
    let ingress = Some(rules.iter().map(|rule| rule.parse().unwrap()).collect());
    let groups = vec![GroupRules { group, ingress, egress: None }];
    PacketFilter { vifs: vec![vif], groups, tags: [("web".to_owned(), web)].into() }
}

/// Two guests on the network, each with an address. They know each other's MAC: what is tested is no ARP.
fn plug(spaces: &Spaces, bridge: &str) {
    for (guest, space) in spaces.guests.iter().enumerate() {
        let port = guest_interface(mac(guest));
        must(&format!("link add {port} type veth peer name eth0 netns {space}"));
        must(&format!("link set {port} master {bridge} up"));
        must(&format!("-n {space} address add {}/24 dev eth0", ADDRESSES[guest]));
        call_it(space, guest, MACS[guest]);
    }
}

fn call_it(space: &str, guest: usize, mac: &str) {
    let other = 1 - guest;
    must(&format!("-n {space} link set eth0 address {mac} up"));
    must(&format!("-n {space} neighbour replace {} lladdr {} dev eth0", ADDRESSES[other], MACS[other]));
}

fn at(guest: usize, port: u16) -> SocketAddr {
    format!("{}:{port}", ADDRESSES[guest]).parse().unwrap()
}

fn udp(space: &str, address: SocketAddr) -> UdpSocket {
    let socket = within(space, || UdpSocket::bind(address)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next that arrives.
fn heard(socket: &UdpSocket) -> String {
    let mut bytes = [0; 64];
    loop {
        let len = socket.recv(&mut bytes).unwrap();
        if bytes[..len] != *KNOCK {
            return String::from_utf8_lossy(&bytes[..len]).into_owned();
        }
    }
}

const KNOCK: &[u8] = b"is anybody there?";

/// A bridge passes nothing until it has seen the link of its ports.
fn wait_for_the_bridge(ear: &UdpSocket, mouth: &UdpSocket) {
    ear.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        mouth.send_to(KNOCK, ear.local_addr().unwrap()).unwrap();
        if ear.recv(&mut [0; 64]).is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "nothing passes the bridge");
    }
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
}

/// Both ways, on a connection that there is.
fn round_trip(near: &mut TcpStream, far: &mut TcpStream) {
    one_way(near, far);
    one_way(far, near);
}

fn one_way(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"x").unwrap();
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    to.read_exact(&mut [0]).unwrap();
}

fn as_nobody_else(spaces: &Spaces, host: &Host) {
    let [a, b] = &spaces.guests;
    let ear = udp(b, at(1, 7000));
    let honest = udp(a, at(0, 0));
    wait_for_the_bridge(&ear, &honest);
    must(&format!("-n {a} address add 10.77.0.9/24 dev eth0"));
    let spoofed = udp(a, "10.77.0.9:0".parse().unwrap());
    spoofed.send_to(b"before the lock", at(1, 7000)).unwrap();
    assert_eq!(heard(&ear), "before the lock");

    host.must(locked());
    spoofed.send_to(b"as another address", at(1, 7000)).unwrap();
    honest.send_to(b"as itself", at(1, 7000)).unwrap();
    assert_eq!(heard(&ear), "as itself");

    call_it(a, 0, "00:16:3e:77:00:99");
    honest.send_to(b"as another card", at(1, 7000)).unwrap();
    call_it(a, 0, MACS[0]);
    honest.send_to(b"as itself again", at(1, 7000)).unwrap();
    assert_eq!(heard(&ear), "as itself again");
}

fn only_what_is_allowed(spaces: &Spaces, host: &Host) {
    let [a, b] = &spaces.guests;
    let connect = |patience| within(a, || TcpStream::connect_timeout(&at(1, 7000), patience));
    let listener = within(b, || TcpListener::bind(at(1, 7000))).unwrap();
    let (ear, mouth) = (udp(b, at(1, 7001)), udp(a, at(0, 0)));
    let mut near = connect(PATIENCE).unwrap();
    let mut far = listener.accept().unwrap().0;
    round_trip(&mut near, &mut far);
    mouth.send_to(b"blocked", at(1, 7001)).unwrap();

    // Live: what was closed is open, and what is under way goes on.
    host.must(governed(&["tcp:7000", "udp:7001"], Members::default()));
    mouth.send_to(b"opened", at(1, 7001)).unwrap();
    assert_eq!(heard(&ear), "opened", "what was sent before must not have passed");
    host.must(governed(&["tcp:7000 tag:web"], Members::default()));
    assert!(connect(SOON).is_err(), "nobody has the tag");
    round_trip(&mut near, &mut far);

    // A member more: its elements are all that changes.
    let web = Members { macs: [mac(0)].into(), ..Members::default() };
    host.must(governed(&["tcp:7000 tag:web"], web));
    let mut near = connect(PATIENCE).unwrap();
    round_trip(&mut near, &mut listener.accept().unwrap().0);
}

/// What the guests of one network have agreed upon is no answer in another one that has the same addresses. Both guests are
/// moved there with their addresses, which for the kernel is the same as others that have them.
fn answers_of_their_own_network(spaces: &Spaces, host: &Host) {
    let [a, b] = &spaces.guests;
    let (ear, allowed, mouth) = (udp(b, at(1, 7003)), udp(b, at(1, 7004)), udp(a, at(0, 0)));
    host.must(governed(&["udp:7004"], Members::default()));
    wait_for_the_bridge(&allowed, &mouth);
    ear.send_to(b"a question", mouth.local_addr().unwrap()).unwrap();
    assert_eq!(heard(&mouth), "a question");
    mouth.send_to(b"its answer", at(1, 7003)).unwrap();
    assert_eq!(heard(&ear), "its answer");

    let move_to = |network| {
        for guest in 0..2 {
            must(&format!("link set {} master {}", guest_interface(mac(guest)), bridge_of(network)));
        }
    };
    move_to(host.other);
    wait_for_the_bridge(&allowed, &mouth);
    mouth.send_to(b"no answer here", at(1, 7003)).unwrap();
    mouth.send_to(b"allowed", at(1, 7004)).unwrap();
    assert_eq!(heard(&allowed), "allowed");
    ear.set_nonblocking(true).unwrap();
    assert!(ear.recv(&mut [0; 64]).is_err(), "it passed in another network");

    // Back where it is one.
    ear.set_nonblocking(false).unwrap();
    move_to(host.network);
    wait_for_the_bridge(&allowed, &mouth);
    mouth.send_to(b"its answer, again", at(1, 7003)).unwrap();
    assert_eq!(heard(&ear), "its answer, again");
}

#[test]
fn guests_send_as_themselves_and_get_what_rules_allow() {
    let spaces = match Spaces::new() {
        Ok(spaces) => spaces,
        Err(why) => return eprintln!("left out: {why}"),
    };
    let tested = || {
        enter(&spaces.host);
        let host = Host::new();
        let realised = host.realise(PacketFilter::default());
        if !realised.is_whole() {
            return eprintln!("left out: this kernel has no bridges: {realised:?}");
        }
        plug(&spaces, &bridge_of(host.network));
        if let Some(problem) = host.realise(locked()).filter_problem {
            return eprintln!("left out: this kernel filters nothing on bridges: {problem}");
        }
        host.must(PacketFilter::default());
        as_nobody_else(&spaces, &host);
        if let Some(problem) = host.realise(governed(&["tcp:7000"], Members::default())).filter_problem {
            return eprintln!(
                "left out: the half about rules; this kernel follows no connections through bridges \
                 (CONFIG_NF_CONNTRACK_BRIDGE): {problem}"
            );
        }
        only_what_is_allowed(&spaces, &host);
        answers_of_their_own_network(&spaces, &host);
    };
    std::thread::scope(|scope| scope.spawn(tested).join().unwrap());
}
