//! Sending disks to the host that takes them: straight there, never through the orchestrator.
//!
//! A connection that breaks is made again, and the sending goes on at the receiver's mark. When it cannot be made
//! again, the import waits for a day: `xenith import send` goes on.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use xenith_common_block::BlockSource;
use xenith_common_text::chain;
use xenith_orchestrator_api::import;
use xenith_orchestrator_types::import::{Import, ImportPhase, ImportRef, UploadTicket};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::upload::{
    Mark, PipeWriter, ReceivingHost, Reply, Takes, pipe, send as send_frames,
};

use crate::app::App;
use crate::error::CliError;
use crate::live::LiveRegion;
use crate::run::direct::to_receiving_host;
use crate::words;

/// Whoever has the contents of a disk.
pub type Disk = Arc<dyn BlockSource>;

/// Until the host has its VDIs and says where it takes them.
const READY: Duration = Duration::from_secs(120);
const TRIES: u32 = 20;

/// Sends all disks of an import. They have to be those that it was begun with.
pub async fn send(app: &App, reference: &str, images: Vec<Disk>) -> Result<Import, CliError> {
    let reference = ImportRef { import: reference.to_owned() };
    let ticket = ticket(app, &reference).await?;
    let sizes: Vec<u64> = images.iter().map(|disk| disk.size()).collect();
    if sizes != ticket.disks.iter().map(|disk| disk.capacity).collect::<Vec<_>>() {
        return Err(CliError::usage(
            "these are not the disks that the import was begun with: their sizes differ",
        ));
    }
    let sending = tokio::task::spawn_blocking(move || send_all(&ticket, images));
    let sent = sending.await.map_err(|error| CliError::usage(error.to_string()))?;
    if let Err(error) = sent {
        let next = format!("the import waits for a day: xenith import send {} FILE", reference.import);
        return Err(CliError::Upload { problem: error, next });
    }
    app.call::<import::Get>(&reference).await
}

async fn ticket(app: &App, reference: &ImportRef) -> Result<UploadTicket, CliError> {
    let deadline = Instant::now() + READY;
    loop {
        let import = app.call::<import::Get>(reference).await?;
        if import.phase == ImportPhase::Uploading {
            match app.call::<import::Ticket>(reference).await {
                Ok(ticket) => return Ok(ticket),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
        } else if import.phase != ImportPhase::Preparing || Instant::now() > deadline {
            let state = import.message.unwrap_or_else(|| format!("it is {}", import.phase.as_str()));
            return Err(CliError::usage(format!("the import of {} takes no upload: {state}", import.name)));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

struct Host<'a> {
    http: ReceivingHost,
    base: String,
    ticket: &'a UploadTicket,
}

pub fn send_all(ticket: &UploadTicket, images: Vec<Disk>) -> Result<(), String> {
    let (http, host) = to_receiving_host(&ticket.address, &ticket.server_name, &ticket.authority_pem)?;
    let host = Host { http, base: format!("{host}/v1/vdis"), ticket };
    let mut progress = Progress::new(images.iter().map(|disk| disk.size()).sum());
    for (disk, image) in ticket.disks.iter().zip(images) {
        let (mut tries, mut ours) = (0, false);
        loop {
            match one(&host, &disk.vdi.to_string(), &image, (&mut ours, &mut progress)) {
                Ok(()) => break,
                Err(Failure::Final(problem)) => return Err(format!("{}: {problem}", disk.name)),
                Err(Failure::Passing(problem)) if tries == TRIES => {
                    return Err(format!("{}: {problem}", disk.name));
                }
                Err(Failure::Passing(_)) => tries += 1,
            }
            // Half a second, then more, a minute in all for a host that restarts.
            std::thread::sleep(Duration::from_millis(500 * u64::from(tries.min(8))));
        }
        progress.before += image.size();
    }
    progress.clear();
    Ok(())
}

enum Failure {
    Passing(String),
    Final(String),
}

/// Sends one disk from where it is; done when the host says that it is whole. `ours` is set when what the host has is of
/// this image: somebody before us may have sent another one.
fn one(
    host: &Host<'_>,
    vdi: &str,
    image: &Disk,
    (ours, progress): (&mut bool, &mut Progress),
) -> Result<(), Failure> {
    let url = format!("{}/{vdi}", host.base);
    let asked = host.http.ask(|http| http.get(&url).bearer_auth(&host.ticket.ticket));
    let takes = asked.as_ref().map_or(Takes::Plain, |reply| reply.takes);
    let mark: Mark = answer(asked)?;
    if mark.whole {
        return Ok(());
    }
    if !*ours {
        *ours = mark.is_of(&**image).map_err(|error| Failure::Final(chain(&error)))?;
    }
    if !*ours {
        let problem = "this is not what the first part was sent of; send that file, or begin anew";
        return Err(Failure::Final(problem.to_owned()));
    }
    let (writer, pieces) = pipe();
    let (positions, heard) = sync_channel(16);
    let (image, start) = (Arc::clone(image), mark.clone());
    let reading = std::thread::spawn(move || read(&*image, (&start, takes), writer, &positions));
    let (http, ticket) = (host.http.clone(), host.ticket.ticket.clone());
    let putting =
        std::thread::spawn(move || http.ask(|http| http.put(&url).bearer_auth(ticket).body(pieces)));
    while let Ok(position) = heard.recv() {
        progress.show(position);
    }
    let read = reading.join().map_err(|_| Failure::Final("the reader died".to_owned()))?;
    let put = putting.join().map_err(|_| Failure::Final("the sender died".to_owned()))?;
    match (answer::<Mark>(put), read) {
        (Ok(mark), _) if mark.whole => Ok(()),
        // What the host says about it comes first; a reader that found nobody to read for is its consequence.
        (Err(failure), Ok(()) | Err(ImportError::Cancelled | ImportError::Io { .. })) => Err(failure),
        (_, Err(error)) => Err(Failure::Final(chain(&error))),
        (Ok(_), Ok(())) => Err(Failure::Passing("the host has not got everything".to_owned())),
    }
}

fn answer<T: serde::de::DeserializeOwned>(reply: Result<Reply, ImportError>) -> Result<T, Failure> {
    let reply = reply.map_err(|error| Failure::Passing(chain(&error)))?;
    let status = reply.status;
    if status.is_success() {
        return reply.json().map_err(|error| Failure::Passing(chain(&error)));
    }
    let told = reply.problem();
    // The host hears of a new ticket a moment after we do; a sender that broke off is noticed a moment later.
    let passing =
        matches!(status.as_u16(), 401 | 409) || status.is_server_error() || told.contains("cut off");
    Err(if passing { Failure::Passing(told) } else { Failure::Final(told) })
}

fn read(
    image: &dyn BlockSource,
    (mark, takes): (&Mark, Takes),
    mut writer: PipeWriter,
    positions: &SyncSender<u64>,
) -> Result<(), ImportError> {
    let mut progress = |position| {
        // Nobody has to look.
        let _full = positions.try_send(position);
        Ok(())
    };
    send_frames(image, (mark, takes), &mut writer, &mut progress).map(drop)
}

/// A line for people, on a terminal.
struct Progress {
    total: u64,
    /// Bytes of the disks that were sent already.
    before: u64,
    began: Instant,
    region: Option<LiveRegion<io::Stderr>>,
    drawn: Instant,
}

impl Progress {
    fn new(total: u64) -> Self {
        let region = io::stderr().is_terminal().then(LiveRegion::on_stderr);
        Self { total, before: 0, began: Instant::now(), region, drawn: Instant::now() }
    }

    fn show(&mut self, position: u64) {
        if self.drawn.elapsed() < Duration::from_millis(200) {
            return;
        }
        self.drawn = Instant::now();
        let done = self.before + position;
        let percent = done * 100 / self.total.max(1);
        let (sent, total) = (words::bytes(done), words::bytes(self.total));
        let line =
            format!("Sending  {percent:>3}%  {sent} of {total}  {}", words::roughly(self.began.elapsed()));
        if let Some(region) = &mut self.region {
            let _nobody_looks = region.draw(&[line]);
        }
    }

    fn clear(&mut self) {
        if let Some(region) = &mut self.region {
            let _nobody_looks = region.clear();
        }
    }
}
