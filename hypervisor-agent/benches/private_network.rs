//! What a private network costs: the same one plain and encrypted, between two namespaces that stand for hosts, in turns.
//! Section "Private networks" of benches/SPECIFICATION.md. Needs root, and a kernel with WireGuard.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where by panicking")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Runtime;
use xenith_common_ids::{HostId, NetworkId};
use xenith_hypervisor_agent::journal::Journal;
use xenith_hypervisor_agent::network::{KernelDevices, Networks};
use xenith_hypervisor_agent_types::filter::PacketFilter;
use xenith_hypervisor_agent_types::mesh::{
    Encryption, Mesh, MeshGeneration, MeshPeer, WireGuardKey, mesh_address,
};
use xenith_hypervisor_agent_types::network::{HostNetwork, HostNetworks, Uplink, Vni, bridge_of};

const TURNS: usize = 5;
const WINDOW: Duration = Duration::from_secs(3);
const PINGS: u32 = 2000;
const KINDS: [(Encryption, u32); 2] = [(Encryption::None, 5), (Encryption::WireGuard, 6)];

fn ip(line: &str) {
    let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn within<T: Send>(space: &str, make: impl FnOnce() -> T + Send) -> T {
    let run = || {
        let space = File::open(format!("/run/netns/{space}")).unwrap();
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        make()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

fn id(number: usize) -> HostId {
    HostId::from_bytes([u8::try_from(number).unwrap() + 1; 16])
}

struct Host {
    space: String,
    number: usize,
    networks: Arc<Networks>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "delete", &self.space]).output();
    }
}

impl Host {
    fn new(number: usize) -> Self {
        let space = format!("xenith-bench-{number}-{}", std::process::id());
        ip(&format!("netns add {space}"));
        let folder = tempfile::tempdir().unwrap();
        let networks = Networks::open(Arc::new(KernelDevices), Journal::open(folder.path()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { space, number, networks, runtime, _folder: folder }
    }

    /// Both networks; answers with its key.
    fn realise(&self, networks: [NetworkId; 2], key: Option<WireGuardKey>) -> WireGuardKey {
        let other = 1 - self.number;
        let wire: IpAddr = format!("10.78.0.{}", other + 1).parse().unwrap();
        let one = |(network, (encryption, vni)): (NetworkId, (Encryption, u32))| {
            let uplink = Uplink::Private { vni: Vni::try_from(vni).unwrap() };
            let peer = if encryption.is_none() { wire } else { mesh_address(id(other)).into() };
            let mtu = uplink.usual_mtu(encryption);
            HostNetwork { network, name: "bench".to_owned(), uplink, mtu, peers: vec![peer], encryption }
        };
        let peer = key.map(|key| MeshPeer { key, endpoint: wire, address: mesh_address(id(other)) });
        let generations = vec![MeshGeneration { number: 1, peers: peer.into_iter().collect() }];
        let wanted = HostNetworks {
            networks: networks.into_iter().zip(KINDS).map(one).collect(),
            filter: PacketFilter::default(),
            mesh: Some(Mesh { address: mesh_address(id(self.number)), active: 1, generations }),
        };
        let realised = within(&self.space, || self.runtime.block_on(self.networks.realise(wanted))).unwrap();
        assert!(realised.is_whole(), "{realised:?}");
        realised.mesh.unwrap().keys.remove(&1).unwrap()
    }
}

/// MiB a second.
fn stream(hosts: &[Host; 2], net: usize) -> f64 {
    let to = format!("10.{}.0.2:7000", 80 + net);
    let listener = within(&hosts[1].space, || TcpListener::bind(&to)).unwrap();
    let mut sender = within(&hosts[0].space, || TcpStream::connect(&to)).unwrap();
    let mut receiver = listener.accept().unwrap().0;
    let reading = std::thread::spawn(move || {
        let (mut bytes, mut sum) = (vec![0; 1 << 17], 0_usize);
        while let Ok(length @ 1..) = receiver.read(&mut bytes) {
            sum += length;
        }
        sum
    });
    let (begun, block) = (Instant::now(), vec![7; 1 << 17]);
    while begun.elapsed() < WINDOW {
        sender.write_all(&block).unwrap();
    }
    drop(sender);
    let sum = reading.join().unwrap();
    sum as f64 / f64::from(1 << 20) / begun.elapsed().as_secs_f64()
}

/// Microseconds there and back, on average.
fn ping(hosts: &[Host; 2], net: usize) -> f64 {
    let socket = |number: usize| {
        let address = format!("10.{}.0.{}:7001", 80 + net, number + 1);
        let socket = within(&hosts[number].space, || UdpSocket::bind(&address)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    };
    let (near, far) = (socket(0), socket(1));
    let there = far.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        for _ in 0..PINGS {
            let (length, from) = far.recv_from(&mut [0; 64]).unwrap();
            far.send_to(&[1; 64][..length], from).unwrap();
        }
    });
    let begun = Instant::now();
    for _ in 0..PINGS {
        near.send_to(&[1; 64], there).unwrap();
        near.recv(&mut [0; 64]).unwrap();
    }
    answering.join().unwrap();
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(PINGS)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let hosts = [Host::new(0), Host::new(1)];
    let (left, right) = (&hosts[0].space, &hosts[1].space);
    ip(&format!("-n {left} link add eth0 type veth peer name eth0 netns {right}"));
    for host in &hosts {
        ip(&format!("-n {} address add 10.78.0.{}/24 dev eth0", host.space, host.number + 1));
        ip(&format!("-n {} link set eth0 up", host.space));
    }
    let networks = [NetworkId::new(), NetworkId::new()];
    let first = hosts[0].realise(networks, None);
    let second = hosts[1].realise(networks, Some(first));
    hosts[0].realise(networks, Some(second));
    for host in &hosts {
        for (net, network) in networks.iter().enumerate() {
            let bridge = bridge_of(*network);
            let address = format!("10.{}.0.{}/24", 80 + net, host.number + 1);
            ip(&format!("-n {} address add {address} dev {bridge}", host.space));
        }
    }
    let mut streams = [vec![], vec![]];
    let mut pings = [vec![], vec![]];
    for _ in 0..TURNS {
        for net in [0, 1] {
            streams[net].push(stream(&hosts, net));
            pings[net].push(ping(&hosts, net));
        }
    }
    let ([plain, encrypted], [there, encrypted_there]) = (streams.map(median), pings.map(median));
    println!(
        "TCP, one stream: plain {plain:.0} MiB/s, encrypted {encrypted:.0} MiB/s ({:.2})",
        encrypted / plain
    );
    println!(
        "there and back: plain {there:.1} us, encrypted {encrypted_there:.1} us ({:.2})",
        encrypted_there / there
    );
}
