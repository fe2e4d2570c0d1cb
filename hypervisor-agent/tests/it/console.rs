//! Consoles at the agent: viewers that stand still, places that run out, a host that gives no shell.

use std::time::Duration;

use futures::StreamExt;
use xenith_common_ids::{Epoch, VmId};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent::console::{Attached, Consoles};
use xenith_hypervisor_agent::vm::registry::Domids;
use xenith_hypervisor_agent_api::{ConsoleInput, ConsoleOutput, ConsoleTarget, OpenConsole};
use xenith_hypervisor_agent_client::{AgentClientError, Console};
use xenith_hypervisor_agent_types::{FaultReason, TerminalSize};

use crate::harness::Lab;

async fn open(lab: &Lab, target: ConsoleTarget) -> Result<Console, AgentClientError> {
    lab.client().console(OpenConsole { epoch: lab.epoch, target }).await
}

fn serial(vm: VmId) -> ConsoleTarget {
    ConsoleTarget::Serial { vm, history: u32::MAX }
}

async fn next(console: &mut Console) -> Vec<u8> {
    let output = tokio::time::timeout(Duration::from_secs(20), console.output.next()).await;
    match output.expect("output in time") {
        Some(Ok(ConsoleOutput::Data(data))) => data,
        other => panic!("{other:?}"),
    }
}

/// Types a line and reads until it came back: the simulated guest drops what nobody reads.
async fn echo(viewer: &mut Attached) {
    viewer.input.send(ConsoleInput::Data(vec![b'x'; 1024])).await.unwrap();
    let mut seen = 0;
    while seen < 1024 {
        match tokio::time::timeout(Duration::from_secs(20), viewer.output.recv()).await.unwrap() {
            Some(ConsoleOutput::Data(data)) => seen += data.into_iter().filter(|byte| *byte == b'x').count(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_stands_still_slows_nobody() {
    let lab = Lab::new().await;
    let guest = lab.running("web").await;
    // Without the wire, whose buffers hide MiBs.
    let (domids, tasks) = (Domids::default(), TaskSet::new());
    domids.set(guest.vm, guest.domid);
    let consoles = Consoles::new(lab.sim.clone(), domids, vec![], tasks.child());
    let mut still = consoles.open(serial(guest.vm)).await.unwrap();
    let mut brisk = consoles.open(serial(guest.vm)).await.unwrap();
    // Three times the history.
    for _ in 0..192 {
        echo(&mut brisk).await;
    }
    // It is told what it missed, and then sees what is new.
    let mut seen = String::new();
    while !seen.contains("bytes left out]") {
        let output = tokio::time::timeout(Duration::from_secs(20), still.output.recv()).await.unwrap();
        let Some(ConsoleOutput::Data(data)) = output else { panic!("{output:?} after {seen:?}") };
        seen += &String::from_utf8(data).unwrap();
        assert!(seen.len() < 1 << 20, "more than was ever kept");
    }
    tasks.shut_down(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_opened_is_refused_in_words() {
    let mut lab = Lab::builder().build();
    lab.config.host_shell = vec![];
    lab.start().await;
    let off = lab.define("off").await;
    let on = lab.running("on").await.vm;
    let shell = ConsoleTarget::HostShell { size: TerminalSize::default() };
    for (case, target, expected) in [
        ("a VM that is off", serial(off), FaultReason::WrongState),
        ("a VM of another host", serial(VmId::new()), FaultReason::WrongState),
        ("no screen", ConsoleTarget::Vnc { vm: on }, FaultReason::WrongState),
        ("no shell", shell, FaultReason::Forbidden),
    ] {
        match open(&lab, target).await {
            Err(AgentClientError::Refused(fault)) => assert_eq!(fault.reason, expected, "{case}: {fault}"),
            other => panic!("{case}: {other:?}"),
        }
    }
    let stale = OpenConsole { epoch: Epoch(0), target: serial(on) };
    match lab.client().console(stale).await {
        Err(AgentClientError::Refused(fault)) => assert_eq!(fault.reason, FaultReason::StaleEpoch),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_leaves_frees_its_place() {
    let lab = Lab::new().await;
    let vm = lab.running("web").await.vm;
    let mut viewers = Vec::new();
    // One connection each costs a handshake: a few rounds over the same places show as much.
    for _ in 0..3 {
        for _ in 0..8 {
            let mut viewer = open(&lab, serial(vm)).await.unwrap();
            next(&mut viewer).await;
            viewers.push(viewer);
        }
        viewers.clear();
    }
}
