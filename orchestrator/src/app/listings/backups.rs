//! Repositories, backup jobs, their runs, what they made, and what follows or lacks it.

use xenith_orchestrator_inventory::listing::{Cells, Listing, YES_NO};
use xenith_orchestrator_inventory::{ColumnKind, Schema, Unit};
use xenith_orchestrator_types::backup::{
    Backup, BackupJob, Place, Repository, RunStatus, UnprotectedVm, WhyUnprotected,
};
use xenith_orchestrator_types::standby::{Standby, StandbyStatus};

use super::{of, text, whole};
use crate::runs::RunFacts;

pub struct RepositoryRow(pub Repository);

pub static REPOSITORY: Schema = Schema {
    noun: "repository",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        of("kind", ColumnKind::Choice(&["folder", "s3"]), "what it is kept in"),
        text("place", "a part of the path, or of the bucket and prefix"),
        text("problem", "a part of why the last check failed; none: it did not"),
        of("checked", ColumnKind::Number(Unit::Time), "when it was checked last"),
    ],
};

impl Listing for RepositoryRow {
    const SCHEMA: &'static Schema = &REPOSITORY;

    fn id(&self) -> [u8; 16] {
        *self.0.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Repository { name, place, problem, checked, .. } = &self.0;
        let (kind, place) = match place {
            Place::Folder { path } => ("folder", path.clone()),
            Place::S3 { bucket, prefix, .. } => ("s3", format!("{bucket}/{prefix}")),
        };
        cells.text(name).text(kind).text(place);
        cells.text(problem.as_deref().unwrap_or_default()).time(*checked);
    }
}

pub struct BackupJobRow {
    pub job: BackupJob,
    /// By name.
    pub repositories: Vec<String>,
}

pub static BACKUP_JOB: Schema = Schema {
    noun: "backup_job",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        of("enabled", ColumnKind::Choice(YES_NO), "whether it runs by its schedule"),
        text("schedule", "a part of the schedule; none: it runs by hand"),
        of("repository", ColumnKind::Labels, "the name of a repository that it backs up to"),
        of("last_run", ColumnKind::Number(Unit::Time), "when it ran last; none: never"),
        of("next_run", ColumnKind::Number(Unit::Time), "when it runs next; none: only by hand"),
    ],
};

impl Listing for BackupJobRow {
    const SCHEMA: &'static Schema = &BACKUP_JOB;

    fn id(&self) -> [u8; 16] {
        *self.job.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let settings = &self.job.settings;
        cells.text(&settings.name).yes_no(settings.enabled.into()).text(&settings.schedule);
        cells.texts(&self.repositories).time(self.job.last_run).time(self.job.next_run);
    }
}

pub struct RunRow(pub RunFacts);

pub static BACKUP_RUN: Schema = Schema {
    noun: "backup_run",
    default_sort: "-started",
    columns: &[
        whole("job", "the name of its job"),
        of("status", ColumnKind::Choice(RunStatus::NAMES), "how far it is, or how it ended"),
        of("started", ColumnKind::Number(Unit::Time), "when it began, such as >2026-01-31"),
        of("age", ColumnKind::Age("started"), "time since then, such as <1d"),
        of("ended", ColumnKind::Number(Unit::Time), "when it ended; none: it goes on"),
    ],
};

impl Listing for RunRow {
    const SCHEMA: &'static Schema = &BACKUP_RUN;

    fn id(&self) -> [u8; 16] {
        *self.0.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let RunFacts { job_name, status, started, ended, .. } = &self.0;
        cells.text(job_name).text(status.as_str()).time(Some(*started)).time(*ended);
    }
}

pub struct BackupRow {
    pub backup: Backup,
    /// Milliseconds since 1970: several may be made in a second, and the newest comes first.
    pub created: u64,
    /// That made it, by its name.
    pub host: String,
}

pub static BACKUP: Schema = Schema {
    noun: "backup",
    default_sort: "-created",
    columns: &[
        text("vm", "a part of the VM's name"),
        text("backup", "a part of its id in the repository"),
        whole("repository", "the name of the repository"),
        whole("host", "the name of the host that made it"),
        of("created", ColumnKind::Number(Unit::Time), "when it was made, such as >2026-01-31"),
        of("age", ColumnKind::Age("created"), "time since then, such as <7d"),
        of("size", ColumnKind::Number(Unit::Memory), "of its disks, such as >100GiB"),
        of("stored", ColumnKind::Number(Unit::Memory), "what it added to the repository, such as >1GiB"),
        of("held", ColumnKind::Choice(YES_NO), "whether no rule touches it"),
        of("proof", ColumnKind::Choice(PROOF), "what its last proof showed; none: it had none"),
    ],
};

const PROOF: &[&str] = &["boots", "failed"];

impl Listing for BackupRow {
    const SCHEMA: &'static Schema = &BACKUP;

    fn id(&self) -> [u8; 16] {
        // A backup's id is its own within its repository only.
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.backup.repository.as_bytes()).update(self.backup.id.as_bytes());
        *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Backup { id, repository_name, vm_name, disks, held, proof, .. } = &self.backup;
        let mib = |bytes: u64| Some(bytes.div_ceil(1 << 20));
        cells.text(vm_name).text(id).text(repository_name).text(&self.host);
        cells.number(Some(self.created));
        cells.number(mib(disks.iter().map(|disk| disk.size).sum()));
        cells.number(mib(disks.iter().map(|disk| disk.stored).sum()));
        cells.yes_no((*held).into());
        cells.text(proof.as_ref().map_or("", |proof| PROOF[usize::from(!proof.answered)]));
    }
}

pub struct UnprotectedRow(pub UnprotectedVm);

pub static UNPROTECTED: Schema = Schema {
    noun: "unprotected",
    default_sort: "vm",
    columns: &[
        text("vm", "a part of the VM's name"),
        of("why", ColumnKind::Choice(WhyUnprotected::NAMES), "what is missing"),
        of("newest", ColumnKind::Number(Unit::Time), "when its newest backup was made; none: it has none"),
        of("age", ColumnKind::Age("newest"), "time since then, such as >7d"),
    ],
};

impl Listing for UnprotectedRow {
    const SCHEMA: &'static Schema = &UNPROTECTED;

    fn id(&self) -> [u8; 16] {
        *self.0.vm.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let UnprotectedVm { name, why, newest, .. } = &self.0;
        cells.text(name).text(why.as_str()).time(*newest);
    }
}

pub struct StandbyRow {
    pub standby: Standby,
    /// Where it is, by its name.
    pub host: String,
}

pub static STANDBY: Schema = Schema {
    noun: "standby",
    default_sort: "name",
    columns: &[
        text("name", "a part of its name"),
        text("of", "a part of the name of the VM that it stands by for; none: that was deleted"),
        of("status", ColumnKind::Choice(StandbyStatus::NAMES), "whether it can take over"),
        whole("repository", "the name of the repository that it follows"),
        whole("host", "the name of its host"),
        of(
            "holds",
            ColumnKind::Number(Unit::Time),
            "when the backup was made that it holds; none: it holds none",
        ),
        of("age", ColumnKind::Age("holds"), "time since then, such as >1d"),
        of("newest", ColumnKind::Number(Unit::Time), "when the newest backup was made that it could hold"),
    ],
};

impl Listing for StandbyRow {
    const SCHEMA: &'static Schema = &STANDBY;

    fn id(&self) -> [u8; 16] {
        *self.standby.vm.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Standby { name, of_name, status, repository_name, backup_created, newest, .. } = &self.standby;
        cells.text(name).text(of_name.as_deref().unwrap_or_default()).text(status.as_str());
        cells.text(repository_name).text(&self.host).time(*backup_created).time(*newest);
    }
}
