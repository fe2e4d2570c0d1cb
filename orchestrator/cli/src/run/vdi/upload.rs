//! A disk of this machine as a VDI: straight to its host, never through the orchestrator.

use std::time::{Duration, Instant};

use xenith_orchestrator_api::vdi;
use xenith_orchestrator_types::import::UploadTicket;
use xenith_orchestrator_types::vdi::{UploadVdi, VdiRef};

use crate::app::App;
use crate::cli::VdiUploadArgs;
use crate::error::CliError;
use crate::run::import::{read_file, send_all};
use crate::wait::{done, follow};

/// Until the host has its VDI and says where it takes it.
const READY: Duration = Duration::from_secs(120);

pub async fn run(app: &App, args: VdiUploadArgs) -> Result<(), CliError> {
    let (_, mut images) = read_file(&args.from).await?;
    let image = match (images.pop(), images.is_empty()) {
        (Some(image), true) => image,
        _ => {
            let problem = "this holds several disks; import it as a VM: xenith import upload";
            return Err(CliError::usage(problem));
        }
    };
    let request = UploadVdi { name: args.name, host: args.host, sr: args.sr, capacity: image.size() };
    let began = Instant::now();
    let started = app.change::<vdi::Upload>(&request, &args.tasked.keyed).await?;
    let id = started.object.clone().unwrap_or_default();
    if args.no_send {
        let people = format!("VDI {id} waits for its contents: xenith vdi upload-ticket {id}");
        return app.out.result(&started, &id, &people);
    }
    let ticket = ticket(app, &id, image.size()).await?;
    let sending = tokio::task::spawn_blocking(move || send_all(&ticket, vec![image]));
    let sent = sending.await.map_err(|error| CliError::usage(error.to_string()))?;
    if let Err(problem) = sent {
        let next = format!("the task waits for a day; stop it: xenith task cancel {}", started.task);
        return Err(CliError::Upload { problem, next });
    }
    let task = follow(app, started.task, args.tasked.timeout.map(Into::into)).await?;
    app.out.result(&task, &id, &done(&task, began.elapsed()))
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
