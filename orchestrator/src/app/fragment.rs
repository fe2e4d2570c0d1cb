//! Parts of cloud-init's user data, kept under a name.
//!
//! What always holds: the text is sealed in the store; who reads it could read it in a VM that was made with it. A name is
//! unique in its pool, and a fragment is there as long as a template names it: both are seen to under `name_changes`.
//! What a fragment holds is read when a VM is made, so a change reaches those that are made later.

use async_trait::async_trait;
use time::OffsetDateTime;
use xenith_common_ids::{FragmentId, PoolId};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::fragment::FragmentApi;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::fragment::{
    CreateFragment, Fragment, FragmentContents, FragmentKind, FragmentRef, UpdateFragment,
};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::App;
use super::cloud_init::{Part, kind_of};
use super::find::{matches, only};
use super::listings::filtered;
use super::listings::storage::FragmentRow;
use crate::errors::store_error;
use crate::model::FragmentRecord;

/// What its text is sealed for.
const SEALED: &str = "a fragment for cloud-init";
/// Of one fragment. A VM's disk for cloud-init has room for some of this size.
const MOST_BYTES: usize = 64 * 1024;
/// For one VM: more is no longer understood by anybody.
const MOST: usize = 32;

fn checked_text(text: &str) -> Result<FragmentKind, ApiError> {
    if text.len() > MOST_BYTES {
        let problem = format_args!("give at most {} KiB", MOST_BYTES / 1024);
        return Err(ApiError::invalid("user_data", problem));
    }
    kind_of(text).ok_or_else(|| {
        let problem = "the first line has to be #cloud-config, a script's #! or #cloud-boothook; below \
                       `## template: jinja`, the second one of the first two";
        ApiError::invalid("user_data", problem)
    })
}

fn provisions(call: &Call, pool: PoolId) -> Result<(), ApiError> {
    let may = call.caller.sight(Permission::Provision).covers(Some(pool), []);
    if may { Ok(()) } else { Err(call.caller.forbidden(Permission::Provision)) }
}

impl App {
    async fn find_fragment(
        &self,
        call: &Call,
        reference: &str,
    ) -> Result<Record<FragmentId, FragmentRecord>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let (all, _) = self.db.fragments.all().await.map_err(|error| store_error(&error))?;
        let meant = all.into_iter().filter(|record| {
            let Fragment { name, pool, .. } = &record.value.fragment;
            matches(reference, &record.key, name) && sees.covers(Some(*pool), [])
        });
        let shown = meant.map(|record| {
            let shown = format!("{} (pool {})", record.key, self.pool_name(record.value.fragment.pool));
            (record, shown)
        });
        only("fragment", reference, shown.collect())
    }

    /// As [`Self::find_fragment`], one of a pool where the caller may make VMs.
    async fn find_own_fragment(
        &self,
        call: &Call,
        reference: &str,
    ) -> Result<Record<FragmentId, FragmentRecord>, ApiError> {
        let found = self.find_fragment(call, reference).await?;
        provisions(call, found.value.fragment.pool)?;
        Ok(found)
    }

    fn text_of(&self, record: &FragmentRecord) -> Result<String, ApiError> {
        let text = self.vault.unseal(SEALED, &record.sealed).map_err(ApiError::internal)?;
        String::from_utf8(text).map_err(ApiError::internal)
    }

    /// Those of a pool by name or id, in the order in which they are named. The caller may make VMs in the pool.
    pub(super) async fn named_fragments(
        &self,
        pool: PoolId,
        references: &[String],
    ) -> Result<Vec<FragmentId>, ApiError> {
        let (mut all, _) = self.db.fragments.all().await.map_err(|error| store_error(&error))?;
        all.retain(|record| record.value.fragment.pool == pool);
        let find = |reference: &String| {
            let mut found =
                all.iter().filter(|record| matches(reference, &record.key, &record.value.fragment.name));
            found.next().map(|record| record.key).ok_or_else(|| ApiError::not_found("fragment", reference))
        };
        references.iter().map(find).collect()
    }

    /// What they say. More than [`MOST`] are refused, and one that is there twice: its script would run twice.
    pub(super) async fn fragments(&self, wanted: &[FragmentId]) -> Result<Vec<Part>, ApiError> {
        let refused = |problem: String| Err(ApiError::invalid("fragments", problem));
        if wanted.len() > MOST {
            return refused(format!("{} are too many; use at most {MOST} for a VM", wanted.len()));
        }
        let mut parts = Vec::with_capacity(wanted.len());
        for (index, id) in wanted.iter().enumerate() {
            let found = self.db.fragments.get(id).await.map_err(|error| store_error(&error))?;
            let found = found.ok_or_else(|| ApiError::not_found("fragment", &id.to_string()))?.value;
            let name = found.fragment.name.clone();
            if wanted.iter().take(index).any(|before| before == id) {
                return refused(format!(
                    "{name} is there twice; those of a template come without being named"
                ));
            }
            parts.push(Part { name, text: self.text_of(&found)? });
        }
        Ok(parts)
    }
}

#[async_trait]
impl FragmentApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Fragment>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let (all, _) = self.db.fragments.all().await.map_err(|error| store_error(&error))?;
        let seen = all.into_iter().map(|record| record.value.fragment);
        let seen = seen.filter(|fragment| sees.covers(Some(fragment.pool), []));
        let rows = seen.map(|fragment| FragmentRow { pool: self.pool_name(fragment.pool), fragment });
        Ok(filtered(rows.collect(), &request)?.map(|row: FragmentRow| row.fragment))
    }

    async fn get(&self, call: &Call, request: FragmentRef) -> Result<FragmentContents, ApiError> {
        let found = self.find_own_fragment(call, &request.fragment).await?.value;
        Ok(FragmentContents { user_data: self.text_of(&found)?, fragment: found.fragment })
    }

    async fn create(&self, call: &Call, request: CreateFragment) -> Result<Fragment, ApiError> {
        let pool = self.find_pool(call, request.pool.as_deref())?;
        provisions(call, pool.id)?;
        super::vdi::checked_name(&request.name)?;
        let kind = checked_text(&request.user_data)?;
        let _alone = self.name_changes.lock().await;
        let (all, _) = self.db.fragments.all().await.map_err(|error| store_error(&error))?;
        let mut others = all.iter().map(|record| &record.value.fragment);
        if others.any(|other| other.pool == pool.id && other.name == request.name) {
            let message = format_args!("there is a fragment {:?} in this pool already", request.name);
            return Err(ApiError::new(Reason::Conflict, message));
        }
        let CreateFragment { name, description, user_data, .. } = request;
        let (id, changed) = (FragmentId::new(), OffsetDateTime::now_utc());
        let fragment = Fragment { id, name, description, pool: pool.id, kind, changed };
        let sealed = self.vault.seal(SEALED, user_data.as_bytes()).map_err(ApiError::internal)?;
        let record = FragmentRecord { fragment, sealed };
        let commit = self.require_pool_in(Transaction::new(), pool.id);
        let commit = self.db.fragments.insert_in(commit, &id, &record);
        self.db.store.commit(commit).await.map_err(|error| Self::pool_gone(&error, &pool.name))?;
        Ok(record.fragment)
    }

    async fn update(&self, call: &Call, request: UpdateFragment) -> Result<Fragment, ApiError> {
        let found = self.find_own_fragment(call, &request.fragment).await?;
        let mut record = found.value.clone();
        if let Some(text) = &request.user_data {
            record.fragment.kind = checked_text(text)?;
            record.fragment.changed = OffsetDateTime::now_utc();
            record.sealed = self.vault.seal(SEALED, text.as_bytes()).map_err(ApiError::internal)?;
        }
        if let Some(description) = request.description {
            record.fragment.description = description;
        }
        self.db.fragments.update(&found, &record).await.map_err(|error| store_error(&error))?;
        Ok(record.fragment)
    }

    async fn delete(&self, call: &Call, request: FragmentRef) -> Result<Empty, ApiError> {
        let found = self.find_own_fragment(call, &request.fragment).await?;
        let _alone = self.name_changes.lock().await;
        let (templates, _) = self.db.templates.all().await.map_err(|error| store_error(&error))?;
        let templates = templates.iter().map(|record| &record.value);
        let users = templates.filter(|template| template.fragments.contains(&found.key));
        let users: Vec<_> = users.map(|template| template.name.as_str()).collect();
        if !users.is_empty() {
            let users = users.join(", ");
            let message = format_args!("templates name it; set the fragments of {users} without it first");
            return Err(ApiError::new(Reason::WrongState, message));
        }
        self.db.fragments.delete(&found).await.map_err(|error| store_error(&error))?;
        Ok(Empty {})
    }
}
