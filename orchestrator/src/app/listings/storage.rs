//! SRs, the images of ISO libraries, templates and fragments, snapshots.

use xenith_hypervisor_agent_types::SrSpec;
use xenith_orchestrator_inventory::listing::{Cells, Listing, YES_NO};
use xenith_orchestrator_inventory::{ColumnKind, Schema, Unit};
use xenith_orchestrator_types::fragment::Fragment;
use xenith_orchestrator_types::snapshot::Snapshot;
use xenith_orchestrator_types::sr::{Sr, SrContent};
use xenith_orchestrator_types::template::Template;
use xenith_orchestrator_types::vdi::Vdi;

use super::{of, part, text, whole};

/// Rounded up, as memory and sizes are filtered.
const fn mib(bytes: u64) -> Option<u64> {
    Some(bytes.div_ceil(1 << 20))
}

pub struct SrRow {
    pub sr: Sr,
    pub pool: String,
    /// By name.
    pub hosts: Vec<String>,
}

pub static SR: Schema = Schema {
    noun: "sr",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        of("kind", ColumnKind::Choice(&["local", "folder", "nfs", "lvm-thin"]), "what it is kept in"),
        of("content", ColumnKind::Choice(&["vms", "iso"]), "what it is for"),
        whole("pool", "the name of the pool"),
        of("host", ColumnKind::Labels, "the name of a host that has it"),
        of("vdis", ColumnKind::Number(Unit::Count), "how many VDIs are known in it"),
        of("size", ColumnKind::Number(Unit::Memory), "all of it, such as >1TiB"),
        of("free", ColumnKind::Number(Unit::Memory), "what may still be written, such as <10GiB"),
        text("problem", "a part of why it cannot be used; none: it can"),
    ],
};

impl Listing for SrRow {
    const SCHEMA: &'static Schema = &SR;

    fn id(&self) -> [u8; 16] {
        *self.sr.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Sr { name, spec, content, vdis, space, problem, .. } = &self.sr;
        let kind = match spec {
            None => "local",
            Some(SrSpec::Folder { .. }) => "folder",
            Some(SrSpec::Nfs { .. }) => "nfs",
            Some(SrSpec::LvmThin { .. }) => "lvm-thin",
        };
        let content = match content {
            SrContent::Vms => "vms",
            SrContent::Iso => "iso",
        };
        cells.text(name).text(kind).text(content).text(&self.pool).texts(&self.hosts);
        cells.number(Some(*vdis));
        cells
            .number(space.and_then(|space| mib(space.total)))
            .number(space.and_then(|space| mib(space.free)));
        cells.text(problem.as_deref().unwrap_or_default());
    }
}

pub struct IsoRow {
    pub vdi: Vdi,
    /// The name of its SR.
    pub library: String,
    pub host: String,
}

pub static ISO: Schema = Schema {
    noun: "iso",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        of("size", ColumnKind::Number(Unit::Memory), "the size, such as >1GiB"),
        whole("sr", "the name of the library"),
        whole("host", "the name of the host that has it"),
    ],
};

impl Listing for IsoRow {
    const SCHEMA: &'static Schema = &ISO;

    fn id(&self) -> [u8; 16] {
        *self.vdi.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        cells.text(&self.vdi.name).number(mib(self.vdi.size.bytes())).text(&self.library).text(&self.host);
    }
}

pub struct TemplateRow {
    pub template: Template,
    pub host: String,
    pub pool: String,
}

pub static TEMPLATE: Schema = Schema {
    noun: "template",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        text("description", "a part of the description"),
        of("kind", ColumnKind::Choice(&["pv", "pvh", "hvm"]), "the kind of guest"),
        whole("pool", "the name of the pool"),
        whole("host", "the name of the host that has its disks"),
        of("ready", ColumnKind::Choice(YES_NO), "whether its disks are complete"),
        of("created", ColumnKind::Number(Unit::Time), "when it was made"),
        of("age", ColumnKind::Age("created"), "time since then, such as >30d"),
    ],
};

impl Listing for TemplateRow {
    const SCHEMA: &'static Schema = &TEMPLATE;

    fn id(&self) -> [u8; 16] {
        *self.template.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Template { name, description, platform, ready, created, .. } = &self.template;
        cells.text(name).text(description).text(platform.kind().as_str());
        cells.text(&self.pool).text(&self.host).yes_no((*ready).into()).time(Some(*created));
    }
}

pub struct FragmentRow {
    pub fragment: Fragment,
    pub pool: String,
}

pub static FRAGMENT: Schema = Schema {
    noun: "fragment",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        text("description", "a part of the description"),
        of(
            "kind",
            ColumnKind::Choice(&["cloud_config", "script", "boothook"]),
            "what cloud-init does with it",
        ),
        whole("pool", "the name of the pool"),
        of("changed", ColumnKind::Number(Unit::Time), "when its text was written"),
        of("age", ColumnKind::Age("changed"), "time since then, such as >30d"),
    ],
};

impl Listing for FragmentRow {
    const SCHEMA: &'static Schema = &FRAGMENT;

    fn id(&self) -> [u8; 16] {
        *self.fragment.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Fragment { name, description, kind, changed, .. } = &self.fragment;
        cells.text(name).text(description).text(kind.as_str()).text(&self.pool).time(Some(*changed));
    }
}

pub struct SnapshotRow {
    pub snapshot: Snapshot,
    /// By name.
    pub vm: String,
    pub host: String,
}

pub static SNAPSHOT: Schema = Schema {
    noun: "snapshot",
    default_sort: "created",
    columns: &[
        text("name", "a part of the name"),
        text("description", "a part of the description"),
        part("vm", "a part of the VM's name"),
        whole("host", "the name of the host that has its disks"),
        of("current", ColumnKind::Choice(YES_NO), "whether the VM goes on from it"),
        of("created", ColumnKind::Number(Unit::Time), "when it was taken"),
        of("age", ColumnKind::Age("created"), "time since then, such as >30d"),
    ],
};

impl Listing for SnapshotRow {
    const SCHEMA: &'static Schema = &SNAPSHOT;

    fn id(&self) -> [u8; 16] {
        *self.snapshot.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Snapshot { name, description, current, created, .. } = &self.snapshot;
        cells.text(name).text(description).text(&self.vm).text(&self.host);
        cells.yes_no((*current).into()).time(Some(*created));
    }
}
