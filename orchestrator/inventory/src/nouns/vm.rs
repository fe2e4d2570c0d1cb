//! The rows of the VM list.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, NetworkId, PoolId, VmId};
use xenith_common_units::MemoryMiB;

use super::{text_cell, time_cell, time_of, words};
use crate::schema::{Cell, ColumnKind, ColumnSpec, MatchBy, Noun, RowView, Schema, Searched, Unit};

words! {
    /// As observed; `unknown` when the host cannot be asked.
    Power {
        Running = "running",
        Paused = "paused",
        Stopped = "stopped",
        Suspended = "suspended",
        Crashed = "crashed",
        Starting = "starting",
        Stopping = "stopping",
        Unknown = "unknown",
    }
}

words! {
    /// How Xen runs it.
    Kind {
        Pv = "pv",
        Pvh = "pvh",
        Hvm = "hvm",
    }
}

words! {
    /// Whether it is ours, or a domain that somebody made by other means.
    Managed {
        Yes = "yes",
        No = "no",
    }
}

/// A host or pool, by id and by the name that people use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named<Id> {
    pub id: Id,
    pub name: String,
}

/// One VM as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRow {
    pub id: VmId,
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub power: Power,
    /// Where it runs, or ran last.
    pub host: Option<Named<HostId>>,
    pub pool: Option<Named<PoolId>>,
    /// Sorted, each once.
    #[serde(default)]
    pub tags: Vec<String>,
    pub memory: MemoryMiB,
    /// 0: not known.
    pub vcpus: u32,
    pub kind: Kind,
    #[serde(default)]
    pub addresses: Vec<String>,
    pub os: Option<String>,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub created: Option<OffsetDateTime>,
    /// Of this run; unset when it does not run. The uptime counts from here.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub started: Option<OffsetDateTime>,
    pub managed: Managed,
    /// Keys are lower case, without `=`.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Of all its vCPUs, in tenths of a percent of one.
    pub cpu: Option<u32>,
    /// That its NICs are in. Sorted, each once.
    #[serde(default)]
    pub networks: Vec<NetworkId>,
}

/// What a host, or a user, changed of a VM. Unset: as it was. `Some(None)`: no value any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmPatch {
    pub name: Option<String>,
    pub description: Option<String>,
    pub power: Option<Power>,
    pub host: Option<Option<Named<HostId>>>,
    pub pool: Option<Option<Named<PoolId>>>,
    pub tags: Option<Vec<String>>,
    pub memory: Option<MemoryMiB>,
    pub vcpus: Option<u32>,
    pub addresses: Option<Vec<String>>,
    pub os: Option<Option<String>>,
    pub started: Option<Option<OffsetDateTime>>,
    pub fields: Option<BTreeMap<String, String>>,
    pub cpu: Option<Option<u32>>,
}

const fn column(name: &'static str, kind: ColumnKind, searched: Searched, help: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, searched, help }
}

const NAME: usize = 0;
const DESCRIPTION: usize = 1;
const POWER: usize = 2;
const HOST: usize = 3;
const HOST_ID: usize = 4;
const POOL: usize = 5;
const POOL_ID: usize = 6;
const TAG: usize = 7;
const MEMORY: usize = 8;
const VCPUS: usize = 9;
const KIND: usize = 10;
const ADDRESS: usize = 11;
const OS: usize = 12;
const CREATED: usize = 13;
const STARTED: usize = 14;
const MANAGED: usize = 15;
const FIELDS: usize = 16;
const CPU: usize = 17;
const NETWORK_ID: usize = 18;

use Searched::{No, Yes};

/// In the order of the constants above.
static SCHEMA: Schema = Schema {
    noun: "vm",
    default_sort: "name",
    columns: &[
        column("name", ColumnKind::Text, Yes, "a part of the name"),
        column("description", ColumnKind::Text, Yes, "a part of the description"),
        column("power", ColumnKind::Choice(Power::WORDS), No, "the power state"),
        column("host", ColumnKind::Shared(MatchBy::Whole), Yes, "the name of the host"),
        column("host_id", ColumnKind::Shared(MatchBy::Whole), No, "the id of the host"),
        column("pool", ColumnKind::Shared(MatchBy::Whole), No, "the name of the pool"),
        column("pool_id", ColumnKind::Shared(MatchBy::Whole), No, "the id of the pool"),
        column("tag", ColumnKind::Labels, Yes, "a tag"),
        column("memory", ColumnKind::Number(Unit::Memory), No, "memory, such as >8GiB"),
        column("vcpus", ColumnKind::Number(Unit::Count), No, "number of virtual CPUs"),
        column("kind", ColumnKind::Choice(Kind::WORDS), No, "how Xen runs it"),
        column("address", ColumnKind::Texts, Yes, "a part of an IP address"),
        column("os", ColumnKind::Shared(MatchBy::Part), Yes, "a part of the operating system's name"),
        column("created", ColumnKind::Number(Unit::Time), No, "when it was made, such as >2026-01-31"),
        column("started", ColumnKind::Number(Unit::Time), No, "when it was started"),
        column("managed", ColumnKind::Choice(Managed::WORDS), No, "whether Xenith made it"),
        column("field", ColumnKind::Fields, No, "a field of your own: field.owner:anna"),
        column("cpu", ColumnKind::Number(Unit::Percent), No, "CPU use, such as >50%"),
        column("network_id", ColumnKind::Labels, No, "the id of a network that it has a NIC in"),
        column("age", ColumnKind::Age("created"), No, "time since it was made, such as >30d"),
        column("uptime", ColumnKind::Age("started"), No, "time since it was started, such as <1h"),
    ],
};

/// The noun.
#[derive(Debug)]
pub enum Vms {}

type Put<'p> = &'p mut dyn FnMut(usize, Cell<'_>);

fn put_host(host: Option<&Named<HostId>>, put: Put<'_>) {
    put(HOST, text_cell(host.map(|host| host.name.as_str())));
    put_id(HOST_ID, host.map(|host| *host.id.as_uuid()), put);
}

fn put_pool(pool: Option<&Named<PoolId>>, put: Put<'_>) {
    put(POOL, text_cell(pool.map(|pool| pool.name.as_str())));
    put_id(POOL_ID, pool.map(|pool| *pool.id.as_uuid()), put);
}

fn put_id(column: usize, id: Option<uuid::Uuid>, put: Put<'_>) {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    put(column, text_cell(id.as_ref().map(|id| &*id.hyphenated().encode_lower(&mut buffer))));
}

fn put_fields(fields: &BTreeMap<String, String>, put: Put<'_>) {
    let labels: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
    put(FIELDS, Cell::Texts(&labels));
}

fn put_networks(networks: &[NetworkId], put: Put<'_>) {
    let ids: Vec<String> = networks.iter().map(ToString::to_string).collect();
    put(NETWORK_ID, Cell::Texts(&ids));
}

const fn cpu_cell(cpu: Option<u32>) -> Cell<'static> {
    match cpu {
        Some(cpu) => Cell::Number(cpu as u64),
        None => Cell::None,
    }
}

impl Noun for Vms {
    type Row = VmRow;
    type Patch = VmPatch;
    type Id = VmId;

    const SCHEMA: &'static Schema = &SCHEMA;

    fn id_of(row: &VmRow) -> VmId {
        row.id
    }

    fn id_bytes(id: VmId) -> [u8; 16] {
        *id.as_bytes()
    }

    fn id_from(bytes: [u8; 16]) -> VmId {
        VmId::from_bytes(bytes)
    }

    fn row_cells(row: &VmRow, put: Put<'_>) {
        put(NAME, Cell::Text(&row.name));
        put(DESCRIPTION, Cell::Text(&row.description));
        put(POWER, Cell::Text(row.power.as_str()));
        put_host(row.host.as_ref(), put);
        put_pool(row.pool.as_ref(), put);
        put(TAG, Cell::Texts(&row.tags));
        put(MEMORY, Cell::Number(row.memory.mib()));
        put(VCPUS, if row.vcpus == 0 { Cell::None } else { Cell::Number(row.vcpus.into()) });
        put(KIND, Cell::Text(row.kind.as_str()));
        put(ADDRESS, Cell::Texts(&row.addresses));
        put(OS, text_cell(row.os.as_deref()));
        put(CREATED, time_cell(row.created));
        put(STARTED, time_cell(row.started));
        put(MANAGED, Cell::Text(row.managed.as_str()));
        put_fields(&row.fields, put);
        put(CPU, cpu_cell(row.cpu));
        put_networks(&row.networks, put);
    }

    fn patch_cells(patch: &VmPatch, put: Put<'_>) {
        if let Some(name) = &patch.name {
            put(NAME, Cell::Text(name));
        }
        if let Some(description) = &patch.description {
            put(DESCRIPTION, Cell::Text(description));
        }
        if let Some(power) = patch.power {
            put(POWER, Cell::Text(power.as_str()));
        }
        if let Some(host) = &patch.host {
            put_host(host.as_ref(), put);
        }
        if let Some(pool) = &patch.pool {
            put_pool(pool.as_ref(), put);
        }
        if let Some(tags) = &patch.tags {
            put(TAG, Cell::Texts(tags));
        }
        if let Some(memory) = patch.memory {
            put(MEMORY, Cell::Number(memory.mib()));
        }
        if let Some(vcpus) = patch.vcpus {
            put(VCPUS, if vcpus == 0 { Cell::None } else { Cell::Number(vcpus.into()) });
        }
        if let Some(addresses) = &patch.addresses {
            put(ADDRESS, Cell::Texts(addresses));
        }
        if let Some(os) = &patch.os {
            put(OS, text_cell(os.as_deref()));
        }
        if let Some(started) = patch.started {
            put(STARTED, time_cell(started));
        }
        if let Some(fields) = &patch.fields {
            put_fields(fields, put);
        }
        if let Some(cpu) = patch.cpu {
            put(CPU, cpu_cell(cpu));
        }
    }

    fn read(row: &RowView<'_>) -> VmRow {
        let field = |label: String| {
            let (key, value) = label.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        VmRow {
            id: VmId::from_bytes(row.id()),
            name: row.text(NAME),
            description: row.text(DESCRIPTION),
            power: row.str_if_any(POWER).and_then(Power::parse).unwrap_or(Power::Unknown),
            host: named(row, HOST, HOST_ID),
            pool: named(row, POOL, POOL_ID),
            tags: row.texts(TAG),
            memory: row.number(MEMORY).and_then(|mib| MemoryMiB::new(mib).ok()).unwrap_or_default(),
            vcpus: row.number(VCPUS).and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
            kind: row.str_if_any(KIND).and_then(Kind::parse).unwrap_or(Kind::Pvh),
            addresses: row.texts(ADDRESS),
            os: row.text_if_any(OS),
            created: row.number(CREATED).and_then(time_of),
            started: row.number(STARTED).and_then(time_of),
            managed: row.str_if_any(MANAGED).and_then(Managed::parse).unwrap_or(Managed::No),
            fields: row.texts(FIELDS).into_iter().filter_map(field).collect(),
            cpu: row.number(CPU).and_then(|cpu| u32::try_from(cpu).ok()),
            networks: row.texts(NETWORK_ID).iter().filter_map(|id| id.parse().ok()).collect(),
        }
    }
}

fn named<Id: std::str::FromStr>(row: &RowView<'_>, name: usize, id: usize) -> Option<Named<Id>> {
    let id = row.str_if_any(id)?.parse().ok()?;
    Some(Named { id, name: row.text(name) })
}
