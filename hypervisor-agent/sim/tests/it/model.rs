//! Random calls against a model that is simple enough to be right: a list of domains and a sum of memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::{Hypervisor, HypervisorError, ShutdownRequest, Start};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::{
    DeathReason, DiskAccess, DiskDevice, DomainDisk, DomainStatus, MemorySpec,
};

use crate::fixture::{mib, spec};

/// 4 GiB less dom0's 2 GiB: a few guests fit.
const FREE: u64 = 2048;

#[derive(Debug, Clone)]
enum Step {
    Create { name: u8, memory: u64, start: Start },
    Pause(u8),
    Unpause(u8),
    Shutdown(u8, ShutdownRequest),
    Crash(u8),
    Suspend(u8),
    CancelSuspend(u8),
    Destroy(u8),
    SetMemory(u8, u64),
    AttachDisk(u8, u8),
    DetachDisk(u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = 0..6u8;
    let start = prop_oneof![Just(Start::Running), Just(Start::Paused)];
    let request = prop_oneof![Just(ShutdownRequest::PowerOff), Just(ShutdownRequest::Reboot)];
    let step = prop_oneof![
        4 => (0..4u8, 64..1024u64, start).prop_map(|(name, memory, start)| Step::Create { name, memory, start }),
        2 => which.clone().prop_map(Step::Pause),
        2 => which.clone().prop_map(Step::Unpause),
        1 => (which.clone(), request).prop_map(|(domain, request)| Step::Shutdown(domain, request)),
        1 => which.clone().prop_map(Step::Crash),
        1 => which.clone().prop_map(Step::Suspend),
        1 => which.clone().prop_map(Step::CancelSuspend),
        2 => which.clone().prop_map(Step::Destroy),
        2 => (which.clone(), 32..1200u64).prop_map(|(domain, memory)| Step::SetMemory(domain, memory)),
        2 => (which.clone(), 0..3u8).prop_map(|(domain, device)| Step::AttachDisk(domain, device)),
        2 => (which, 0..3u8).prop_map(|(domain, device)| Step::DetachDisk(domain, device)),
    ];
    proptest::collection::vec(step, 1..60)
}

#[derive(Debug, Clone)]
struct Known {
    name: u8,
    memory: u64,
    max: u64,
    status: DomainStatus,
    disks: Vec<u8>,
}

/// What a call said, as coarse as the model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Done,
    NoSuchDomain,
    NoSuchDevice,
    AlreadyAttached,
    WrongStatus,
    NameTaken,
    NoMemory,
    Invalid,
    Other,
}

fn said<T>(result: Result<T, HypervisorError>) -> Said {
    match result {
        Ok(_) => Said::Done,
        Err(HypervisorError::NoSuchDomain(_)) => Said::NoSuchDomain,
        Err(HypervisorError::NoSuchDevice { .. }) => Said::NoSuchDevice,
        Err(HypervisorError::AlreadyAttached { .. }) => Said::AlreadyAttached,
        Err(HypervisorError::WrongStatus { .. }) => Said::WrongStatus,
        Err(HypervisorError::NameTaken { .. }) => Said::NameTaken,
        Err(HypervisorError::NoMemory { .. }) => Said::NoMemory,
        Err(HypervisorError::InvalidSpec { .. }) => Said::Invalid,
        Err(_) => Said::Other,
    }
}

#[derive(Debug, Default)]
struct Model {
    made: u32,
    domains: BTreeMap<DomId, Known>,
}

impl Model {
    /// Steps name a domain by its place among all that were ever made, so some are gone.
    fn domid(&self, which: u8) -> DomId {
        DomId(self.made.saturating_sub(u32::from(which)).max(1))
    }

    fn free(&self) -> u64 {
        FREE - self.domains.values().map(|known| known.memory).sum::<u64>()
    }

    fn expect(&mut self, step: &Step) -> Said {
        use DomainStatus::{Dead, Paused, Running};
        let free = self.free();
        let which = match *step {
            Step::Create { name, memory, start } => {
                if self.domains.values().any(|known| known.name == name) {
                    return Said::NameTaken;
                }
                if memory > free {
                    return Said::NoMemory;
                }
                self.made += 1;
                let status = if start == Start::Running { Running } else { Paused };
                let known = Known { name, memory, max: memory + 100, status, disks: vec![] };
                self.domains.insert(DomId(self.made), known);
                return Said::Done;
            }
            Step::Pause(which) | Step::Unpause(which) | Step::Shutdown(which, _) | Step::Crash(which) => {
                which
            }
            Step::Suspend(which) | Step::CancelSuspend(which) | Step::Destroy(which) => which,
            Step::SetMemory(which, _) | Step::AttachDisk(which, _) | Step::DetachDisk(which, _) => which,
        };
        let domid = self.domid(which);
        let Some(known) = self.domains.get_mut(&domid) else { return Said::NoSuchDomain };
        match (step, known.status) {
            (Step::Pause(_), Running | Paused) => known.status = Paused,
            (Step::Unpause(_), Running | Paused) => known.status = Running,
            (Step::Shutdown(_, ShutdownRequest::PowerOff), Running) => {
                known.status = Dead(DeathReason::PowerOff)
            }
            (Step::Shutdown(_, ShutdownRequest::Reboot), Running) => known.status = Dead(DeathReason::Reboot),
            (Step::Crash(_), Running | Paused) => known.status = Dead(DeathReason::Crash),
            (Step::Crash(_), _) => {}
            (Step::Suspend(_), Running) => known.status = Dead(DeathReason::Suspend),
            (Step::CancelSuspend(_), Dead(DeathReason::Suspend)) => known.status = Running,
            (Step::Destroy(_), _) => drop(self.domains.remove(&domid)),
            (Step::SetMemory(_, target), Running) => {
                if *target > known.max {
                    return Said::Invalid;
                }
                if target.saturating_sub(known.memory) > free {
                    return Said::NoMemory;
                }
                known.memory = *target;
            }
            (Step::AttachDisk(_, device), Running | Paused) => {
                if known.disks.contains(device) {
                    return Said::AlreadyAttached;
                }
                known.disks.push(*device);
            }
            (Step::DetachDisk(_, device), Running) => {
                if !known.disks.contains(device) {
                    return Said::NoSuchDevice;
                }
                known.disks.retain(|other| other != device);
            }
            _ => return Said::WrongStatus,
        }
        Said::Done
    }
}

async fn perform(sim: &SimHypervisor, step: &Step, domid: impl Fn(u8) -> DomId) -> Said {
    let disk = |device: u8| DomainDisk {
        device: DiskDevice::nth(device).unwrap(),
        path: "/dev/null".into(),
        access: DiskAccess::ReadWrite,
    };
    match *step {
        Step::Create { name, memory, start } => {
            let mut spec = spec(&format!("vm-{name}"));
            spec.memory = MemorySpec { target: mib(memory), max: mib(memory + 100) };
            said(sim.create(&spec, start).await)
        }
        Step::Pause(which) => said(sim.pause(domid(which)).await),
        Step::Unpause(which) => said(sim.unpause(domid(which)).await),
        Step::Shutdown(which, request) => said(sim.shutdown(domid(which), request).await),
        Step::Crash(which) => said(sim.crash(domid(which))),
        Step::Suspend(which) => {
            let to = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
            said(sim.suspend(domid(which), to.into()).await)
        }
        Step::CancelSuspend(which) => said(sim.cancel_suspend(domid(which)).await),
        Step::Destroy(which) => said(sim.destroy(domid(which)).await),
        Step::SetMemory(which, target) => said(sim.set_memory(domid(which), mib(target)).await),
        Step::AttachDisk(which, device) => said(sim.attach_disk(domid(which), &disk(device)).await),
        Step::DetachDisk(which, device) => {
            said(sim.detach_disk(domid(which), DiskDevice::nth(device).unwrap()).await)
        }
    }
}

async fn agrees(sim: &Arc<SimHypervisor>, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for (index, step) in steps.iter().enumerate() {
        let got = perform(sim, step, |which| model.domid(which)).await;
        let expected = model.expect(step);
        prop_assert_eq!(got, expected, "step {}: {:?}", index, step);
        let listed: Vec<_> = sim
            .domains()
            .await
            .unwrap()
            .into_iter()
            .map(|info| (info.domid, info.name, info.status, info.memory.mib()))
            .collect();
        let known: Vec<_> = model
            .domains
            .iter()
            .map(|(domid, known)| (*domid, format!("vm-{}", known.name), known.status, known.memory))
            .collect();
        prop_assert_eq!(listed, known, "after step {}: {:?}", index, step);
        prop_assert_eq!(sim.host().await.unwrap().memory_free.mib(), model.free(), "after step {}", index);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_do_what_the_model_says(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sim = SimHypervisor::builder().memory(mib(FREE + 2048)).build();
            agrees(&sim, &steps).await
        })?;
    }
}
