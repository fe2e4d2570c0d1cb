//! What a file is, and its disks on their way to their host. Everything here blocks.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use xenith_common_block::BlockSource;
use xenith_common_text::chain;
use xenith_orchestrator_types::import::UploadTicket;
use xenith_vmware_import::ImportError;
use xenith_vmware_import::upload::{Mark, Takes, pipe, send};
use xenith_vmware_import::vmdk::Plain;
use xenith_vmware_import::vmdk::image::Image;
use xenith_vmware_import::whole::{self, ManifestCheck, WholeOptions, WholeVm};

use super::file::PageFile;
use super::{Found, FoundDisk, FoundNic, Open, Told};
use crate::http::upload::{Host, Problem};

/// A host that restarts is back within these.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// The disks of an import, to be sent.
pub(super) struct Order {
    pub ticket: UploadTicket,
    pub known: Known,
}

/// What is known of the bytes that a host has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// The page has begun this import with this file: they need not be read and compared.
    OfThisFile,
    Nothing,
}

/// Reads what the file describes, tells it, waits for an order and carries it out. Ends when nobody is left who is told.
pub(super) fn work(
    file: PageFile,
    open: &Open,
    orders: &mut mpsc::Receiver<Order>,
    told: &mpsc::Sender<Told>,
) -> Result<(), Problem> {
    let options = WholeOptions {
        vm: open.vm.as_deref(),
        plain: if open.raw { Plain::Yes } else { Plain::ByName },
        manifest: if open.manifest { ManifestCheck::Done } else { ManifestCheck::Skipped },
    };
    let (vm, images) = whole::open_bytes(Arc::new(file), options).map_err(|error| of_file(&error))?;
    let _nobody_waits = told.blocking_send(Told::Found(found(vm, &images)));
    match orders.blocking_recv() {
        Some(order) => send_all(&order, &images, told),
        None => Err(Problem::Passing("the page has gone".to_owned())),
    }
}

fn found(vm: WholeVm, images: &[Image]) -> Found {
    let disk = |(name, image): (String, &Image)| FoundDisk { name, capacity: image.size() };
    let nic = |nic: whole::WholeNic| FoundNic { network: nic.network, mac: nic.mac };
    Found {
        name: vm.name,
        os: vm.os,
        vcpus: vm.vcpus,
        memory_mib: vm.memory_mib,
        efi: vm.efi,
        nics: vm.nics.into_iter().map(nic).collect(),
        disks: vm.disks.into_iter().zip(images).map(disk).collect(),
        warnings: vm.warnings,
    }
}

/// A file that is not what we read stays so; one whose page has gone is asked for again.
fn of_file(error: &ImportError) -> Problem {
    match error {
        ImportError::Io { .. } | ImportError::Block(_) | ImportError::Cancelled => {
            Problem::Passing(chain(error))
        }
        _ => Problem::File(chain(error)),
    }
}

fn send_all(order: &Order, images: &[Image], told: &mpsc::Sender<Told>) -> Result<(), Problem> {
    let disks = &order.ticket.disks;
    if !disks.iter().map(|disk| disk.capacity).eq(images.iter().map(BlockSource::size)) {
        let text = "these are not the disks that the import was begun with: their sizes differ";
        return Err(Problem::Final(text.to_owned()));
    }
    let total: u64 = disks.iter().map(|disk| disk.capacity).sum();
    let (mut before, mut shown) = (0, Instant::now());
    for (disk, image) in disks.iter().zip(images) {
        let host = Host::to(&order.ticket, disk.vdi)?;
        let mut progress = |at: u64| {
            if told.is_closed() {
                return Err(ImportError::Cancelled);
            }
            if shown.elapsed() >= SHOWN_EVERY {
                shown = Instant::now();
                // Who is behind with looking gets the next one.
                let _full = told.try_send(Told::Progress { done: before + at, total });
            }
            Ok(())
        };
        send_one(&host, image, order.known, &mut progress)?;
        before += disk.capacity;
    }
    Ok(())
}

/// Told the position reached; an error ends the sending.
type Progress<'a> = dyn FnMut(u64) -> Result<(), ImportError> + 'a;

/// Sends one disk from where its host is, until the host says that it is whole.
fn send_one(host: &Host, image: &Image, known: Known, progress: &mut Progress<'_>) -> Result<(), Problem> {
    let (mut ours, mut tries) = (known == Known::OfThisFile, 0_u32);
    loop {
        let mark = host.mark()?;
        if mark.whole {
            return Ok(());
        }
        ours = ours || mark.is_of(image).map_err(|error| of_file(&error))?;
        if !ours {
            let text = "what the host has is not of this file; send that one, or roll the import back";
            return Err(Problem::Final(text.to_owned()));
        }
        match put(host, image, &mark, progress) {
            Err(error) if !error.is_passing() || tries == TRIES => return Err(error),
            Ok(()) if tries == TRIES => {
                return Err(Problem::Passing("the host has not got everything".to_owned()));
            }
            // Whether anybody still looks.
            Ok(()) | Err(_) => progress(mark.done).map_err(|error| of_file(&error))?,
        }
        tries += 1;
        thread::sleep(PAUSE);
    }
}

fn put(host: &Host, image: &Image, mark: &Mark, progress: &mut Progress<'_>) -> Result<(), Problem> {
    let (mut writer, pieces) = pipe();
    let (sent, answer) = thread::scope(|scope| {
        let putting = scope.spawn(move || host.put(pieces));
        // The orchestrator's processors are for everybody.
        let sent = send(image, (mark, Takes::Plain), &mut writer, progress);
        // Its end is what the host waits for.
        drop(writer);
        (sent, putting.join())
    });
    let answer = answer.map_err(|_| Problem::Broken("sending a disk panicked".to_owned()))?;
    match (answer, sent) {
        (Ok(_), Ok(_)) => Ok(()),
        // What the host says about it comes first: a reader that found nobody to read for is its consequence.
        (Err(answer), Ok(_) | Err(ImportError::Io { .. })) => Err(answer),
        (_, Err(error)) => Err(of_file(&error)),
    }
}
