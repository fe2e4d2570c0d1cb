//! Ports of VMs that are proved: through the agent over the simulated host, and over the kernel's own bridges with a
//! network namespace in place of the guest.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv6Addr, TcpListener};
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::process::Command as Program;
use std::sync::mpsc;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use xenith_common_ids::{NetworkId, VmId};
use xenith_hypervisor_agent::proof::KernelNetworks;
use xenith_hypervisor_agent_api::{Command, CommandResult, VmAction};
use xenith_hypervisor_agent_backend::conformance::proof::proof_networks;
use xenith_hypervisor_agent_backend::{Hypervisor, HypervisorError, ProofNetworks};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::backup::{BackupCommand, BackupReply};
use xenith_hypervisor_agent_types::{FaultReason, NicSpec, PortQuestion, ProofBridge, link_local};

use crate::harness::{Lab, define, spec, start, until};

const MAC: &str = "00:16:3e:0a:0b:0c";

fn ports(of: &[u16]) -> Vec<NonZeroU16> {
    of.iter().map(|port| NonZeroU16::new(*port).unwrap()).collect()
}

async fn tell(lab: &Lab, command: BackupCommand) -> Result<BackupReply, FaultReason> {
    match lab.execute(Command::Backup(Box::new(command))).await {
        Ok(CommandResult::Backup(reply)) => Ok(*reply),
        Err(AgentClientError::Refused(fault)) => Err(fault.reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ports_of_a_guest_are_asked_on_a_bridge_of_its_own() {
    let lab = Lab::new().await;
    proof_networks(&*lab.sim).await;
    let vm = VmId::new();
    let bridge = ProofBridge::of(vm);
    let ask = |of: &[u16]| {
        BackupCommand::AskPorts(PortQuestion { vm, mac: MAC.parse().unwrap(), ports: ports(of), seconds: 0 })
    };
    let mut spec = spec("proof-web-1");
    spec.nics =
        vec![NicSpec { mac: MAC.parse().unwrap(), network: NetworkId::new(), bridge: bridge.to_string() }];
    lab.done(vm, define(1, spec)).await;
    assert!(lab.vm(vm, start()).await.is_err(), "the bridge is not there yet");
    for _ in 0..2 {
        let made = tell(&lab, BackupCommand::EnsureProofNetwork { vm }).await;
        assert_eq!(made, Ok(BackupReply::ProofNetwork));
    }
    let bridges = lab.sim.host().await.unwrap().bridges;
    assert!(bridges.iter().all(|known| known.name == "xenbr0"), "it is no network of anybody's: {bridges:?}");
    assert_eq!(tell(&lab, ask(&[22])).await, Ok(BackupReply::Ports { answered: vec![] }), "it does not run");
    lab.done(vm, start()).await;
    until("the guest's port answers", async || {
        tell(&lab, ask(&[443, 22])).await == Ok(BackupReply::Ports { answered: ports(&[22]) })
    })
    .await;
    for wrong in [&[][..], &[1; PortQuestion::MOST_PORTS + 1]] {
        assert_eq!(tell(&lab, ask(wrong)).await, Err(FaultReason::Invalid), "{wrong:?}");
    }
    lab.done(vm, VmAction::Destroy).await;
    for _ in 0..2 {
        let removed = tell(&lab, BackupCommand::RemoveProofNetwork { vm }).await;
        assert_eq!(removed, Ok(BackupReply::ProofNetwork));
    }
    assert!(lab.vm(vm, start()).await.is_err(), "the bridge is gone");
}

fn ip(line: &str) -> bool {
    let status = Program::new("ip").args(line.split_whitespace()).output();
    status.is_ok_and(|output| output.status.success())
}

/// A network namespace as a guest on a proof's bridge; both go with it.
struct Guest {
    name: String,
    bridge: ProofBridge,
    port: String,
}

impl Guest {
    /// `Err`: why there can be none here.
    async fn new(domid: u32) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("only root makes bridges".to_owned());
        }
        let bridge = ProofBridge::of(VmId::new());
        let name = bridge.as_str().replace("xp-", "xenith-test-");
        if !ip(&format!("netns add {name}")) {
            return Err("this machine makes no network namespaces".to_owned());
        }
        // What is made from here on goes with it.
        let guest = Self { name, bridge, port: format!("vif{domid}.0") };
        KernelNetworks.ensure(&guest.bridge).await.map_err(|error| error.to_string())?;
        let (name, port, bridge) = (&guest.name, &guest.port, &guest.bridge);
        for line in [
            format!("link add {port} type veth peer name eth0 netns {name}"),
            format!("-n {name} link set eth0 address {MAC} up"),
            format!("link set {port} master {bridge} up"),
        ] {
            assert!(ip(&line), "ip {line}");
        }
        Ok(guest)
    }

    /// Takes connections there, and tells how many bytes each brought.
    fn listen(&self, port: u16) -> mpsc::Receiver<usize> {
        let space = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let (sender, receiver) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        // It ends with the test's process.
        std::thread::spawn(move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
            ready.send(()).unwrap();
            for stream in listener.incoming() {
                let read = stream.and_then(|mut stream| stream.read_to_end(&mut Vec::new()));
                if sender.send(read.unwrap_or(0)).is_err() {
                    return;
                }
            }
        });
        is_ready.recv_timeout(Duration::from_secs(60)).unwrap();
        receiver
    }

    async fn ask(&self, known: &[Ipv6Addr], of: &[u16]) -> Result<Vec<NonZeroU16>, HypervisorError> {
        KernelNetworks.ask(&self.bridge, known, &ports(of)).await
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Self { name, bridge, port } = self;
        for line in
            [format!("netns delete {name}"), format!("link delete {port}"), format!("link delete {bridge}")]
        {
            // Some of it is gone already, or was never made.
            let _done = ip(&line);
        }
    }
}

/// The address of the machine on a bridge.
fn own(bridge: &ProofBridge) -> Option<Ipv6Addr> {
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap();
    let line = table.lines().find(|line| line.ends_with(bridge.as_str()))?;
    u128::from_str_radix(line.split_whitespace().next()?, 16).ok().map(Ipv6Addr::from_bits)
}

#[tokio::test]
async fn a_guest_on_a_bridge_of_the_kernel_answers() {
    let guest = match Guest::new(64_001).await {
        Ok(guest) => guest,
        Err(why) => return eprintln!("left out: {why}"),
    };
    proof_networks(&KernelNetworks).await;
    let taken = guest.listen(7000);
    let of_its_mac = [link_local(MAC.parse().unwrap())];
    until("the port answers", async || guest.ask(&of_its_mac, &[7000, 7001]).await == Ok(ports(&[7000])))
        .await;
    assert_eq!(taken.recv_timeout(Duration::from_secs(60)), Ok(0), "nothing is sent");

    // One that gave itself another address is found by itself.
    assert!(ip(&format!("-n {} -6 address flush dev eth0", guest.name)));
    assert!(ip(&format!("-n {} address add fe80::77/64 dev eth0 nodad", guest.name)));
    until("it is found", async || guest.ask(&[], &[7000]).await == Ok(ports(&[7000]))).await;

    // Other addresses are not tried, this machine's own least of all.
    let machine = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = machine.local_addr().unwrap().port();
    let others = [own(&guest.bridge).unwrap(), Ipv6Addr::LOCALHOST, "fd00::1".parse().unwrap()];
    assert_eq!(guest.ask(&others, &[port]).await, Ok(vec![]));

    // Nor anything while somebody else is on the bridge.
    let stranger = format!("t{}", &guest.bridge.as_str()[3..]);
    assert!(ip(&format!("link add {stranger} type veth peer name eth1 netns {}", guest.name)));
    assert!(ip(&format!("link set {stranger} master {}", guest.bridge)));
    let refused = guest.ask(&of_its_mac, &[7000]).await.unwrap_err().to_string();
    assert!(refused.contains(&stranger), "{refused}");
    assert!(ip(&format!("link delete {stranger}")));

    KernelNetworks.remove(&guest.bridge).await.unwrap();
    KernelNetworks.remove(&guest.bridge).await.unwrap();
    let refused = guest.ask(&of_its_mac, &[7000]).await.unwrap_err().to_string();
    assert!(refused.contains("it is gone"), "{refused}");
}
