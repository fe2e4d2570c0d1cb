//! Consoles: the serial line and the screen of a guest, and a shell of the host.
//!
//! What always holds:
//! * A guest never waits for a viewer. What a guest writes goes into a [`serial`] line's history, which is
//!   bounded and overwrites what is oldest; a viewer reads from there at its own pace and is told what it
//!   missed. QEMU treats each VNC viewer on its own, and skips pictures for a slow one.
//! * Memory is bounded: one history for each line that was ever viewed, [`CHUNKS`] chunks in flight for each
//!   viewer, and [`VIEWERS`] viewers.
//! * Nobody is asked who he is here: only the orchestrator gets this far, and it has checked a ticket.
//!
//! A crash of the agent ends all consoles and forgets the histories; guests notice nothing, and who looks again
//! is served again. Who else touches a guest's terminal: `xl console`. Two readers of one terminal share what
//! comes out of it, so an `xl console` beside a viewer of ours sees half.

mod pty;
mod serial;
mod shell;
mod vnc;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use xenith_common_ids::{DomId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_api::{ConsoleInput, ConsoleOutput, ConsoleTarget};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_types::{ConsolePaths, Fault, FaultReason};

use crate::fault::from_hypervisor;
use crate::vm::registry::Domids;
use serial::Serial;

/// Viewers of one host at the same time. Each has a connection of its own, some ten KiB.
const VIEWERS: usize = 256;
/// The most bytes of one message to a viewer.
pub(crate) const CHUNK: usize = 16 * 1024;
/// Messages under way to or from a viewer: enough to keep a fast one busy, little to lose with a slow one.
const CHUNKS: usize = 8;

/// Both ends of an open console. Dropping it closes the console for this viewer.
#[derive(Debug)]
pub struct Attached {
    pub input: mpsc::Sender<ConsoleInput>,
    pub output: mpsc::Receiver<ConsoleOutput>,
}

/// The other side of [`Attached`].
struct Viewer {
    input: mpsc::Receiver<ConsoleInput>,
    output: mpsc::Sender<ConsoleOutput>,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    /// The last word. A viewer that has gone does not hear it.
    async fn end(&self, why: impl Into<String>) {
        let _gone = self.output.send(ConsoleOutput::Ended(why.into())).await;
    }
}

/// Shows what comes from `from` until that ends, which is true, or the viewer has gone. Reads no faster than the viewer
/// takes.
async fn show(from: &mut (impl AsyncRead + Unpin), output: &mpsc::Sender<ConsoleOutput>) -> bool {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer).await {
            // Of a terminal, EIO says that nobody has it open any more.
            Ok(0) | Err(_) => return true,
            Ok(count) => {
                let data = ConsoleOutput::Data(buffer[..count].to_vec());
                if output.send(data).await.is_err() {
                    return false;
                }
            }
        }
    }
}

pub struct Consoles {
    hypervisor: Arc<dyn Hypervisor>,
    domids: Domids,
    /// Program and arguments of the host's shell; empty: none is given.
    shell: Vec<String>,
    tasks: TaskSet,
    serial: Mutex<HashMap<VmId, Arc<Serial>>>,
    places: Arc<Semaphore>,
}

impl Consoles {
    #[must_use]
    pub fn new(
        hypervisor: Arc<dyn Hypervisor>,
        domids: Domids,
        shell: Vec<String>,
        tasks: TaskSet,
    ) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(VIEWERS));
        Arc::new(Self { hypervisor, domids, shell, tasks, serial: Mutex::default(), places })
    }

    pub async fn open(self: &Arc<Self>, target: ConsoleTarget) -> Result<Attached, Fault> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let full = format_args!("{VIEWERS} consoles of this host are open already; close some");
            Fault::new(FaultReason::NotReady, full)
        })?;
        let (input, from_viewer) = mpsc::channel(CHUNKS);
        let (to_viewer, output) = mpsc::channel(CHUNKS);
        let viewer = Viewer { input: from_viewer, output: to_viewer, _place: place };
        match target {
            ConsoleTarget::Serial { vm, history } => {
                let line = self.line(vm).await?;
                // Here, not in the task: what is written from now on is seen, however late the task begins.
                let from = line.position(history);
                self.attend("console-viewer", line.view(viewer, from));
            }
            ConsoleTarget::Vnc { vm } => {
                let found = self.paths(vm).await?;
                let stream = vnc::connect(&found.1).await?;
                self.still_so(vm, &found).await?;
                self.attend("vnc-viewer", vnc::serve(stream, viewer));
            }
            ConsoleTarget::HostShell { size } => {
                let shell = shell::Shell::start(&self.shell, size)?;
                self.attend("host-shell", shell.serve(viewer));
            }
        }
        Ok(Attached { input, output })
    }

    /// A viewer's task ends with its viewer, and with the agent.
    fn attend(&self, name: &str, viewing: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.tasks.token();
        self.tasks.spawn(name, async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = viewing => {}
            }
        });
    }

    /// The line of a VM, read from now until its guest has ended for good.
    async fn line(self: &Arc<Self>, vm: VmId) -> Result<Arc<Serial>, Fault> {
        if let Some(line) = self.live_line(vm) {
            return Ok(line);
        }
        let opened = self.open_serial(vm).await?;
        let mut lines = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been faster; then his is taken and ours closed again.
        if let Some(line) = lines.get(&vm).filter(|line| !line.has_ended()) {
            return Ok(Arc::clone(line));
        }
        lines.retain(|_, line| !line.has_ended());
        let line = Serial::new();
        lines.insert(vm, Arc::clone(&line));
        let (reader, consoles) = (Arc::clone(&line), Arc::clone(self));
        self.attend("console", async move { reader.run(vm, opened, consoles).await });
        Ok(line)
    }

    fn live_line(&self, vm: VmId) -> Option<Arc<Serial>> {
        let lines = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        lines.get(&vm).filter(|line| !line.has_ended()).cloned()
    }

    /// The terminal of the domain that a VM has now.
    async fn open_serial(&self, vm: VmId) -> Result<(DomId, pty::Terminal), Fault> {
        let found = self.paths(vm).await?;
        let path = found.1.serial.clone().ok_or_else(|| {
            Fault::new(FaultReason::NotReady, "the guest's serial console is not made yet; try again")
        })?;
        let terminal = tokio::task::spawn_blocking(move || pty::Terminal::open(&path))
            .await
            .map_err(|error| Fault::new(FaultReason::Internal, error))?;
        let terminal = terminal.map_err(|error| {
            Fault::new(FaultReason::Hypervisor, format_args!("the serial console cannot be opened: {error}"))
        })?;
        self.still_so(vm, &found).await?;
        Ok((found.0, terminal))
    }

    /// Looked up again once it is open: what had the port or the terminal may have ended before, and both have numbers
    /// that another guest gets next.
    async fn still_so(&self, vm: VmId, found: &(DomId, ConsolePaths)) -> Result<(), Fault> {
        if self.paths(vm).await? == *found {
            return Ok(());
        }
        Err(Fault::new(FaultReason::NotReady, "the VM has other consoles by now; try again"))
    }

    async fn paths(&self, vm: VmId) -> Result<(DomId, ConsolePaths), Fault> {
        let domid = self.domids.get(vm).ok_or_else(|| {
            Fault::new(FaultReason::WrongState, "the VM does not run, so it has no console; start it first")
        })?;
        let paths = self.hypervisor.consoles(domid).await.map_err(|error| from_hypervisor(&error))?;
        Ok((domid, paths))
    }
}
