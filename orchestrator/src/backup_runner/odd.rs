//! Whose newest backup changed oddly much; what that means is judged in [`crate::odd_change`].

use std::collections::BTreeSet;

use xenith_common_ids::VmId;
use xenith_hypervisor_agent_types::backup::BackupFacts;
use xenith_orchestrator_types::backup::{BackupRun, JobSettings, RunStatus};
use xenith_orchestrator_types::event::Severity;

use super::note;
use crate::app::App;
use crate::catalogue;
use crate::odd_change::{self, Odd};

/// The VMs whose newest backup changed oddly much, each told of.
pub(super) async fn odd_changes(app: &App, run: &BackupRun, settings: &JobSettings) -> BTreeSet<VmId> {
    let mut odd = BTreeSet::new();
    for vm in run.vms.iter().filter(|vm| vm.status == RunStatus::Done) {
        for repository in &settings.repositories {
            let of_vm = catalogue::of_vm(&app.db, vm.vm, &[*repository], odd_change::LOOKED_AT).await;
            let Ok(of_vm) = of_vm else { continue };
            let facts: Vec<&BackupFacts> = of_vm.iter().map(|backup| &backup.facts).collect();
            let Some(found) = odd_change::judge(&facts) else { continue };
            odd.insert(vm.vm);
            let (severity, what) = match found {
                Odd::Much => (Severity::Warning, "changed far more than it does as a rule"),
                Odd::LooksEncrypted => (
                    Severity::Error,
                    "changed far more than it does as a rule, and what is new cannot be compressed, as if it were \
                     encrypted",
                ),
            };
            let message = format!(
                "{} {what}; look at it, and hold its earlier backups if in doubt. What is kept of it is not thinned \
                 out by this run",
                vm.name
            );
            note(app, (severity, "backup.odd_change"), format!("vm/{}", vm.vm), message).await;
            break;
        }
    }
    odd
}
