//! Writing a domain to a stream and building one from it. See [`crate::stream`] for why libxl never gets
//! the caller's descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_types::{DeathReason, DomainStatus};

use crate::domains::parse;
use crate::error::{Subject, from_failure};
use crate::raw::{Context, DomainConfig, Failure};
use crate::stream::{Incoming, StreamError, drain};

/// How libxl writes a guest: [`Context::suspend`] or [`Context::suspend_live`].
pub type WriteOut = fn(&Context, DomId, BorrowedFd<'_>) -> Result<(), Failure>;

/// Suspends the guest and writes it to `to`. On an error it runs on.
pub fn suspend(
    context: &Context,
    domid: DomId,
    to: OwnedFd,
    write_out: WriteOut,
) -> Result<(), HypervisorError> {
    const OPERATION: &str = "writing the suspended domain";
    let (reader, writer) = io::pipe().map_err(|error| cannot(OPERATION, &error))?;
    let pump = spawn("libxl-drain", move || drain(reader, to)).map_err(|error| cannot(OPERATION, &error))?;
    let suspended = write_out(context, domid, writer.as_fd());
    drop(writer);
    let written = pump.join();
    let result = suspended.map_err(|failure| from_failure(&failure, Subject::Domain(domid)));
    let result = result.and_then(|()| match written {
        Ok(Ok(_bytes)) => Ok(()),
        Ok(Err(error)) => Err(cannot(OPERATION, &error)),
        Err(_panicked) => Err(HypervisorError::Closed),
    });
    if result.is_err() {
        run_on(context, domid);
    }
    result
}

/// A guest that Xen already holds as suspended runs on.
fn run_on(context: &Context, domid: DomId) {
    let info = context.domain_info(domid).ok().and_then(|json| parse(&json).ok());
    if info.is_some_and(|info| info.status() == DomainStatus::Dead(DeathReason::Suspend))
        && let Err(failure) = context.resume(domid)
    {
        tracing::error!(%domid, %failure, "a guest whose suspend failed does not run on");
    }
}

/// Builds a domain from the stream and leaves it paused.
pub fn restore(
    context: &Context,
    config: &mut DomainConfig,
    stream: Incoming,
) -> Result<DomId, HypervisorError> {
    const OPERATION: &str = "reading the suspended domain";
    let (reader, writer) = io::pipe().map_err(|error| cannot(OPERATION, &error))?;
    let feeder =
        spawn("libxl-feed", move || stream.feed(writer)).map_err(|error| cannot(OPERATION, &error))?;
    let restored = context.restore(config, reader.as_fd());
    // Ends a feeder that libxl does not listen to any more.
    drop(reader);
    let fed = feeder.join().map_err(|_panicked| HypervisorError::Closed)?;
    match (restored, fed) {
        (Ok(domid), _) => Ok(domid),
        (Err(_), Err(error)) if !error.is_consequence() => Err(bad_stream(&error)),
        (Err(failure), _) => Err(from_failure(&failure, Subject::New)),
    }
}

/// What the caller is told about a stream that cannot be used.
pub fn bad_stream(error: &StreamError) -> HypervisorError {
    match error {
        StreamError::Malformed(_) => {
            HypervisorError::InvalidSpec { field: "stream".to_owned(), problem: error.to_string() }
        }
        StreamError::Io(source) => cannot("reading the suspended domain", source),
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

fn cannot(operation: &'static str, error: &io::Error) -> HypervisorError {
    let code =
        error.raw_os_error().map_or_else(|| format!("{:?}", error.kind()), |code| format!("errno {code}"));
    HypervisorError::Failed { operation, code, log: error.to_string() }
}
