//! What the agent and the server of one disk say to each other: one line of JSON each way over a socket in the disk's
//! folder.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_hypervisor_agent_types::backup::RepositoryAccess;

/// The server answers from memory; one that does not is stuck.
const PATIENCE: Duration = Duration::from_secs(10);
/// Stopping includes making everything durable.
const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// What a server is told when it starts, on its standard input: secrets are on no command line and in no file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub access: RepositoryAccess,
    pub backup: String,
    pub disk: String,
    /// The VDI in its SR.
    pub image: PathBuf,
    /// Map, lock and sockets.
    pub folder: PathBuf,
    pub attach: Attach,
    /// Of what comes in behind, bytes per second; 0 for no limit.
    pub bandwidth: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attach {
    /// A block device of the kernel (`nbd`), for a domain's back end.
    Kernel,
    /// A socket only: the domains of a simulated host open nothing.
    Socket,
}

/// What a domain is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    pub path: PathBuf,
}

/// The first line that a server says: it serves, or why not.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opening {
    Ready(Ready),
    Refused { reason: xenith_hypervisor_agent_types::FaultReason, message: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    Status,
    /// Ends, with everything durable. The hold on the backup stays until the disk is complete.
    Stop,
    /// Ends: the disk is not wanted any more, nor is its hold.
    Drop,
}

/// Bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub path: PathBuf,
    pub filled: u64,
    pub total: u64,
    /// All is in the VDI and durable.
    pub complete: bool,
    /// What keeps it waiting.
    pub problem: Option<String>,
}

/// Names in the folder.
pub const CONTROL: &str = "control";
pub const EXPORT: &str = "nbd";
pub const LOCK: &str = "lock";
pub const MAP: &str = "map";
pub const LOG: &str = "log";
/// All of the disk is in the VDI, and durable there; its server may go on.
pub const WHOLE: &str = "whole";
/// The disk is complete and its server gone.
pub const DONE: &str = "done";

/// Asks the server of the disk in `folder`. A refused connection is a server that is gone.
pub fn ask(folder: &Path, ask: Ask) -> io::Result<Status> {
    let stream = UnixStream::connect(folder.join(CONTROL))?;
    stream.set_read_timeout(Some(if ask == Ask::Status { PATIENCE } else { STOP_PATIENCE }))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(&stream, &ask)?;
    read_line(stream)
}

pub fn write_line(mut to: impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// At most 1 MiB.
pub fn read_line<T: for<'de> Deserialize<'de>>(from: impl io::Read) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(from.take(1 << 20)).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}
