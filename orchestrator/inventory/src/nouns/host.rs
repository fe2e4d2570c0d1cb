//! The rows of the host list.

use serde::{Deserialize, Serialize};
use xenith_common_ids::HostId;

use super::{text_cell, words};
use crate::schema::{Cell, ColumnKind, ColumnSpec, MatchBy, Noun, RowView, Schema, Searched, Unit};

words! {
    /// How the orchestrator stands with its agent.
    HostStatus {
        Connected = "connected",
        /// Not heard of; its VMs are unknown too.
        Unknown = "unknown",
        Enrolling = "enrolling",
    }
}

words! {
    /// Whether it takes new VMs.
    Maintenance {
        On = "on",
        Off = "off",
    }
}

/// One host as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    pub id: HostId,
    pub name: String,
    pub pool: Option<String>,
    pub status: HostStatus,
    pub maintenance: Maintenance,
    /// In MiB; hosts have more than a guest may.
    pub memory_total: Option<u64>,
    /// In MiB.
    pub memory_free: Option<u64>,
    pub cpus: Option<u32>,
    pub vms: u32,
    pub xen_version: Option<String>,
    pub agent_version: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// What changed of a host. Unset: as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPatch {
    pub name: Option<String>,
    pub pool: Option<Option<String>>,
    pub status: Option<HostStatus>,
    pub maintenance: Option<Maintenance>,
    pub memory_total: Option<Option<u64>>,
    pub memory_free: Option<Option<u64>>,
    pub vms: Option<u32>,
    pub tags: Option<Vec<String>>,
}

const NAME: usize = 0;
const POOL: usize = 1;
const STATUS: usize = 2;
const MEMORY: usize = 3;
const FREE: usize = 4;
const CPUS: usize = 5;
const VMS: usize = 6;
const XEN: usize = 7;
const AGENT: usize = 8;
const TAG: usize = 9;
const ADDRESS: usize = 10;
const MAINTENANCE: usize = 11;

use Searched::{No, Yes};

const fn column(name: &'static str, kind: ColumnKind, searched: Searched, help: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, searched, help }
}

/// In the order of the constants above.
static SCHEMA: Schema = Schema {
    noun: "host",
    default_sort: "name",
    columns: &[
        column("name", ColumnKind::Text, Yes, "a part of the name"),
        column("pool", ColumnKind::Shared(MatchBy::Whole), Yes, "the name of the pool"),
        column("status", ColumnKind::Choice(HostStatus::WORDS), No, "whether it is connected"),
        column("memory", ColumnKind::Number(Unit::Memory), No, "all memory, such as >256GiB"),
        column("free", ColumnKind::Number(Unit::Memory), No, "free memory, such as <8GiB"),
        column("cpus", ColumnKind::Number(Unit::Count), No, "number of physical CPU threads"),
        column("vms", ColumnKind::Number(Unit::Count), No, "number of VMs on it"),
        column("xen", ColumnKind::Shared(MatchBy::Part), No, "a part of the version of Xen"),
        column("agent", ColumnKind::Shared(MatchBy::Part), No, "a part of the version of the agent"),
        column("tag", ColumnKind::Labels, Yes, "a tag"),
        column("address", ColumnKind::Texts, Yes, "a part of an address"),
        column("maintenance", ColumnKind::Choice(Maintenance::WORDS), No, "on: it takes no new VMs"),
    ],
};

/// The noun.
#[derive(Debug)]
pub enum Hosts {}

type Put<'p> = &'p mut dyn FnMut(usize, Cell<'_>);

fn number_cell(number: Option<u64>) -> Cell<'static> {
    number.map_or(Cell::None, Cell::Number)
}

impl Noun for Hosts {
    type Row = HostRow;
    type Patch = HostPatch;
    type Id = HostId;

    const SCHEMA: &'static Schema = &SCHEMA;

    fn id_of(row: &HostRow) -> HostId {
        row.id
    }

    fn id_bytes(id: HostId) -> [u8; 16] {
        *id.as_bytes()
    }

    fn id_from(bytes: [u8; 16]) -> HostId {
        HostId::from_bytes(bytes)
    }

    fn row_cells(row: &HostRow, put: Put<'_>) {
        put(NAME, Cell::Text(&row.name));
        put(POOL, text_cell(row.pool.as_deref()));
        put(STATUS, Cell::Text(row.status.as_str()));
        put(MEMORY, number_cell(row.memory_total));
        put(FREE, number_cell(row.memory_free));
        put(CPUS, number_cell(row.cpus.map(u64::from)));
        put(VMS, Cell::Number(row.vms.into()));
        put(XEN, text_cell(row.xen_version.as_deref()));
        put(AGENT, text_cell(row.agent_version.as_deref()));
        put(TAG, Cell::Texts(&row.tags));
        put(ADDRESS, Cell::Texts(&row.addresses));
        put(MAINTENANCE, Cell::Text(row.maintenance.as_str()));
    }

    fn patch_cells(patch: &HostPatch, put: Put<'_>) {
        if let Some(name) = &patch.name {
            put(NAME, Cell::Text(name));
        }
        if let Some(pool) = &patch.pool {
            put(POOL, text_cell(pool.as_deref()));
        }
        if let Some(status) = patch.status {
            put(STATUS, Cell::Text(status.as_str()));
        }
        if let Some(maintenance) = patch.maintenance {
            put(MAINTENANCE, Cell::Text(maintenance.as_str()));
        }
        if let Some(total) = patch.memory_total {
            put(MEMORY, number_cell(total));
        }
        if let Some(free) = patch.memory_free {
            put(FREE, number_cell(free));
        }
        if let Some(vms) = patch.vms {
            put(VMS, Cell::Number(vms.into()));
        }
        if let Some(tags) = &patch.tags {
            put(TAG, Cell::Texts(tags));
        }
    }

    fn read(row: &RowView<'_>) -> HostRow {
        let small = |column| row.number(column).and_then(|number| u32::try_from(number).ok());
        HostRow {
            id: HostId::from_bytes(row.id()),
            name: row.text(NAME),
            pool: row.text_if_any(POOL),
            status: row.str_if_any(STATUS).and_then(HostStatus::parse).unwrap_or(HostStatus::Unknown),
            memory_total: row.number(MEMORY),
            memory_free: row.number(FREE),
            cpus: small(CPUS),
            vms: small(VMS).unwrap_or_default(),
            xen_version: row.text_if_any(XEN),
            agent_version: row.text_if_any(AGENT),
            tags: row.texts(TAG),
            addresses: row.texts(ADDRESS),
            maintenance: row.str_if_any(MAINTENANCE).and_then(Maintenance::parse).unwrap_or(Maintenance::Off),
        }
    }
}
