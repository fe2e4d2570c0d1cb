//! Hosts and orchestrators that go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use xenith_common_ids::OperationId;
use xenith_hypervisor_agent_sim::{Operation, SimHypervisor};
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{audit, vdi, vm};
use xenith_orchestrator_client::CallOptions;
use xenith_orchestrator_types::audit::{AuditPhase, ListAudit};
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::task::TaskStatus;
use xenith_orchestrator_types::vdi::{CreateVdi, ExportVdi};
use xenith_orchestrator_types::vm::StartVm;

use crate::harness::{Installation, small, until};
use crate::proxy::Proxy;

/// Counts the time in which this process was let run: a machine that stands still for a while is no fault of what is
/// measured on it.
struct Stopwatch {
    ticks: Arc<AtomicU32>,
    ticking: JoinHandle<()>,
}

impl Stopwatch {
    const TICK: Duration = Duration::from_millis(50);

    fn start() -> Self {
        let ticks = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&ticks);
        let ticking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Self::TICK).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { ticks, ticking }
    }

    fn elapsed(&self) -> Duration {
        Self::TICK * self.ticks.load(Ordering::Relaxed)
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_host_is_unknown_within_15_s_and_its_vms_too() {
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    let mut create = small("web-1");
    create.start = true;
    installation.run::<vm::Create>(&create).await;
    installation.hosts[0].stop_agent().await;
    let watch = Stopwatch::start();
    let host = installation.wait_host("xen1", HostStatus::Unknown).await;
    assert!(watch.elapsed() < Duration::from_secs(15), "{:?}", watch.elapsed());
    assert!(host.problem.is_some());
    until("the VM is unknown", async || {
        (installation.vm("web-1").await.power == Power::Unknown).then_some(())
    })
    .await;
    installation.hosts[0].start_agent().await;
    installation.wait_host("xen1", HostStatus::Connected).await;
    until("the VM is running", async || {
        (installation.vm("web-1").await.power == Power::Running).then_some(())
    })
    .await;
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_host_is_unknown_within_15_s_and_its_vms_too() {
    let mut installation = Installation::start().await;
    let mut proxy = None;
    let sim = SimHypervisor::builder();
    let way = |agent| proxy.insert(Proxy::to(agent)).address;
    installation.add_host_reached(None, "xen1", sim, way).await;
    let proxy = proxy.unwrap();
    let mut create = small("web-1");
    (create.start, create.nics) = (true, vec![]);
    installation.run::<vm::Create>(&create).await;
    let power = async |power: Power| {
        let what = format!("the VM is {power:?}");
        until(&what, async || (installation.vm("web-1").await.power == power).then_some(())).await;
    };
    power(Power::Running).await;

    // Nobody closes anything: the cable was pulled, or the kernel hangs.
    proxy.hold();
    let watch = Stopwatch::start();
    let host = installation.wait_host("xen1", HostStatus::Unknown).await;
    power(Power::Unknown).await;
    assert!(watch.elapsed() < Duration::from_secs(15), "{:?}", watch.elapsed());
    assert!(host.problem.is_some());
    proxy.let_through();
    installation.wait_host("xen1", HostStatus::Connected).await;
    power(Power::Running).await;
    installation.stop().await;
}

/// Nothing is left of it that would start the VM when its host is back: somebody may have decided otherwise by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_host_that_is_not_heard_is_undone_and_not_made_up_for() {
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    installation.run::<vm::Create>(&small("web-1")).await;
    installation.hosts[0].stop_agent().await;
    installation.wait_host("xen1", HostStatus::Unknown).await;
    let start = StartVm { vm: "web-1".into() };
    let task = installation.run::<vm::Start>(&start).await;
    assert_eq!(task.status, TaskStatus::RolledBack, "{:?}", task.message);
    let why = task.message.unwrap();
    assert!(why.contains("cannot be reached"), "{why}");

    installation.hosts[0].start_agent().await;
    installation.wait_host("xen1", HostStatus::Connected).await;
    until("the VM is known to be off", async || {
        (installation.vm("web-1").await.power == Power::Stopped).then_some(())
    })
    .await;
    assert_eq!(installation.hosts[0].sim.calls(Operation::Create), 0);
    // Nor does it hold the VM.
    assert_eq!(installation.run::<vm::Start>(&start).await.status, TaskStatus::Done);
    assert_eq!(installation.hosts[0].sim.calls(Operation::Create), 1);
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_outlives_the_orchestrator() {
    let slow = SimHypervisor::builder().delay(Operation::Create, Duration::from_millis(1500));
    let mut installation = Installation::with_host(slow).await;
    installation.run::<vm::Create>(&small("web-1")).await;
    let started = installation.admin.call::<vm::Start>(&StartVm { vm: "web-1".into() }).await.unwrap();
    until("the host is building", async || {
        (installation.hosts[0].sim.calls(Operation::Create) > 0).then_some(())
    })
    .await;
    installation.restart().await;
    let task = installation.wait_task(started.task).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    assert_eq!(installation.hosts[0].sim.calls(Operation::Create), 1, "built once");
    until("the VM is running", async || {
        (installation.vm("web-1").await.power == Power::Running).then_some(())
    })
    .await;
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_whose_caller_hangs_up_is_carried_to_its_end() {
    let mut all = Installation::start().await;
    let mut proxy = None;
    let way = |agent| proxy.insert(Proxy::to(agent)).address;
    all.add_host_reached(None, "xen1", SimHypervisor::builder(), way).await;
    let proxy = proxy.unwrap();
    let disk =
        CreateVdi { name: "data".into(), size: (1 << 20).try_into().unwrap(), host: "xen1".into(), sr: None };
    all.run::<vdi::Create>(&disk).await;
    let phases = async || {
        let records = all.admin.call::<audit::List>(&ListAudit::default()).await.unwrap().items;
        let of = records.into_iter().filter(|record| record.method == "vdi.export");
        of.map(|record| record.phase).collect::<Vec<_>>()
    };

    // The host does not answer; the call waits for it.
    proxy.hold();
    let caller = all.login("admin", all.password()).await.unwrap();
    let call = tokio::spawn(async move {
        let _given_up = caller.call::<vdi::Export>(&ExportVdi { vdi: "data".into(), snapshot: None }).await;
    });
    until("the call has begun", async || (phases().await == [AuditPhase::Asked]).then_some(())).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // The host is given up after some seconds.
    until("the end of the call is written down", async || {
        (phases().await == [AuditPhase::Failed, AuditPhase::Asked]).then_some(())
    })
    .await;
    drop(proxy);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_call_twice_is_done_once() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let options = CallOptions { idempotency_key: Some(OperationId::new().to_string()) };
    let first = installation.admin.call_with::<vm::Create>(&small("web-1"), &options).await.unwrap();
    let second = installation.admin.call_with::<vm::Create>(&small("web-1"), &options).await.unwrap();
    assert_eq!(first, second);
    installation.wait_task(first.task).await;
    installation.stop().await;
}
