//! Lists that have no inventory: made for the question, from the records that the caller may see.
//!
//! What always holds: rows are chosen by what the caller may see before they come here; the filter language, the
//! orders and the cursors are those of every other list. Each file holds the rows of some nouns: what their columns
//! are, and where ids become names.

pub(super) mod access;
pub(super) mod alarms;
mod audit;
pub(super) mod backups;
pub(super) mod imports;
pub(super) mod places;
pub(super) mod storage;

use xenith_common_ids::{HostId, PoolId};
use xenith_orchestrator_inventory::listing::{self, Listing};
use xenith_orchestrator_inventory::{
    ColumnKind, ColumnSpec, MatchBy, PageRequest, Schema, Scope, Searched, filter,
};
use xenith_orchestrator_types::{ApiError, ListRequest, Page};

use super::App;
use crate::errors::query_error;

/// Of all of them, for completion.
pub(super) static SCHEMAS: [&Schema; 21] = [
    &places::POOL,
    &places::NETWORK,
    &places::SECURITY_GROUP,
    &access::USER,
    &access::TOKEN,
    &access::ROLE,
    &alarms::ALARM,
    &audit::AUDIT,
    &storage::SR,
    &storage::ISO,
    &storage::TEMPLATE,
    &storage::FRAGMENT,
    &storage::SNAPSHOT,
    &imports::IMPORT,
    &imports::WAVE,
    &backups::REPOSITORY,
    &backups::BACKUP_JOB,
    &backups::BACKUP_RUN,
    &backups::BACKUP,
    &backups::UNPROTECTED,
    &backups::STANDBY,
];

/// One page of `rows`.
pub(super) fn filtered<L: Listing>(rows: Vec<L>, request: &ListRequest) -> Result<Page<L>, ApiError> {
    let filter =
        filter::parse(L::SCHEMA, &request.filter).map_err(|error| ApiError::invalid("filter", error))?;
    let wanted = PageRequest {
        filter,
        scope: Scope::everything(),
        sort: request.sort.clone(),
        cursor: request.cursor.clone(),
        limit: request.effective_limit(),
    };
    let page = listing::filtered(rows, &wanted).map_err(|error| query_error(&error))?;
    Ok(Page { items: page.rows, total: page.total, next: page.next, revision: None })
}

impl App {
    /// For people; empty for one that is gone.
    pub(super) fn pool_name(&self, pool: PoolId) -> String {
        self.views.pool(pool).map(|pool| pool.name).unwrap_or_default()
    }

    /// For people; empty for one that is gone.
    pub(super) fn host_name(&self, host: HostId) -> String {
        self.views.host(host).map(|record| record.name.clone()).unwrap_or_default()
    }
}

/// Searched by a bare word.
const fn text(name: &'static str, help: &'static str) -> ColumnSpec {
    ColumnSpec::new(name, ColumnKind::Text, Searched::Yes, help)
}

/// Compared as a whole.
const fn whole(name: &'static str, help: &'static str) -> ColumnSpec {
    ColumnSpec::new(name, ColumnKind::Shared(MatchBy::Whole), Searched::Yes, help)
}

/// As [`whole`], of which a part is enough.
const fn part(name: &'static str, help: &'static str) -> ColumnSpec {
    ColumnSpec::new(name, ColumnKind::Shared(MatchBy::Part), Searched::Yes, help)
}

const fn of(name: &'static str, kind: ColumnKind, help: &'static str) -> ColumnSpec {
    ColumnSpec::new(name, kind, Searched::No, help)
}
