//! Imports and waves.

use xenith_orchestrator_inventory::listing::{Cells, Listing, YES_NO};
use xenith_orchestrator_inventory::{ColumnKind, MatchBy, Schema, Unit};
use xenith_orchestrator_types::import::Import;
use xenith_orchestrator_types::wave::Wave;

use super::{of, text, whole};

pub struct ImportRow {
    pub import: Import,
    pub host: String,
    pub pool: String,
}

pub static IMPORT: Schema = Schema {
    noun: "import",
    default_sort: "-created",
    columns: &[
        text("name", "a part of the VM's name"),
        of("phase", ColumnKind::Shared(MatchBy::Whole), "how far it is, such as following"),
        whole("host", "the name of the host that it comes to"),
        whole("pool", "the name of the pool"),
        text("message", "a part of what it waits for, or of why it ended"),
        of("archived", ColumnKind::Choice(YES_NO), "whether it was archived"),
        of("created", ColumnKind::Number(Unit::Time), "when it began"),
        of("age", ColumnKind::Age("created"), "time since then, such as <1d"),
        of("ended", ColumnKind::Number(Unit::Time), "when it ended; none: it goes on"),
    ],
};

impl Listing for ImportRow {
    const SCHEMA: &'static Schema = &IMPORT;

    fn id(&self) -> [u8; 16] {
        *self.import.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Import { name, phase, message, archived, created, ended, .. } = &self.import;
        cells.text(name).text(phase.as_str()).text(&self.host).text(&self.pool);
        cells.text(message.as_deref().unwrap_or_default()).yes_no((*archived).into());
        cells.time(Some(*created)).time(*ended);
    }
}

pub struct WaveRow(pub Wave);

pub static WAVE: Schema = Schema {
    noun: "wave",
    default_sort: "created",
    columns: &[
        text("name", "a part of the name"),
        of("status", ColumnKind::Choice(&["planned", "running", "paused", "done"]), "how it is"),
        of("vms", ColumnKind::Number(Unit::Count), "how many VMs it has"),
        of("created", ColumnKind::Number(Unit::Time), "when it was put together"),
        of("age", ColumnKind::Age("created"), "time since then, such as <1d"),
        of("ended", ColumnKind::Number(Unit::Time), "when it was done; none: it is not"),
    ],
};

impl Listing for WaveRow {
    const SCHEMA: &'static Schema = &WAVE;

    fn id(&self) -> [u8; 16] {
        *self.0.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Wave { name, status, members, created, ended, .. } = &self.0;
        cells.text(name).text(status.as_str()).number(Some(members.len() as u64));
        cells.time(Some(*created)).time(*ended);
    }
}
