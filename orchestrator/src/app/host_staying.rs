//! What still has a domain on a host that is to be empty: why, and whether it ever goes; and what is on its way.
//!
//! What always holds: whatever its agent lists as a domain is named here, for the agent refuses to end a boot under any.

use serde::Deserialize as _;
use xenith_common_ids::{HostId, SagaId, TaskId};
use xenith_hypervisor_agent_types::ObservedVm;
use xenith_orchestrator_saga::{Phase, Saga as _, SagaError, SagaRecord};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::host::EvacuatedVm;

use super::App;
use crate::errors::{saga_error, store_error};
use crate::sagas::host_steps::{Goes, Staying};
use crate::sagas::vm_migrate::{self, VmMigrate};

/// Whose the domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Here,
    /// Of a VM that another host is to run.
    Elsewhere,
    /// Of no VM.
    Nowhere,
}

/// Who works on the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Nobody,
    Task(TaskId),
    Parked(TaskId),
}

fn staying(seen: &ObservedVm, home: Home, work: Work) -> Staying {
    let (goes, why) = match (home, work) {
        (Home::Nowhere, _) => (Goes::Never, "is an unmanaged domain; end it on the host".to_owned()),
        (_, Work::Task(task)) => (Goes::ByItself, format!("is worked on by task {task}")),
        (_, Work::Parked(task)) => {
            let way_out = format!("xenith task retry {task}, or xenith task abandon {task}");
            (Goes::Never, format!("is held by task {task}, which is parked ({way_out})"))
        }
        (Home::Elsewhere, Work::Nobody) => {
            (Goes::Never, "is a VM of another host; look at `xenith orphan list`".to_owned())
        }
        (Home::Here, Work::Nobody) if !seen.power.has_domain() => {
            (Goes::Never, "is dead, and its domain was kept; power it off (xenith vm power-off)".to_owned())
        }
        (Home::Here, Work::Nobody) => (Goes::WhenSent, format!("is {}", seen.power)),
    };
    Staying { vm: seen.vm, name: seen.name.clone(), goes, why }
}

/// The VM that a saga moves away from `host`, or there, off or running. A move that is parked is not waited for: whoever takes
/// it up finds the host again.
fn moving(saga: SagaId, record: &SagaRecord, host: HostId) -> Option<Staying> {
    if record.kind != VmMigrate::KIND || record.phase.outcome().is_some() {
        return None;
    }
    let moved = vm_migrate::Params::deserialize(&record.params).ok()?;
    let way = if moved.from == host {
        "is moved away still"
    } else if moved.to == host {
        "is moved there still"
    } else {
        return None;
    };
    let why = format!("{way}, by task {}", TaskId::from(saga));
    Some(Staying { vm: moved.vm, name: moved.spec.name.to_string(), goes: Goes::ByItself, why })
}

impl App {
    pub(super) async fn staying_on(&self, host: HostId) -> Result<Vec<Staying>, ApiError> {
        let seen = self.fleet.state(host).map(|state| state.vms()).unwrap_or_default();
        let mut found = Vec::new();
        for seen in seen.into_iter().filter(|seen| seen.domid.is_some()) {
            found.push(self.staying_of(host, &seen).await?);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    async fn staying_of(&self, host: HostId, seen: &ObservedVm) -> Result<Staying, ApiError> {
        let record = self.db.vms.get(&seen.vm).await.map_err(|error| store_error(&error))?;
        let Some(record) = record.filter(|_| seen.managed) else {
            return Ok(staying(seen, Home::Nowhere, Work::Nobody));
        };
        let work = match record.value.held_by {
            None => Work::Nobody,
            Some(saga) => match self.engine.get(saga).await {
                Ok(saga_record) if matches!(saga_record.phase, Phase::Parked { .. }) => {
                    Work::Parked(TaskId::from(saga))
                }
                Ok(_) | Err(SagaError::NotFound(_)) => Work::Task(TaskId::from(saga)),
                Err(error) => return Err(saga_error(&error)),
            },
        };
        let home = if record.value.host == host { Home::Here } else { Home::Elsewhere };
        Ok(staying(seen, home, work))
    }

    pub(super) async fn moving_at(&self, host: HostId) -> Result<Vec<Staying>, ApiError> {
        let mut found = Vec::new();
        let note = |saga: SagaId, record: &SagaRecord| {
            found.extend(moving(saga, record, host));
            None::<()>
        };
        self.first_unfinished(note).await?;
        Ok(found)
    }

    /// Adds to a plan what it cannot move: domains that never leave the host.
    pub(super) async fn with_those_that_stay(&self, host: HostId, moves: &mut Vec<EvacuatedVm>) {
        let staying = match self.staying_on(host).await {
            Ok(staying) => staying,
            Err(error) => return tracing::warn!(%error, "it cannot be told which domains stay on a host"),
        };
        for stays in staying.into_iter().filter(|stays| stays.goes == Goes::Never) {
            moves.retain(|moved| moved.vm != stays.vm);
            moves.push(EvacuatedVm {
                vm: stays.vm,
                name: stays.name,
                to: None,
                to_name: None,
                task: None,
                error: Some(stays.why),
                detail: vec![],
                disk_bytes: 0,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::{DomId, VmId};
    use xenith_hypervisor_agent_types::Power;
    use xenith_hypervisor_agent_types::test_support::observed;

    use super::*;

    fn seen(power: Power) -> ObservedVm {
        ObservedVm { domid: Some(DomId(7)), ..observed(VmId::new(), power) }
    }

    #[test]
    fn what_leaves_a_host_and_what_never_does() {
        let task = TaskId::new();
        for (case, power, home, work, goes, said) in [
            ("it runs", Power::Running, Home::Here, Work::Nobody, Goes::WhenSent, "is running"),
            ("it is moved", Power::Running, Home::Here, Work::Task(task), Goes::ByItself, "worked on"),
            ("it has just left", Power::Running, Home::Elsewhere, Work::Task(task), Goes::ByItself, "worked"),
            ("its task waits", Power::Running, Home::Here, Work::Parked(task), Goes::Never, "task abandon"),
            ("it crashed", Power::Crashed, Home::Here, Work::Nobody, Goes::Never, "power-off"),
            ("left behind", Power::Running, Home::Elsewhere, Work::Nobody, Goes::Never, "orphan list"),
            ("somebody's", Power::Running, Home::Nowhere, Work::Nobody, Goes::Never, "an unmanaged domain"),
        ] {
            let found = staying(&seen(power), home, work);
            assert_eq!(found.goes, goes, "{case}: {}", found.why);
            assert!(found.why.contains(said), "{case}: {}", found.why);
        }
    }
}
