//! Repositories and backup jobs.

use xenith_orchestrator_inventory::listing::{Cells, Listing, YES_NO};
use xenith_orchestrator_inventory::{ColumnKind, Schema, Unit};
use xenith_orchestrator_types::backup::{BackupJob, Place, Repository};

use super::{of, text};

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
