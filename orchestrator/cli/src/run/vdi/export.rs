//! A VDI into a file: straight from its host, never through the orchestrator.
//!
//! What is no zeros travels, with a digest at the end. The file is `NAME.xenith-part` until it is whole; the rename is
//! the commit point. Beside it lies how far it is (`NAME.xenith-part.json`), so that the same command made again goes
//! on there. A stream-optimised VMDK is written front to back and begins anew.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use xenith_common_ids::VdiId;
use xenith_common_image::{Target, TargetFormat};
use xenith_orchestrator_api::vdi;
use xenith_orchestrator_types::vdi::{ExportVdi, VdiDownload};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::upload::{Mark, Takes, receive};

use crate::app::App;
use crate::cli::{ExportArgs, ExportFormat};
use crate::error::CliError;
use crate::run::direct::to_host;
use crate::words;

const TRIES: u32 = 20;

/// How far an image is; beside it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    vdi: VdiId,
    size: u64,
    format: TargetFormat,
    checkpoint: u64,
    mark: Mark,
}

pub async fn run(app: &App, args: ExportArgs) -> Result<(), CliError> {
    let reference = ExportVdi { vdi: args.vdi.clone(), snapshot: args.snapshot.clone() };
    let ticket = app.call::<vdi::Export>(&reference).await?;
    let Some(file) = args.file.filter(|_| !args.ticket) else {
        return app.out.value(&ticket, || format!("{}\n", ticket.ticket));
    };
    let format = args.format.unwrap_or_else(|| ExportFormat::of_name(&file));
    if file.exists() {
        return Err(CliError::usage(format!("{} is there already", file.display())));
    }
    let began = Instant::now();
    let size = ticket.size.bytes();
    // What comes of the ticket while we work: it ends when nobody used it for an hour.
    let again = {
        let (client, handle) = (app.client().await?.clone(), Handle::current());
        move || {
            let asked = client.call::<vdi::Export>(&reference);
            handle.block_on(asked).map_err(|error| Failure::Final(error.to_string()))
        }
    };
    let shown = file.clone();
    let work = move || match format {
        ExportFormat::Vmdk => vmdk(&ticket, &file),
        ExportFormat::Raw => image(ticket, &file, TargetFormat::Raw, &again),
        ExportFormat::Qcow2 => image(ticket, &file, TargetFormat::Qcow2, &again),
        ExportFormat::Vhd => image(ticket, &file, TargetFormat::Vhd, &again),
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| CliError::usage(error.to_string()))?;
    done.map_err(|problem| CliError::Upload {
        problem,
        next: "the same command goes on where it was".to_owned(),
    })?;
    let took = began.elapsed().as_secs_f64();
    let said = format!("{}: {} in {took:.1} s", shown.display(), words::bytes(size));
    app.out.result(&shown.display().to_string(), &shown.display().to_string(), &said)
}

pub enum Failure {
    Passing(String),
    /// The ticket is over.
    Ticket,
    Final(String),
}

fn final_io(what: &str, path: &Path) -> impl Fn(io::Error) -> Failure {
    let text = format!("cannot {what} {}", path.display());
    move |error| Failure::Final(format!("{text}: {}", words::io(&error)))
}

pub fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn image(
    mut ticket: VdiDownload,
    file: &Path,
    format: TargetFormat,
    again: &impl Fn() -> Result<VdiDownload, Failure>,
) -> Result<(), String> {
    let mut tries = 0;
    loop {
        let failure = match once(&ticket, file, format) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        tries += 1;
        let problem = match failure {
            Failure::Final(problem) => return Err(problem),
            Failure::Passing(problem) => problem,
            Failure::Ticket => match again() {
                Ok(new) => {
                    ticket = new;
                    "the ticket was over".to_owned()
                }
                Err(Failure::Final(problem) | Failure::Passing(problem)) => return Err(problem),
                Err(Failure::Ticket) => return Err("the host takes no ticket".to_owned()),
            },
        };
        if tries == TRIES {
            return Err(problem);
        }
        std::thread::sleep(Duration::from_millis(500 * u64::from(tries.min(8))));
    }
}

fn once(ticket: &VdiDownload, file: &Path, format: TargetFormat) -> Result<(), Failure> {
    let (part_path, notes) = (beside(file, ".xenith-part"), beside(file, ".xenith-part.json"));
    let (target, mark) = open(ticket, (&part_path, &notes), format)?;
    let size = ticket.size.bytes();
    let mut response = ask(ticket, |http, base| {
        http.post(format!("{base}/frames")).header(Takes::HEADER, Takes::OURS).json(&mark)
    })?;
    let mut keep = |mark: &Mark| {
        let part =
            Part { vdi: ticket.vdi, size, format, checkpoint: target.checkpoint()?, mark: mark.clone() };
        let text = serde_json::to_vec(&part).map_err(io::Error::other);
        let whole = beside(&notes, ".new");
        text.and_then(|text| fs::write(&whole, text))
            .and_then(|()| fs::rename(&whole, &notes))
            .map_err(|source| ImportError::Io { action: "write", path: notes.display().to_string(), source })
    };
    receive(&mut response, &*target, (size, &mark), &mut keep).map_err(|error| match error {
        ImportError::Io { action: "receive", .. } | ImportError::Truncated { .. } => {
            Failure::Passing(error.to_string())
        }
        error => Failure::Final(error.to_string()),
    })?;
    target.finish().and_then(|()| target.flush()).map_err(|error| Failure::Final(error.to_string()))?;
    fs::rename(&part_path, file).map_err(final_io("rename", &part_path))?;
    let _left_over = fs::remove_file(&notes);
    Ok(())
}

/// What an earlier run left, where it is of the same VDI; otherwise a new image.
fn open(
    ticket: &VdiDownload,
    (part_path, notes): (&Path, &Path),
    format: TargetFormat,
) -> Result<(Arc<dyn Target>, Mark), Failure> {
    let failed = |error: xenith_common_block::BlockError| Failure::Final(error.to_string());
    let size = ticket.size.bytes();
    let kept = fs::read(notes).ok().and_then(|text| serde_json::from_slice::<Part>(&text).ok());
    if let Some(part) = kept.filter(|part| (part.vdi, part.size, part.format) == (ticket.vdi, size, format)) {
        let target = xenith_common_image::reopen(part_path, format, size, part.checkpoint).map_err(failed)?;
        return Ok((target, part.mark));
    }
    let _stale = fs::remove_file(part_path);
    let target = xenith_common_image::create(part_path, format, size).map_err(failed)?;
    Ok((target, Mark::default()))
}

fn vmdk(ticket: &VdiDownload, file: &Path) -> Result<(), String> {
    let part = beside(file, ".xenith-part");
    let work = || {
        let mut response = ask(ticket, |http, base| http.get(format!("{base}/vmdk")))?;
        let out = fs::File::create(&part).map_err(final_io("create", &part))?;
        let mut out = io::BufWriter::with_capacity(1 << 20, out);
        response.copy_to(&mut out).map_err(|error| Failure::Final(error.to_string()))?;
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(final_io("write", &part))?;
        fs::rename(&part, file).map_err(final_io("rename", &part))
    };
    let done = work();
    if done.is_err() {
        let _half = fs::remove_file(&part);
    }
    done.map_err(|failure| match failure {
        Failure::Final(problem) | Failure::Passing(problem) => problem,
        Failure::Ticket => "the host takes no ticket".to_owned(),
    })
}

pub fn ask(
    ticket: &VdiDownload,
    request: impl Fn(&Client, &str) -> reqwest::blocking::RequestBuilder,
) -> Result<Response, Failure> {
    let (http, host) =
        to_host(&ticket.address, &ticket.server_name, &ticket.authority_pem).map_err(Failure::Final)?;
    let answer =
        request(&http, &format!("{host}/v1/images/{}", ticket.vdi)).bearer_auth(&ticket.ticket).send();
    let response = answer.map_err(|error| Failure::Passing(error.to_string()))?;
    match response.status().as_u16() {
        200..300 => Ok(response),
        401 => Err(Failure::Ticket),
        status => {
            let told = response.json::<serde_json::Value>().ok();
            let told = told.and_then(|body| body["error"].as_str().map(ToOwned::to_owned));
            Err(Failure::Final(told.unwrap_or_else(|| format!("the host answers {status}"))))
        }
    }
}
