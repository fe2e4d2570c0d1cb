//! Lists that the inventory filters, sorts and pages, and how its rows are shown.

use std::sync::Arc;

use serde::Serialize;
use xenith_orchestrator_api::{Call, Caller, Sight};
use xenith_orchestrator_inventory::event::{EventRow, EventSeverity, Events};
use xenith_orchestrator_inventory::filter::{self, Filter};
use xenith_orchestrator_inventory::host::{HostRow, Hosts};
use xenith_orchestrator_inventory::orphan::{OrphanRow, Orphans};
use xenith_orchestrator_inventory::vdi::{VdiRow, Vdis};
use xenith_orchestrator_inventory::vm::{VmRow, Vms};
use xenith_orchestrator_inventory::{self as inventory, Inventory, Noun, PageRequest, Scope};
use xenith_orchestrator_types::event::{Event, Severity};
use xenith_orchestrator_types::host::Host;
use xenith_orchestrator_types::orphan::Orphan;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::{ApiError, ListRequest, Page, Permission, vm};

use super::App;
use crate::errors::query_error;

/// A noun that can be listed and followed.
pub(crate) trait Listed: Noun {
    /// As the API shows it.
    type Item: Serialize + Send + Sync;

    fn inventory(app: &App) -> &Inventory<Self>
    where
        Self: Sized;

    /// `None`: it was removed since the row was read.
    fn item(app: &App, row: Self::Row) -> Option<Self::Item>;
}

impl Listed for Vms {
    type Item = vm::VmRow;

    fn inventory(app: &App) -> &Inventory<Self> {
        &app.views.vms
    }

    fn item(_: &App, row: VmRow) -> Option<vm::VmRow> {
        Some(super::vm_row(row))
    }
}

impl Listed for Hosts {
    type Item = Host;

    fn inventory(app: &App) -> &Inventory<Self> {
        &app.views.hosts
    }

    fn item(app: &App, row: HostRow) -> Option<Host> {
        Some(app.api_host(row.id, &*app.views.host(row.id)?))
    }
}

impl Listed for Vdis {
    type Item = Vdi;

    fn inventory(app: &App) -> &Inventory<Self> {
        &app.views.vdis
    }

    fn item(app: &App, row: VdiRow) -> Option<Vdi> {
        app.views.vdi(row.id).map(Arc::unwrap_or_clone)
    }
}

impl Listed for Events {
    type Item = Event;

    fn inventory(app: &App) -> &Inventory<Self> {
        &app.events.rows
    }

    fn item(_: &App, row: EventRow) -> Option<Event> {
        let EventRow { id, at, severity, kind, subject, message, .. } = row;
        let severity = match severity {
            EventSeverity::Info => Severity::Info,
            EventSeverity::Warning => Severity::Warning,
            EventSeverity::Error => Severity::Error,
        };
        Some(Event { id, at, severity, kind, subject, message })
    }
}

impl Listed for Orphans {
    type Item = Orphan;

    fn inventory(app: &App) -> &Inventory<Self> {
        &app.orphans.rows
    }

    fn item(_: &App, row: OrphanRow) -> Option<Orphan> {
        Some(crate::orphans::to_api(row))
    }
}

/// A filter as the user wrote it.
pub(crate) fn parse_filter<N: Noun>(text: &str) -> Result<Filter, ApiError> {
    filter::parse(N::SCHEMA, text).map_err(|error| ApiError::invalid("filter", error))
}

impl App {
    pub(super) async fn list<N: Listed>(
        &self,
        call: &Call,
        request: &ListRequest,
    ) -> Result<Page<N::Item>, ApiError> {
        let wanted = PageRequest {
            filter: parse_filter::<N>(&request.filter)?,
            scope: self.scope(&call.caller),
            sort: request.sort.clone(),
            cursor: request.cursor.clone(),
            limit: request.effective_limit(),
        };
        let scope = wanted.scope.clone();
        let page = self.page(N::inventory(self), wanted).await?;
        let revision = Some(N::inventory(self).mark(page.revision, &scope));
        let items = page.rows.into_iter().filter_map(|row| N::item(self, row)).collect();
        Ok(Page { items, total: page.total, next: page.next, revision })
    }

    pub(super) async fn page<N: Noun>(
        &self,
        inventory: &Inventory<N>,
        wanted: PageRequest,
    ) -> Result<inventory::Page<N::Row>, ApiError> {
        let inventory = inventory.clone();
        let page = self.readers.run(move || inventory.page(&wanted)).await?;
        page.map_err(|error| query_error(&error))
    }

    /// The rows that `caller` may look at.
    pub(crate) fn scope(&self, caller: &Caller) -> Scope {
        self.scope_of(caller.sight(Permission::View))
    }

    /// The rows that a sight covers.
    pub(super) fn scope_of(&self, sight: Sight) -> Scope {
        match sight {
            Sight::All => Scope::everything(),
            Sight::Only { pools, tags } => {
                let names = pools.iter().filter_map(|pool| self.views.pool(*pool)).map(|pool| pool.name);
                let scope = names.fold(Scope::nothing(), Scope::or_pool);
                tags.into_iter().fold(scope, Scope::or_tag)
            }
        }
    }
}
