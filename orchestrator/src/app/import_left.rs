//! Takes away what imports that have ended had to leave at their sources.
//!
//! A source that does not take our password when a VM has moved must not hold the VM up: the import ends, and what is left there,
//! our snapshots, is noted with it ([`ImportRecord::left_at_source`]) and told. From then on it is asked for here, once with
//! each password, so that a renewed one (`import.connect`) is all that it takes, and every hour for other reasons. Who deletes
//! the snapshots there themselves, or takes the source out, has nothing to do here.
//!
//! What always holds: nothing is taken from a VM that another import moves; the end of that one leaves nothing of ours
//! either. A password that the source refused is not tried again ([`crate::imports`]). A crash between the source and the
//! note asks once more, which is no error.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use xenith_common_ids::ImportId;
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::import::{ImportOrigin, ImportPhase};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::vsphere::snapshots;

use super::App;
use super::import_source::vm_reference;
use crate::errors::store_error;
use crate::model::{ImportRecord, ImportSourceRecord};
use crate::vsphere::{self, with_source};

/// How long a source that failed otherwise than by its password rests: a backup that holds a snapshot takes hours.
const AGAIN: Duration = Duration::from_secs(3600);

/// With which password each was asked for, and when.
#[derive(Debug, Default)]
pub struct ImportsLeft(HashMap<ImportId, (Vec<u8>, Instant)>);

impl ImportsLeft {
    fn is_due(&self, import: ImportId, sealed: &[u8], now: Instant) -> bool {
        let tried = self.0.get(&import);
        tried.is_none_or(|(with, at)| with != sealed || now.duration_since(*at) >= AGAIN)
    }
}

/// Whether both are of one VM of one source.
fn is_same_vm(one: &ImportOrigin, other: &ImportOrigin) -> bool {
    match (one, other) {
        (
            ImportOrigin::Vsphere { source, vm, .. },
            ImportOrigin::Vsphere { source: other_source, vm: other_vm, .. },
        ) => source == other_source && vm == other_vm,
        _ => false,
    }
}

/// Those that left something at a source, but for VMs that are being moved again.
fn left(imports: &[Record<ImportId, ImportRecord>]) -> impl Iterator<Item = &Record<ImportId, ImportRecord>> {
    imports.iter().filter(|import| {
        let moves = |other: &Record<ImportId, ImportRecord>| {
            !other.value.phase.is_over() && is_same_vm(&other.value.origin, &import.value.origin)
        };
        let has_left = import.value.left_at_source && import.value.phase == ImportPhase::Done;
        has_left && !imports.iter().any(moves)
    })
}

impl App {
    /// One look at all of them.
    pub async fn clean_sources(&self, tried: &mut ImportsLeft) -> Result<(), ApiError> {
        let (imports, _) = self.db.imports.all().await.map_err(|error| store_error(&error))?;
        let known: HashSet<ImportId> = left(&imports).map(|import| import.key).collect();
        tried.0.retain(|import, _| known.contains(import));
        for id in known {
            // As it is now: the one before may have taken long.
            let (imports, _) = self.db.imports.all().await.map_err(|error| store_error(&error))?;
            let Some(import) = left(&imports).find(|import| import.key == id) else { continue };
            let ImportOrigin::Vsphere { source, vm, .. } = &import.value.origin else { continue };
            let found = self.db.import_sources.get(source).await.map_err(|error| store_error(&error))?;
            let Some(found) = found else { continue };
            let sealed = &found.value.sealed_password;
            if self.imports.was_refused(*source, sealed) || !tried.is_due(id, sealed, Instant::now()) {
                continue;
            }
            tried.0.insert(id, (sealed.clone(), Instant::now()));
            if let Err(error) = self.clean_at(&found.value, vm).await? {
                if vsphere::is_refused_login(&error.to_string()) {
                    self.imports.note_refused(*source, sealed.clone());
                }
                tracing::warn!(%error, import = %id, "what an import left at its source is there still");
                continue;
            }
            let cleaned = |record: &mut ImportRecord| {
                if record.left_at_source {
                    (record.left_at_source, record.message) = (false, None);
                }
            };
            self.db.imports.modify(&id, cleaned).await.map_err(|error| store_error(&error))?;
        }
        Ok(())
    }

    async fn clean_at(
        &self,
        source: &ImportSourceRecord,
        vm: &str,
    ) -> Result<Result<(), ImportError>, ApiError> {
        let opened = vsphere::open(&self.vault, source).map_err(ApiError::internal)?;
        let reference = vm_reference(vm);
        Ok(with_source(opened, move |vim| snapshots::remove_ours(vim, &reference)).await)
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::ImportSourceId;

    use super::*;

    #[test]
    fn a_new_password_is_tried_at_once_and_another_failure_later() {
        let (mut tried, id, now) = (ImportsLeft::default(), ImportId::new(), Instant::now());
        assert!(tried.is_due(id, b"one", now));
        tried.0.insert(id, (b"one".to_vec(), now));
        assert!(!tried.is_due(id, b"one", now));
        assert!(tried.is_due(id, b"another", now));
        assert!(tried.is_due(id, b"one", now + AGAIN));
    }

    #[test]
    fn only_imports_of_one_vm_of_one_source_are_in_each_others_way() {
        let (source, another) = (ImportSourceId::new(), ImportSourceId::new());
        let origin = |source, vm: &str| ImportOrigin::Vsphere {
            source,
            source_name: "old".into(),
            vm: vm.into(),
            vm_name: "web".into(),
        };
        let upload = ImportOrigin::Upload { file: "web.ova".into() };
        for (case, one, other, same) in [
            ("the same", origin(source, "vm-1"), origin(source, "vm-1"), true),
            ("another VM", origin(source, "vm-1"), origin(source, "vm-2"), false),
            ("another source", origin(source, "vm-1"), origin(another, "vm-1"), false),
            ("files", upload.clone(), upload, false),
        ] {
            assert_eq!(is_same_vm(&one, &other), same, "{case}");
        }
    }
}
