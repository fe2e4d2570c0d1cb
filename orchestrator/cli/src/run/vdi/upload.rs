//! A disk of this machine as a VDI: straight to its host, never through the orchestrator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_common_block::BlockSource;
use xenith_common_ids::TaskId;
use xenith_orchestrator_api::vdi;
use xenith_orchestrator_types::import::UploadTicket;
use xenith_orchestrator_types::vdi::{UploadVdi, VdiRef};

use crate::app::App;
use crate::cli::{FileArgs, VdiUploadArgs};
use crate::error::CliError;
use crate::run::import::{read_file, send_all};
use crate::wait::{done, follow};

/// Until the host has its VDI and says where it takes it.
const READY: Duration = Duration::from_secs(120);

pub async fn run(app: &App, args: VdiUploadArgs) -> Result<(), CliError> {
    let image = the_disk_in(&args.from).await?;
    let request = UploadVdi { name: args.name, host: args.host, sr: args.sr, capacity: image.size() };
    let started = app.change::<vdi::Upload>(&request, &args.tasked.keyed).await?;
    let id = started.object.clone().unwrap_or_default();
    if args.no_send {
        let people =
            format!("VDI {id} waits for its contents: xenith vdi send {id} {}", args.from.file.display());
        return app.out.result(&started, &id, &people);
    }
    fill(app, (started.task, id.as_str()), image, args.tasked.timeout.map(Into::into)).await
}

/// Goes on with one that was begun.
pub async fn send(app: &App, vdi: String, from: FileArgs) -> Result<(), CliError> {
    let image = the_disk_in(&from).await?;
    let found = app.call::<vdi::Get>(&VdiRef { vdi }).await?;
    let Some(task) = found.held_by else {
        return Err(CliError::usage(format!("VDI {} takes nothing: it is whole", found.name)));
    };
    if image.size().next_multiple_of(1 << 20) != found.size.bytes() {
        let problem = "this is not the file that the upload was begun with: their sizes differ";
        return Err(CliError::usage(problem));
    }
    fill(app, (task, found.id.to_string().as_str()), image, None).await
}

async fn the_disk_in(from: &FileArgs) -> Result<Arc<dyn BlockSource>, CliError> {
    let (_, mut images) = read_file(from).await?;
    match (images.pop(), images.is_empty()) {
        (Some(image), true) => Ok(image),
        _ => {
            let problem = "this holds several disks; import it as a VM: xenith import upload";
            Err(CliError::usage(problem))
        }
    }
}

async fn fill(
    app: &App,
    (task, id): (TaskId, &str),
    image: Arc<dyn BlockSource>,
    limit: Option<Duration>,
) -> Result<(), CliError> {
    let began = Instant::now();
    let ticket = ticket(app, id, image.size()).await?;
    let sending = tokio::task::spawn_blocking(move || send_all(&ticket, vec![image]));
    let sent = sending.await.map_err(|error| CliError::usage(error.to_string()))?;
    if let Err(problem) = sent {
        let next = format!(
            "the task waits for a day: xenith vdi send {id} FILE goes on; stop it: xenith task cancel {task}"
        );
        return Err(CliError::Upload { problem, next });
    }
    let task = follow(app, task, limit).await?;
    app.out.result(&task, id, &done(&task, began.elapsed()))
}

async fn ticket(app: &App, vdi: &str, capacity: u64) -> Result<UploadTicket, CliError> {
    let deadline = Instant::now() + READY;
    loop {
        match app.call::<vdi::UploadTicket>(&VdiRef { vdi: vdi.to_owned() }).await {
            Ok(mut ticket) => {
                for disk in &mut ticket.disks {
                    disk.capacity = capacity;
                }
                return Ok(ticket);
            }
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
