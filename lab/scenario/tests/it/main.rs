//! The product on real Xen: `cargo xtask lab-test`, or with XENITH_LAB set by hand.
//!
//! As few hosts as can be for the steps of a test: their boots are what costs. Each step brings the VM that it needs
//! into the power state that it needs, so that a step which failed spoils no other. There are several tests, because
//! the first is part of each `make test` and may not take much longer than a quarter of an hour. One that was not asked
//! for ends at once.
#![allow(clippy::large_futures, reason = "one test runs them, each once")]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod backups;
mod conformance;
mod consoles;
mod faults;
mod foreign;
mod hvm;
mod imports;
mod life;
mod pool;
mod quiesce;
mod storage;
mod thin_pool;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use xenith_hypervisor_agent_types::Firmware;
use xenith_lab::Accel;
use xenith_lab::guest::GuestKind;
use xenith_lab_scenario::{Guest, Programs, SLACK, Stage, Steps, asked, kept_host};

const MINUTE: Duration = Duration::from_secs(60);
/// QEMU's gateway, which answers every guest.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const PVH: Guest = Guest { memory_mib: 192, ..Guest::new("pvh-1", GuestKind::Pvh, 101) };
/// What is cloned from the first: it boots with the first one's command line, and so with its address.
const COPY: Guest = Guest { memory_mib: 192, ..Guest::new("pvh-copy", GuestKind::Pvh, 101) };
/// What is backed up, on an SR of its own.
const KEPT: Guest = Guest { memory_mib: 192, ..Guest::new("pvh-kept", GuestKind::Pvh, 103) };
/// Has a channel to a guest agent.
const QUIET: Guest = Guest { memory_mib: 192, ..Guest::new("pvh-quiet", GuestKind::Pvh, 104) };
/// On a thin pool.
const THIN: Guest = Guest { memory_mib: 192, ..Guest::new("pvh-thin", GuestKind::Pvh, 105) };
const PV: Guest = Guest::new("pv-1", GuestKind::Pv, 102);
/// Its disk is in an SR that both hosts of a pool have.
const MOVES: Guest = Guest { memory_mib: 192, ..Guest::new("pvh-moves", GuestKind::Pvh, 111) };
const STAYS: Guest = Guest { memory_mib: 192, ..Guest::new("pvh-stays", GuestKind::Pvh, 112) };
const BIOS: Guest = hvm::machine("bios-1", Firmware::Bios);
const UEFI: Guest = hvm::machine("uefi-1", Firmware::Uefi);

/// Runs a step; one that failed shows the logs as they are then.
macro_rules! step {
    ($stage:ident, $steps:ident, $name:literal, $minutes:literal, $work:expr) => {
        if !$steps.run($name, $minutes * MINUTE * SLACK, Box::pin($work)).await {
            eprintln!("{}", $stage.logs().await);
        }
    };
}

/// On two hosts with an orchestrator each, since an emulated host keeps one CPU busy.
#[tokio::test]
async fn the_scenario_on_real_xen() {
    if !asked("scenario") {
        return;
    }
    let started = Instant::now();
    let (one, other) = beside(Box::pin(on_one_host()), Box::pin(on_the_other())).await;
    eprintln!("the scenario took {:.0} s", started.elapsed().as_secs_f64());
    one.and(other).finish().unwrap();
}

#[tokio::test]
async fn disks_on_real_xen() {
    if !asked("disks") {
        return;
    }
    let mut steps = Steps::on("disks");
    if let Some(stage) = enrolled(&mut steps).await {
        disks(&stage, &mut steps).await;
        let programs = Programs::find().unwrap();
        let promises = thin_pool::promises(&stage, &programs.lvm_thin);
        step!(stage, steps, "LVM keeps the promises of an SR", 45, promises);
    }
    steps.finish().unwrap();
}

#[tokio::test]
async fn imports_on_real_xen() {
    if !asked("imports") {
        return;
    }
    let mut steps = Steps::on("imports");
    if let Some(stage) = enrolled(&mut steps).await {
        step!(stage, steps, "import an OVA, prepare its guest, hear it answer", 60, imports::ova(&stage));
        step!(stage, steps, "import from a simulated ESXi, hear it answer", 60, imports::esxi(&stage));
    }
    steps.finish().unwrap();
}

#[tokio::test]
async fn whole_machines_on_real_xen() {
    if !asked("hvm") {
        return;
    }
    let mut steps = Steps::on("hvm");
    if let Some(stage) = enrolled(&mut steps).await {
        step!(stage, steps, "upload a CD that boots", 10, hvm::upload(&stage));
        let mut guests = vec![&BIOS];
        match Accel::detect() {
            Accel::Tcg => eprintln!("    no UEFI: QEMU's emulation of AMD-V ends itself when that boots"),
            Accel::Kvm => guests.push(&UEFI),
        }
        for guest in guests {
            step!(
                stage,
                steps,
                "boot a whole machine from a CD, see its facts",
                30,
                hvm::boot(&stage, guest)
            );
            step!(stage, steps, "see its screen and its serial port", 5, hvm::consoles(&stage, guest));
            step!(stage, steps, "eject and insert its CD", 5, hvm::cd(&stage, guest));
            step!(stage, steps, "attach a disk to it while it runs", 5, life::attach_disk(&stage, guest));
            step!(stage, steps, "reboot it", 30, hvm::reboot(&stage, guest));
            step!(stage, steps, "shut down and delete", 10, life::end(&stage, guest));
        }
    }
    steps.finish().unwrap();
}

/// Two hosts of one orchestrator, which share an SR and a private network.
#[tokio::test]
async fn a_pool_on_real_xen() {
    if !asked("pool") {
        return;
    }
    xenith_common_pki::install_provider();
    let mut steps = Steps::on("pool");
    let programs = Programs::find().unwrap();
    let (one, other, _lan) = Box::pin(Stage::pair(&programs, steps.host())).await.unwrap();
    // An emulated host has one processor, and would send memory over one connection.
    let [one, other] = [one, other].map(|stage| stage.with_setting("memory_streams = 3"));
    let (pair, guests) = (pool::Pair { one, other }, (&MOVES, &STAYS));
    let founded = Box::pin(pool::found(&pair, &programs));
    if steps.run("enrol two hosts, share an SR", 10 * MINUTE * SLACK, founded).await {
        step!(pair, steps, "start a guest on each, on a private network", 12, pool::start(&pair, guests));
        step!(pair, steps, "move a guest as it runs, and back", 15, pool::moves(&pair, guests));
        step!(pair, steps, "keep to the rules of a security group", 6, pool::rules(&pair, guests));
        step!(pair, steps, "encrypt the network between them, and not", 8, pool::encrypts(&pair, guests));
        step!(pair, steps, "kill -9 of the agent that receives", 10, pool::receiver_dies(&pair, &MOVES));
        step!(pair, steps, "kill -9 of the agent that sends", 10, pool::sender_dies(&pair, &MOVES));
        step!(pair, steps, "cut the network between them in a move", 10, pool::network_is_cut(&pair, &MOVES));
        step!(pair, steps, "take the NFS server away and back", 12, pool::server_is_away(&pair, &MOVES));
        step!(pair, steps, "evacuate a host", 15, pool::evacuate(&pair, guests));
        step!(
            pair,
            steps,
            "reboot a host, which its guest leaves",
            35,
            pool::reboots(&pair, (&STAYS, &MOVES))
        );
        step!(pair, steps, "move a guest with its disk, and back", 20, pool::moves_with_disk(&pair, &STAYS));
        step!(
            pair,
            steps,
            "move a disk while its guest writes, and back",
            20,
            pool::disk_moves(&pair, &STAYS)
        );
        step!(pair, steps, "start under a level of CPU features", 12, pool::keeps_to_a_level(&pair, &MOVES));
        step!(pair, steps, "move a guest that is off", 8, pool::moves_off(&pair, &MOVES));
        let backups = pool::backs_up(&pair, [&MOVES, &STAYS]);
        step!(pair, steps, "back both up to an NFS server, at once", 40, backups);
        step!(pair, steps, "delete, and leave nothing", 8, pool::end(&pair, [&MOVES, &STAYS]));
    } else {
        eprintln!("{}", pair.logs().await);
    }
    steps.finish().unwrap();
}

/// The back-end alone: no agent, and an orchestrator that nobody asks. Each kind of guest on a host of its own.
#[tokio::test]
async fn conformance_on_real_xen() {
    if !asked("conformance") {
        return;
    }
    xenith_common_pki::install_provider();
    let (pvh, pv) =
        (Box::pin(promises("conformance-pvh", "pvh")), Box::pin(promises("conformance-pv", "pv")));
    let (pvh, pv) = beside(pvh, pv).await;
    pvh.and(pv).finish().unwrap();
}

async fn promises(host: &str, kind: &str) -> Steps {
    let mut steps = Steps::on(host);
    let programs = Programs::find().unwrap();
    let stage = Stage::set(&programs, host).await.unwrap();
    step!(
        stage,
        steps,
        "libxl keeps its promises",
        120,
        conformance::run(&stage, &programs.conformance, kind)
    );
    steps
}

/// Both at once, each on its own host; on a host that is kept one after the other, which clears away what it finds.
async fn beside(one: impl Future<Output = Steps>, other: impl Future<Output = Steps>) -> (Steps, Steps) {
    match kept_host() {
        Some(_) => (one.await, other.await),
        None => tokio::join!(one, other),
    }
}

/// A host that has joined an orchestrator. Without it nothing else could work.
async fn enrolled(steps: &mut Steps) -> Option<Stage> {
    xenith_common_pki::install_provider();
    let programs = Programs::find().unwrap();
    let started = Instant::now();
    let stage = Stage::set(&programs, steps.host()).await.unwrap();
    let (host, took) = (steps.host(), started.elapsed().as_secs_f64());
    eprintln!("    {host}: the stage is set after {took:.1} s, {:?}", Accel::detect());
    let enrolled = Box::pin(life::enrol(&stage, &programs));
    if !steps.run("enrol the host, declare a network", 5 * MINUTE * SLACK, enrolled).await {
        eprintln!("{}", stage.logs().await);
        return None;
    }
    Some(stage)
}

/// What an administrator does with a VM, an agent that dies at rest, and the loss of power. On each host the steps are in
/// an order in which one leaves the guest as the next needs it: each boot costs half a minute.
async fn on_one_host() -> Steps {
    let mut steps = Steps::on("scenario-1");
    let Some(mut stage) = enrolled(&mut steps).await else { return steps };
    step!(stage, steps, "examine the host in dom0", 4, life::doctor(&stage));
    // First, and gone: a guest that idles still costs a tenth of the one emulated CPU.
    step!(stage, steps, "start a PV guest, see its facts", 6, life::start(&stage, &PV));
    step!(stage, steps, "suspend and resume a PV guest", 6, life::suspend_and_resume(&stage, &PV));
    step!(stage, steps, "shut down and delete", 4, life::end(&stage, &PV));
    step!(stage, steps, "start a PVH guest, see its facts", 6, life::start(&stage, &PVH));
    step!(stage, steps, "list a foreign domain, refuse to touch it", 6, foreign::listed(&stage));
    step!(stage, steps, "read a guest's serial console", 3, consoles::serial(&stage, &PVH));
    step!(stage, steps, "have a shell of the host", 2, consoles::host_shell(&stage));
    step!(stage, steps, "pause and unpause", 3, life::pause(&stage, &PVH));
    step!(stage, steps, "set memory of a running guest", 4, life::set_memory(&stage, &PVH));
    step!(stage, steps, "attach a disk to a running guest", 4, life::attach_disk(&stage, &PVH));
    step!(stage, steps, "kill -9 of the agent while guests run", 5, faults::agent_at_rest(&stage, &PVH));
    step!(stage, steps, "find the foreign domain untouched", 3, foreign::untouched(&stage));
    step!(stage, steps, "lose power, come back", 12, faults::power_loss(&mut stage, &PVH));
    step!(stage, steps, "delete, and leave nothing", 5, life::end(&stage, &PVH));
    steps
}

/// What dies while something is done with a guest.
async fn on_the_other() -> Steps {
    let mut steps = Steps::on("scenario-2");
    let Some(mut stage) = enrolled(&mut steps).await else { return steps };
    step!(stage, steps, "start a PVH guest, see its facts", 6, life::start(&stage, &PVH));
    step!(stage, steps, "kill -9 of the agent in a pause", 4, faults::agent_in_pause(&stage, &PVH));
    step!(stage, steps, "kill -9 of the agent while memory is set", 4, faults::agent_in_memory(&stage, &PVH));
    let attach = faults::agent_in_attach(&stage, &PVH);
    step!(stage, steps, "kill -9 of the agent while a disk is attached", 5, attach);
    step!(stage, steps, "kill -9 of the agent in a suspend", 6, faults::agent_in_suspend(&stage, &PVH));
    step!(stage, steps, "kill -9 of the agent in a resume", 6, faults::agent_in_resume(&stage, &PVH));
    step!(stage, steps, "kill -9 of the agent in a shutdown", 6, faults::agent_in_shutdown(&stage, &PVH));
    step!(stage, steps, "kill -9 of the agent in a start", 6, faults::agent_in_start(&stage, &PVH));
    step!(stage, steps, "notice a crash", 4, life::crash(&stage, &PVH));
    step!(stage, steps, "notice a crash without an agent", 6, faults::agent_gone_in_crash(&stage, &PVH));
    let start = faults::orchestrator_in_start(&mut stage, &PVH);
    step!(stage, steps, "kill -9 of the orchestrator in a start", 6, start);
    step!(stage, steps, "delete, and leave nothing", 5, life::end(&stage, &PVH));
    steps
}

async fn disks(stage: &Stage, steps: &mut Steps) {
    step!(stage, steps, "start a PVH guest, see its facts", 6, life::start(stage, &PVH));
    step!(stage, steps, "attach a disk to a running guest", 4, life::attach_disk(stage, &PVH));
    step!(stage, steps, "snapshot a running guest, go back", 8, storage::snapshot(stage, &PVH));
    step!(stage, steps, "enlarge a disk of a running guest", 4, storage::resize(stage, &PVH));
    step!(stage, steps, "clone a guest from a snapshot", 10, storage::clone(stage, &PVH, &COPY));
    let kept = backups::back_up_destroy_restore(stage, &KEPT);
    step!(stage, steps, "back up twice, destroy, boot instantly", 20, kept);
    let thin = thin_pool::life(stage, &THIN);
    step!(stage, steps, "snapshot, grow, back up, go back on a thin pool", 25, thin);
    let quiet = quiesce::through_the_channel(stage, &QUIET);
    step!(stage, steps, "quiesce a guest over its channel", 12, quiet);
    step!(stage, steps, "delete, and leave nothing", 5, life::end(stage, &PVH));
}
