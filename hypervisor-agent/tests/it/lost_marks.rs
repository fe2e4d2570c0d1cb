//! xenstore loses what it knew while VMs run. What Xen itself keeps says whose domains they are: no VM is taken for one
//! that is off, and nobody can start it a second time.

use std::time::Duration;

use xenith_common_ids::{IncarnationId, VmId};
use xenith_common_units::VcpuCount;
use xenith_hypervisor_agent::agent::AgentError;
use xenith_hypervisor_agent_api::VmAction;
use xenith_hypervisor_agent_backend::{Hypervisor, Start};
use xenith_hypervisor_agent_sim::{EventName, Failure, FaultRule, Operation};
use xenith_hypervisor_agent_types::{
    DirectBoot, DomainIdentity, DomainSpec, FaultReason, Firmware, Graphics, MemorySpec, ObservedVm,
    PlatformKind, Power, VcpuSpec,
};

use crate::adoption::killed;
use crate::harness::{Lab, define, mib, power_off, resume, spec, start, until};

async fn domains(lab: &Lab) -> usize {
    lab.sim.domains().await.unwrap().len()
}

/// The agent is killed, xenstore loses its data, the agent starts again.
async fn lost(lab: &mut Lab) {
    lab.kill().await;
    lab.sim.lose_xenstore();
    lab.start().await;
}

/// It cannot be started a second time, also not by who asks for the same start again.
async fn is_up_once(lab: &Lab, up: &ObservedVm) {
    let seen = lab.look(up.vm).await.unwrap();
    assert!(seen.managed);
    assert_eq!((seen.power, seen.domid), (up.power, up.domid));
    assert_eq!(lab.refused(up.vm, start()).await, FaultReason::WrongState);
    let again = VmAction::Start { incarnation: seen.incarnation.unwrap(), cpu_level: None };
    assert_eq!(lab.done(up.vm, again).await.domid, up.domid);
    assert_eq!(lab.list().await.vms.len(), 1, "it is listed once");
    assert_eq!((domains(lab).await, lab.sim.calls(Operation::Create)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_vm_is_adopted_as_the_run_that_it_is() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    for _ in 0..2 {
        lost(&mut lab).await;
        is_up_once(&lab, &up).await;
        assert_eq!(lab.look(up.vm).await.unwrap().incarnation, up.incarnation);
    }
    assert_eq!(lab.done(up.vm, power_off()).await.power, Power::Stopped);
    assert_eq!(domains(&lab).await, 0);
    lab.done(up.vm, start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_vm_is_adopted_as_paused() {
    let mut lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    let up = lab.done(vm, VmAction::Pause).await;
    lost(&mut lab).await;
    is_up_once(&lab, &up).await;
    assert_eq!(lab.done(vm, VmAction::Unpause).await.incarnation, up.incarnation);
}

/// As after a downgrade, or a journal that was restored from a backup of when the VM was off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_no_record_knows_is_adopted_all_the_same() {
    let mut lab = Lab::new().await;
    let vm = lab.define("v").await;
    let off = std::fs::read(lab.record_of(vm)).unwrap();
    let up = lab.done(vm, start()).await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        lab.kill().await;
        lab.sim.lose_xenstore();
        std::fs::write(lab.record_of(vm), &off).unwrap();
        lab.start().await;
        is_up_once(&lab, &up).await;
        runs.push(lab.look(vm).await.unwrap().incarnation);
    }
    assert_eq!(runs[0], runs[1], "one id for as long as its domain lives");
    assert_ne!(runs[0], up.incarnation);
    lab.done(vm, VmAction::Suspend).await;
    assert_eq!(lab.done(vm, resume()).await.power, Power::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_whose_record_was_lost_too_is_listed_by_its_id() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    lab.kill().await;
    lab.sim.lose_xenstore();
    std::fs::remove_file(lab.record_of(up.vm)).unwrap();
    lab.start().await;
    let seen = lab.look(up.vm).await.unwrap();
    assert_eq!((seen.managed, seen.domid, seen.power), (false, up.domid, Power::Running));
    assert_eq!(lab.refused(up.vm, start()).await, FaultReason::NotFound);
    lab.done(up.vm, define(7, spec("v"))).await;
    is_up_once(&lab, &up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_half_built_is_released() {
    let mut lab = Lab::new().await;
    let vm = lab.define("v").await;
    killed(&mut lab, vm, start(), Operation::Create).await;
    lab.sim.lose_xenstore();
    lab.start().await;
    lab.becomes(vm, Power::Stopped).await;
    until("the half-built domain to go", async || domains(&lab).await == 0).await;
    lab.done(vm, start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspend_that_was_cut_off_runs_on() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    lab.sim.inject(FaultRule::spoil(Operation::Suspend, Failure::Failed));
    killed(&mut lab, up.vm, VmAction::Suspend, Operation::CancelSuspend).await;
    lab.sim.lose_xenstore();
    lab.start().await;
    let back = lab.becomes(up.vm, Power::Running).await;
    assert_eq!((back.domid, back.incarnation), (up.domid, up.incarnation));
}

/// Without a restart of the agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_runs_goes_on_with_its_vms() {
    let lab = Lab::builder().sample(Duration::from_millis(50)).start().await;
    let up = lab.running("v").await;
    lab.sim.lose_xenstore();
    let before = lab.sim.calls(Operation::Domains);
    until("some looks", async || lab.sim.calls(Operation::Domains) > before + 3).await;
    is_up_once(&lab, &up).await;
    lab.sim.destroy_from_outside(up.domid.unwrap()).unwrap();
    lab.becomes(up.vm, Power::Stopped).await;
}

/// What cannot be read is not absent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_cannot_list_domains_starts_nothing() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    lab.kill().await;
    lab.sim.inject(FaultRule::fail(Operation::Domains, Failure::Failed));
    let error = lab.try_start().await.unwrap_err();
    assert!(matches!(error, AgentError::Adopt(_)), "{error}");
    lab.sim.clear_faults();
    lab.start().await;
    is_up_once(&lab, &up).await;
}

/// Somebody let run what the agent took for a left-over, or the list had not all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_is_found_later_is_adopted() {
    let lab = Lab::builder().sample(Duration::from_millis(50)).start().await;
    let vm = lab.define("v").await;
    let domid = lab.sim.create(&domain(vm), Start::Paused).await.unwrap();
    let before = lab.sim.calls(Operation::Domains);
    until("some looks", async || lab.sim.calls(Operation::Domains) > before + 3).await;
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Stopped, "it has never run");
    lab.sim.lose_xenstore();
    lab.sim.unpause(domid).await.unwrap();
    let found = lab.becomes(vm, Power::Running).await;
    assert_eq!(found.domid, Some(domid));
    is_up_once(&lab, &found).await;
    lab.done(vm, VmAction::Destroy).await;
    assert_eq!(domains(&lab).await, 0);
}

/// Its guest has written since, so what was saved is older than its disks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_vm_with_a_domain_that_runs_is_not_resumed() {
    let lab = Lab::builder().sample(Duration::from_millis(50)).start().await;
    let vm = lab.running("v").await.vm;
    lab.done(vm, VmAction::Suspend).await;
    let domid = lab.sim.create(&domain(vm), Start::Running).await.unwrap();
    assert_eq!(lab.becomes(vm, Power::Running).await.domid, Some(domid));
    assert_eq!(lab.refused(vm, resume()).await, FaultReason::WrongState);
    assert_eq!(domains(&lab).await, 1);
    let image = lab.config.state.join("suspended").join(format!("{vm}.image"));
    until("what was saved to be removed", async || !image.exists()).await;
}

/// Between two looks: the hypervisor itself says no, and names the domain and the way out. Also where the domain has the VM's
/// name, which is then not what is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_beside_a_domain_that_has_run_is_refused() {
    for is_lost in [false, true] {
        let lab = Lab::builder().sample(Duration::from_secs(600)).start().await;
        let vm = lab.define("v").await;
        lab.sim.inject(FaultRule::lose(EventName::Appeared));
        let domid = lab.sim.create(&domain(vm), Start::Running).await.unwrap();
        if is_lost {
            lab.sim.lose_xenstore();
        }
        let fault = lab.vm(vm, start()).await.unwrap_err();
        assert_eq!(fault.reason, FaultReason::WrongState);
        let named = format!("domain {domid} is this VM already");
        assert!(fault.message.contains(&named) && fault.message.contains("xl destroy"), "{fault}");
        assert!(lab.sim.domain(domid).await.is_ok(), "nothing was cleared away");
    }
}

/// Made past the agent.
fn domain(vm: VmId) -> DomainSpec {
    DomainSpec {
        identity: DomainIdentity { vm, incarnation: IncarnationId::new() },
        name: "v".parse().unwrap(),
        kind: PlatformKind::Pvh,
        direct_boot: Some(DirectBoot { kernel: "/k".to_owned(), ramdisk: None, cmdline: String::new() }),
        firmware: Firmware::Bios,
        boot_order: vec![],
        vcpus: VcpuSpec { online: VcpuCount::ONE, max: VcpuCount::ONE },
        memory: MemorySpec { target: mib(64), max: mib(64) },
        disks: vec![],
        nics: vec![],
        graphics: Graphics::None,
        hardware: Default::default(),
    }
}
