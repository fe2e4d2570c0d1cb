//! The same for many VMs. Each is begun on its own: what cannot be done with one says so and keeps nobody else.

use std::collections::HashSet;

use xenith_common_ids::{IncarnationId, VmId};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::vm::VmApi;
use xenith_orchestrator_inventory::PageRequest;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vm::{BulkAction, BulkResult, BulkVms, DeleteVm};
use xenith_orchestrator_types::{ApiError, Permission, Reference};

use super::vm::SHUTDOWN_S;
use super::{App, parse_filter};
use crate::errors::query_error;
use crate::sagas::vm_act::Act;

/// In one call; more is another call.
const MOST: usize = 1000;

impl App {
    pub(super) async fn bulk_act(&self, call: &Call, request: &BulkVms) -> Result<Vec<BulkResult>, ApiError> {
        let mut results = Vec::new();
        let mut done: HashSet<VmId> = HashSet::new();
        for reference in self.meant(call, request)? {
            let found = match self.find_vm(call, &reference, Permission::View).await {
                Ok(found) => found,
                Err(error) => {
                    let (name, task) = (None, None);
                    results.push(BulkResult { vm: reference, name, task, error: Some(error.message) });
                    continue;
                }
            };
            if !done.insert(found.key) {
                continue;
            }
            let begun = self.one_of_many(call, request, &found.key.to_string()).await;
            let (task, error) = match begun {
                Ok(started) => (Some(started.task), None),
                Err(error) => (None, Some(error.message)),
            };
            results.push(BulkResult {
                vm: found.key.to_string(),
                name: Some(found.value.spec.name.to_string()),
                task,
                error,
            });
        }
        Ok(results)
    }

    /// References, those of the filter after the named ones.
    fn meant(&self, call: &Call, request: &BulkVms) -> Result<Vec<Reference>, ApiError> {
        let mut all = request.vms.clone();
        if !request.filter.trim().is_empty() {
            // A domain that is not ours is not acted on.
            let filter = parse_filter::<Vms>(&format!("({}) managed:yes", request.filter))?;
            let asked = PageRequest::first(filter, self.scope(&call.caller), MOST + 1);
            let page = self.views.vms.page(&asked).map_err(|error| query_error(&error))?;
            all.extend(page.rows.into_iter().map(|row| row.id.to_string()));
        }
        match all.len() {
            0 => Err(ApiError::invalid(
                "vms",
                "no VM is meant: name some, or give a filter that lets some through",
            )),
            many if many > MOST => {
                Err(ApiError::invalid("vms", format_args!("more than {MOST} at once; use a narrower filter")))
            }
            _ => Ok(all),
        }
    }

    async fn one_of_many(&self, call: &Call, request: &BulkVms, vm: &str) -> Result<TaskStarted, ApiError> {
        let deadline_s = if request.deadline_s == 0 { SHUTDOWN_S } else { request.deadline_s };
        let force = request.force;
        let act = match request.action {
            BulkAction::Delete => {
                return VmApi::delete(self, call, DeleteVm { vm: vm.to_owned(), keep_disks: false }).await;
            }
            BulkAction::Start => Act::Start { incarnation: IncarnationId::new() },
            BulkAction::Resume => Act::Resume { incarnation: IncarnationId::new() },
            BulkAction::Shutdown => Act::Shutdown { deadline_s, force },
            BulkAction::Reboot => Act::Reboot { deadline_s, force },
            BulkAction::PowerOff if request.discard_memory => Act::PowerOffAndDiscard,
            BulkAction::PowerOff => Act::PowerOff,
            BulkAction::Pause => Act::Pause,
            BulkAction::Unpause => Act::Unpause,
            BulkAction::Suspend => Act::Suspend,
        };
        self.act(call, vm, act, "vm.bulk").await
    }
}
