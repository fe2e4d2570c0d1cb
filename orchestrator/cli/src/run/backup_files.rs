//! Files of backups.

use std::fs::File;
use std::io;
use std::path::Path;

use xenith_hypervisor_agent_types::backup::{ArchiveKind, BackupFile, BackupFileKind, BackupVolume};
use xenith_orchestrator_api::backup;
use xenith_orchestrator_types::backup::{BackupFiles, DownloadFiles, DownloadTicket, ListBackupFiles};

use crate::app::App;
use crate::cli::{Columns, WhichBackup};
use crate::error::CliError;
use crate::run::direct::to_host;
use crate::table::{Cell, Column, Row};
use crate::words;

impl Row for BackupVolume {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("volume", |volume, _| Cell::new(&volume.name)),
            Column::new("size", |volume, _| Cell::new(words::bytes(volume.size))),
            Column::new("filesystem", |volume, _| {
                Cell::new(volume.filesystem.as_deref().unwrap_or("unknown"))
            }),
            Column::new("problem", |volume, _| Cell::new(volume.unreadable.as_deref().unwrap_or_default())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Row for BackupFile {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("mode", |file, _| Cell::new(format!("{:04o}", file.mode))),
            Column::new("size", |file, _| Cell::new(words::bytes(file.size))),
            // A name may hold what a terminal obeys.
            Column::new("name", |file, _| {
                let mark = match file.kind {
                    BackupFileKind::Folder => "/",
                    BackupFileKind::Link => "@",
                    BackupFileKind::Other => "?",
                    BackupFileKind::File => "",
                };
                Cell::new(format!("{}{mark}", file.name.escape_debug()))
            }),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.name.clone()
    }
}

/// Which backup, where in it, and which of its disks.
type Where<At> = (WhichBackup, At, Option<String>);

pub async fn list(
    app: &App,
    (which, at, disk): Where<Option<String>>,
    columns: &Columns,
) -> Result<(), CliError> {
    let WhichBackup { backup, repository } = which;
    let mut request = ListBackupFiles { backup, repository, disk, at, after: None };
    let BackupFiles { volumes, mut entries, mut more, .. } = app.call::<backup::Files>(&request).await?;
    if request.at.is_none() {
        return super::print(app, &volumes, columns).await;
    }
    while more {
        request.after = entries.last().map(|entry| entry.name.clone());
        let page = app.call::<backup::Files>(&request).await?;
        more = page.more && !page.entries.is_empty();
        entries.extend(page.entries);
    }
    super::print(app, &entries, columns).await
}

pub async fn ticket(app: &App, (which, at, disk): Where<String>) -> Result<(), CliError> {
    let WhichBackup { backup, repository } = which;
    let request = DownloadFiles { backup, repository, disk, at, archive: ArchiveKind::Zip };
    let ticket = app.call::<backup::Download>(&request).await?;
    app.out.value(&ticket, || format!("{}\nhttps://{}/v1/files\n", ticket.ticket, ticket.address))
}

pub async fn download(app: &App, (which, at, disk): Where<String>, to: &Path) -> Result<(), CliError> {
    let archive = match to.extension().and_then(|ending| ending.to_str()) {
        Some("zip") => ArchiveKind::Zip,
        Some("tar") => ArchiveKind::Tar,
        _ => return Err(CliError::usage(format!("{} names neither a .zip nor a .tar", to.display()))),
    };
    // Before a ticket is used up.
    let file = File::options().write(true).create_new(true).open(to);
    let mut file = file
        .map_err(|error| CliError::usage(format!("cannot create {}: {}", to.display(), words::io(&error))))?;
    let WhichBackup { backup, repository } = which;
    let request = DownloadFiles { backup, repository, disk, at, archive };
    let fetched = match app.call::<backup::Download>(&request).await {
        Ok(ticket) => {
            let fetching = tokio::task::spawn_blocking(move || fetch(&ticket, &mut file)).await;
            fetching.map_err(|error| error.to_string()).and_then(|fetched| fetched).map_err(CliError::usage)
        }
        Err(error) => Err(error),
    };
    let bytes = match fetched {
        Ok(bytes) => bytes,
        Err(error) => {
            // Half an archive would be taken for a whole one.
            let _only_a_left_over = std::fs::remove_file(to);
            return Err(error);
        }
    };
    app.out.line(&format!("{}: {}", to.display(), words::bytes(bytes)))
}

fn fetch(ticket: &DownloadTicket, to: &mut File) -> Result<u64, String> {
    let (http, host) = to_host(&ticket.address, &ticket.server_name, &ticket.authority_pem)?;
    let url = format!("{host}/v1/files");
    let mut answer = http.get(url).bearer_auth(&ticket.ticket).send().map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        let status = answer.status();
        return Err(format!("the host answered {status}: {}", answer.text().unwrap_or_default()));
    }
    io::copy(&mut answer, to).map_err(|error| format!("it broke off: {}", words::io(&error)))
}
