//! A VDI to another host, which has opened an upload for it ([`crate::import::upload`]).
//!
//! A connection that breaks is made again, and the sending goes on at the receiver's mark. Zeros do not travel, and what
//! does is compressed while that is faster, for a receiver that takes it; the receiver holds the contents against the
//! sender's digest before it calls them whole. A limit of the bandwidth is for what goes over the network.
//!
//! What changed in a VDI of which the receiver has a copy goes as a whole again: it is little, and taking it twice does no
//! harm.

use std::sync::Arc;
use std::time::Duration;

use reqwest::ClientBuilder;
use serde::de::DeserializeOwned;
use xenith_common_block::{BlockError, BlockSource};
use xenith_common_ids::VdiId;
use xenith_common_text::chain;
use xenith_hypervisor_agent_api::SendVdi;
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::upload::{
    Mark, PipeReader, PipeWriter, ReceivingHost, Reply, Takes, pipe, send as send_frames,
};

use super::changes::{self, Changes};
use super::pace::Paced;
use super::{cancelled, failed, way_to};
use crate::disk::Storage;
use crate::progress::Progress;

/// Of a receiver that restarts: each try waits longer, a minute in all.
const TRIES: u32 = 12;
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// Of changes: the last of them are sent while the VM stands.
const TRIES_OF_CHANGES: u32 = 3;
/// A receiver of changes that vanished without a word is given up after this.
const SILENCE: Duration = Duration::from_secs(60);

enum Failure {
    Passing(String),
    Final(Fault),
}

/// Blocks until the receiver says that it has everything.
pub fn send(storage: &Storage, order: &SendVdi, progress: &Arc<Progress>) -> Result<(), Fault> {
    let source = storage.open_source(order.vdi)?;
    let (host, url) = receiver(order, |http| http)?;
    again(order, (&**progress, TRIES), || once(&host, &url, order, (&source, progress)))
}

/// Blocks until the receiver says that its copy of `base` has become one of the VDI. Returns how much that was.
pub fn send_changes(
    storage: &Storage,
    order: &SendVdi,
    base: VdiId,
    progress: &Arc<Progress>,
) -> Result<u64, Fault> {
    let changes = Arc::new(Changes::between(storage, base, order.vdi)?);
    let impatient = |http: ClientBuilder| {
        let http = http.tcp_keepalive(SILENCE / 4).tcp_keepalive_interval(SILENCE / 4);
        http.tcp_keepalive_retries(3_u32).tcp_user_timeout(SILENCE)
    };
    let (host, url) = receiver(order, impatient)?;
    again(order, (&**progress, TRIES_OF_CHANGES), || {
        let (_, takes) = look(&host, &url, order)?;
        let (writer, pieces) = pipe();
        let (of, shown, bandwidth) = (Arc::clone(&changes), Arc::clone(progress), order.bandwidth);
        let reading = std::thread::spawn(move || read_changes(&of, (writer, takes), (bandwidth, &*shown)));
        let put = put(&host, &format!("{url}/changes"), order, pieces);
        let read = reading.join().map_err(|_| Failure::Passing("the reader died".to_owned()))?;
        if progress.check().is_err() {
            return Err(Failure::Final(cancelled()));
        }
        match (answer::<serde_json::Value>(put), read) {
            (Ok(_), Ok(given)) => Ok(given),
            // A connection that broke is what stopped the reader, too.
            (Err(failure), Ok(_) | Err(BlockError::Io { action: changes::SEND, .. })) => Err(failure),
            (_, Err(error)) => Err(Failure::Final(failed(error))),
        }
    })
}

fn read_changes(
    changes: &Changes,
    (writer, takes): (PipeWriter, Takes),
    (bandwidth, progress): (u64, &Progress),
) -> Result<u64, BlockError> {
    let (mut paced, total) = (Paced::new(writer, bandwidth, progress), changes.total());
    let mut step = |looked: u64| {
        progress.set(looked, total);
        progress.check()
    };
    let packing = takes.packing().map_err(|source| BlockError::Io {
        action: "compress",
        target: "the changes of a disk".to_owned(),
        offset: 0,
        source,
    })?;
    changes::send(changes, (&mut paced, packing), &mut step)
}

/// Until it is done, or is not worth another try.
fn again<T>(
    order: &SendVdi,
    (progress, most): (&Progress, u32),
    once: impl Fn() -> Result<T, Failure>,
) -> Result<T, Fault> {
    let mut tries = 0;
    loop {
        match once() {
            Ok(done) => return Ok(done),
            Err(Failure::Final(fault)) => return Err(fault),
            Err(Failure::Passing(problem)) => {
                progress.check().map_err(|_| cancelled())?;
                tries += 1;
                if tries == most {
                    let message =
                        format_args!("{} does not take VDI {}: {problem}", order.address, order.vdi);
                    return Err(Fault::new(FaultReason::NotReady, message));
                }
            }
        }
        std::thread::sleep(LONGEST_WAIT.min(Duration::from_millis(250) * tries));
    }
}

fn receiver(
    order: &SendVdi,
    with: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<(ReceivingHost, String), Fault> {
    let (http, base) = way_to(&order.address, &order.server_name, &order.authority_pem)?;
    let host = ReceivingHost::new(with(http));
    let host = host.map_err(|error| Fault::new(FaultReason::Internal, chain(&error)))?;
    Ok((host, format!("{base}/v1/vdis/{}", order.to)))
}

/// Blocks until the pieces end, and the host has said what it made of them.
fn put(host: &ReceivingHost, url: &str, order: &SendVdi, pieces: PipeReader) -> Result<Reply, ImportError> {
    host.ask(|http| http.put(url).bearer_auth(&order.ticket).body(pieces))
}

/// How far the receiver is, and which frames it takes.
fn look(host: &ReceivingHost, url: &str, order: &SendVdi) -> Result<(Mark, Takes), Failure> {
    let asked = host.ask(|http| http.get(url).bearer_auth(&order.ticket));
    let takes = asked.as_ref().map_or(Takes::Plain, |reply| reply.takes);
    Ok((answer(asked)?, takes))
}

fn once(
    host: &ReceivingHost,
    url: &str,
    order: &SendVdi,
    (source, progress): (&Arc<dyn BlockSource>, &Arc<Progress>),
) -> Result<(), Failure> {
    let (mark, takes) = look(host, url, order)?;
    if mark.whole {
        return Ok(());
    }
    let (writer, pieces) = pipe();
    let (disk, shown) = (Arc::clone(source), Arc::clone(progress));
    let bandwidth = order.bandwidth;
    let reading = std::thread::spawn(move || read(&*disk, (&mark, takes), writer, (bandwidth, &*shown)));
    let put = put(host, url, order, pieces);
    let read = reading.join().map_err(|_| Failure::Passing("the reader died".to_owned()))?;
    if progress.check().is_err() {
        return Err(Failure::Final(cancelled()));
    }
    let mark: Mark = match (answer(put), read) {
        (Ok(mark), _) => mark,
        // A connection that broke is what stopped the reader, too.
        (Err(failure), Ok(()) | Err(ImportError::Io { .. })) => return Err(failure),
        (Err(_), Err(error)) => {
            let message = format_args!("VDI {} cannot be read: {error}", order.vdi);
            return Err(Failure::Final(Fault::new(FaultReason::Internal, message)));
        }
    };
    if mark.whole { Ok(()) } else { Err(Failure::Passing("it was cut off".to_owned())) }
}

fn answer<T: DeserializeOwned>(reply: Result<Reply, ImportError>) -> Result<T, Failure> {
    let reply = reply.map_err(|error| Failure::Passing(chain(&error)))?;
    let status = reply.status;
    if status.is_success() {
        return reply.json().map_err(|error| Failure::Passing(chain(&error)));
    }
    let told = reply.problem();
    // A sender before us that is not noticed as gone yet, or a restart.
    if status.as_u16() == 409 || status.is_server_error() || told.contains("cut off") {
        return Err(Failure::Passing(told));
    }
    let reason = if status.as_u16() == 401 { FaultReason::NotReady } else { FaultReason::Internal };
    Err(Failure::Final(Fault::new(reason, format_args!("the receiving host says: {told}"))))
}

fn read(
    disk: &dyn BlockSource,
    (mark, takes): (&Mark, Takes),
    writer: PipeWriter,
    (bandwidth, progress): (u64, &Progress),
) -> Result<(), ImportError> {
    let (mut paced, total) = (Paced::new(writer, bandwidth, progress), disk.size());
    let mut step = |position: u64| {
        progress.set(position, total);
        progress.check().map_err(|_| ImportError::Cancelled)
    };
    send_frames(disk, (mark, takes), &mut paced, &mut step).map(drop)
}
