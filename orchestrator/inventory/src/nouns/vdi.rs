//! The rows of the VDI list.
//!
//! Only what is filtered by and sorted by: the list shows the records themselves.

use xenith_common_ids::VdiId;

use super::{text_cell, words};
use crate::schema::{Cell, ColumnKind, ColumnSpec, MatchBy, Noun, RowView, Schema, Searched, Unit};

words! {
    /// Whether a VM has it.
    Attached {
        Yes = "yes",
        No = "no",
    }
}

/// One VDI as lists filter it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VdiRow {
    pub id: VdiId,
    pub name: String,
    /// In MiB, rounded up.
    pub size: u64,
    pub host: Option<String>,
    pub pool: Option<String>,
    /// The id of the SR.
    pub sr: Option<String>,
    /// The name of the VM that has it.
    pub vm: Option<String>,
    pub attached: Attached,
    /// Of the VM that has it: who sees the VM by its tag sees its disks.
    pub tags: Vec<String>,
}

const NAME: usize = 0;
const SIZE: usize = 1;
const HOST: usize = 2;
const POOL: usize = 3;
const SR: usize = 4;
const VM: usize = 5;
const ATTACHED: usize = 6;
const TAG: usize = 7;

use Searched::{No, Yes};

const fn column(name: &'static str, kind: ColumnKind, searched: Searched, help: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, searched, help }
}

/// In the order of the constants above.
static SCHEMA: Schema = Schema {
    noun: "vdi",
    default_sort: "name",
    columns: &[
        column("name", ColumnKind::Text, Yes, "a part of the name"),
        column("size", ColumnKind::Number(Unit::Memory), No, "the size, such as >100GiB"),
        column("host", ColumnKind::Shared(MatchBy::Whole), Yes, "the name of the host that has it"),
        column("pool", ColumnKind::Shared(MatchBy::Whole), No, "the name of the pool"),
        column("sr", ColumnKind::Shared(MatchBy::Whole), No, "the id of the SR"),
        column("vm", ColumnKind::Text, Yes, "a part of the name of the VM that has it"),
        column("attached", ColumnKind::Choice(Attached::WORDS), No, "whether a VM has it"),
        column("tag", ColumnKind::Labels, Yes, "a tag of the VM that has it"),
    ],
};

/// The noun.
#[derive(Debug)]
pub enum Vdis {}

/// Records change as a whole.
#[derive(Debug)]
pub enum VdiPatch {}

impl Noun for Vdis {
    type Row = VdiRow;
    type Patch = VdiPatch;
    type Id = VdiId;

    const SCHEMA: &'static Schema = &SCHEMA;

    fn id_of(row: &VdiRow) -> VdiId {
        row.id
    }

    fn id_bytes(id: VdiId) -> [u8; 16] {
        *id.as_bytes()
    }

    fn id_from(bytes: [u8; 16]) -> VdiId {
        VdiId::from_bytes(bytes)
    }

    fn row_cells(row: &VdiRow, put: &mut dyn FnMut(usize, Cell<'_>)) {
        put(NAME, Cell::Text(&row.name));
        put(SIZE, Cell::Number(row.size));
        put(HOST, text_cell(row.host.as_deref()));
        put(POOL, text_cell(row.pool.as_deref()));
        put(SR, text_cell(row.sr.as_deref()));
        put(VM, text_cell(row.vm.as_deref()));
        put(ATTACHED, Cell::Text(row.attached.as_str()));
        put(TAG, Cell::Texts(&row.tags));
    }

    fn patch_cells(patch: &VdiPatch, _: &mut dyn FnMut(usize, Cell<'_>)) {
        match *patch {}
    }

    fn read(row: &RowView<'_>) -> VdiRow {
        VdiRow {
            id: VdiId::from_bytes(row.id()),
            name: row.text(NAME),
            size: row.number(SIZE).unwrap_or_default(),
            host: row.text_if_any(HOST),
            pool: row.text_if_any(POOL),
            sr: row.text_if_any(SR),
            vm: row.text_if_any(VM),
            attached: row.str_if_any(ATTACHED).and_then(Attached::parse).unwrap_or(Attached::No),
            tags: row.texts(TAG),
        }
    }
}
