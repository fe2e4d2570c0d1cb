//! A VDI to another host, which has opened an upload for it ([`crate::import::upload`]).
//!
//! A connection that breaks is made again, and the sending goes on at the receiver's mark. Zeros do not travel; the
//! receiver holds the contents against the sender's digest before it calls them whole.

use std::io::BufWriter;
use std::sync::Arc;
use std::time::Duration;

use reqwest::blocking::{Body, Client, Response};
use xenith_common_block::BlockSource;
use xenith_common_text::chain;
use xenith_hypervisor_agent_api::SendVdi;
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::upload::{Mark, PipeWriter, pipe, send as send_frames};

use super::{cancelled, way_to};
use crate::disk::Storage;
use crate::progress::Progress;

/// Of a receiver that restarts: each try waits longer, a minute in all.
const TRIES: u32 = 12;
const LONGEST_WAIT: Duration = Duration::from_secs(8);

enum Failure {
    Passing(String),
    Final(Fault),
}

/// Blocks until the receiver says that it has everything.
pub fn send(storage: &Storage, order: &SendVdi, progress: &Arc<Progress>) -> Result<(), Fault> {
    let source = storage.open_source(order.vdi)?;
    let (http, url) = client(order)?;
    let mut tries = 0;
    loop {
        match once(&http, &url, order, (&source, progress)) {
            Ok(()) => return Ok(()),
            Err(Failure::Final(fault)) => return Err(fault),
            Err(Failure::Passing(problem)) => {
                progress.check().map_err(|_| cancelled())?;
                tries += 1;
                if tries == TRIES {
                    let message =
                        format_args!("{} does not take VDI {}: {problem}", order.address, order.vdi);
                    return Err(Fault::new(FaultReason::NotReady, message));
                }
            }
        }
        std::thread::sleep(LONGEST_WAIT.min(Duration::from_millis(250) * tries));
    }
}

fn client(order: &SendVdi) -> Result<(Client, String), Fault> {
    let (http, base) = way_to(&order.address, &order.server_name, &order.authority_pem)?;
    let http = http.build().map_err(|error| Fault::new(FaultReason::Internal, error))?;
    Ok((http, format!("{base}/v1/vdis/{}", order.to)))
}

fn once(
    http: &Client,
    url: &str,
    order: &SendVdi,
    (source, progress): (&Arc<dyn BlockSource>, &Arc<Progress>),
) -> Result<(), Failure> {
    let mark: Mark = answer(http.get(url).bearer_auth(&order.ticket).send())?;
    if mark.whole {
        return Ok(());
    }
    let (writer, pieces) = pipe();
    let (disk, start, shown) = (Arc::clone(source), mark, Arc::clone(progress));
    let reading = std::thread::spawn(move || read(&*disk, &start, writer, &shown));
    let body = Body::new(pieces);
    let put = http.put(url).bearer_auth(&order.ticket).body(body).send();
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

fn answer(response: reqwest::Result<Response>) -> Result<Mark, Failure> {
    let response = response.map_err(|error| Failure::Passing(chain(&error)))?;
    let status = response.status();
    if status.is_success() {
        return response.json().map_err(|error| Failure::Passing(chain(&error)));
    }
    let told = response.json::<serde_json::Value>().ok();
    let told = told.and_then(|body| body["error"].as_str().map(ToOwned::to_owned));
    let told = told.unwrap_or_else(|| status.to_string());
    // A sender before us that is not noticed as gone yet, or a restart.
    if status.as_u16() == 409 || status.is_server_error() || told.contains("cut off") {
        return Err(Failure::Passing(told));
    }
    let reason = if status.as_u16() == 401 { FaultReason::NotReady } else { FaultReason::Internal };
    Err(Failure::Final(Fault::new(reason, format_args!("the receiving host says: {told}"))))
}

fn read(
    disk: &dyn BlockSource,
    mark: &Mark,
    mut writer: BufWriter<PipeWriter>,
    progress: &Progress,
) -> Result<(), ImportError> {
    let total = disk.size();
    let mut step = |position| {
        progress.set(position, total);
        progress.check().map_err(|_| ImportError::Cancelled)
    };
    send_frames(disk, mark, &mut writer, &mut step).map(drop)
}
