//! The table of the tunnels against real packets: two network namespaces, one of which stands for a host. A cable between
//! them is its network, another one, which is called so, its mesh. Nothing outside of these is touched.
//!
//! That something is dropped is seen without waiting: what is sent after it arrives, and nothing before it.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::process::Command as Program;
use std::time::{Duration, Instant};

use xenith_hypervisor_agent::network::{KernelDevices, tunnels};
use xenith_hypervisor_agent_backend::{FilterTable, NetworkDevices};

use crate::packets::{PATIENCE, ip, must, within};

/// Of an encrypted network.
const OURS: u32 = 5;
/// Of somebody else's.
const OTHER: u32 = 6;
/// More than a packet of the cables holds.
const LARGE: usize = 3000;

struct Spaces {
    host: String,
    other: String,
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
        let spaces = Self { host: name("tunnels"), other: name("sender") };
        for space in [&spaces.host, &spaces.other] {
            if !ip(&format!("netns add {space}")) {
                return Err("this machine makes no network namespaces".to_owned());
            }
        }
        let Self { host, other } = &spaces;
        for (number, interface) in [(1, "eth0"), (2, "xw-1")] {
            must(&format!("-n {host} link add {interface} type veth peer name {interface} netns {other}"));
            for (space, end) in [(host, 1), (other, 2)] {
                must(&format!("-n {space} address add fd0{number}::{end}/64 dev {interface} nodad"));
                must(&format!("-n {space} link set {interface} up"));
            }
        }
        Ok(spaces)
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for space in [&self.host, &self.other] {
            // It may never have been made.
            let _done = ip(&format!("netns delete {space}"));
        }
    }
}

/// A packet of a tunnel (RFC 7348, section 5), with what it carries.
fn packet(number: u32, bytes: usize, mark: u8) -> Vec<u8> {
    let mut packet = vec![0x08, 0, 0, 0];
    packet.extend((number << 8).to_be_bytes());
    packet.resize(8 + bytes, mark);
    packet
}

/// The next packet's number and mark.
fn next(ear: &UdpSocket) -> Option<(u32, u8)> {
    let mut bytes = [0; 2 * LARGE];
    let length = ear.recv(&mut bytes).ok()?;
    Some((u32::from_be_bytes(bytes[4..8].try_into().unwrap()) >> 8, bytes[length - 1]))
}

#[test]
fn what_comes_past_the_mesh_is_no_tunnels() {
    let spaces = match Spaces::new() {
        Ok(spaces) => spaces,
        Err(why) => return eprintln!("left out: {why}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let load = |numbers: &[u32]| {
        let commands = tunnels::commands(&numbers.iter().copied().collect::<BTreeSet<_>>());
        within(&spaces.host, || runtime.block_on(KernelDevices.load_filter(&commands))).unwrap();
        within(&spaces.host, || runtime.block_on(KernelDevices.has_filter(FilterTable::Tunnels))).unwrap()
    };
    let ear = within(&spaces.host, || UdpSocket::bind("[::]:4789")).unwrap();
    ear.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    // Connected to the host's end of the same cable.
    let from = |network: u8| {
        let bind = move || UdpSocket::bind(format!("[fd0{network}::2]:0"));
        let socket = within(&spaces.other, bind).unwrap();
        socket.connect(format!("[fd0{network}::1]:4789")).unwrap();
        socket
    };
    let (past, mesh) = (from(1), from(2));
    // Whoever is asked for the first time has to be found first.
    let arrives = |socket: &UdpSocket, number: u32, bytes: usize| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            socket.send(&packet(number, bytes, 1)).unwrap();
            if next(&ear) == Some((number, 1)) {
                while next(&ear).is_some() {}
                return;
            }
            assert!(Instant::now() < deadline, "{number} does not arrive ({bytes} bytes)");
        }
    };
    arrives(&past, OURS, 10);
    arrives(&past, OTHER, LARGE);

    assert!(load(&[OURS]));
    for (case, number, bytes) in
        [("ours", OURS, 10), ("ours, in pieces", OURS, LARGE), ("any in pieces", OTHER, LARGE)]
    {
        past.send(&packet(number, bytes, 2)).unwrap();
        past.send(&packet(OTHER, 10, 3)).unwrap();
        ear.set_read_timeout(Some(PATIENCE)).unwrap();
        // But for what was sent until the first one arrived, and is late.
        let first = std::iter::from_fn(|| next(&ear)).find(|(_, mark)| *mark != 1);
        assert_eq!(first, Some((OTHER, 3)), "{case}: what came first is what was sent last");
        ear.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    }
    arrives(&mesh, OURS, 10);
    arrives(&mesh, OURS, LARGE);

    assert!(!load(&[]), "there is no table where there is nothing to keep out");
    arrives(&past, OURS, 10);
}
