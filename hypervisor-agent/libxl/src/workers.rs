//! Threads for operations that change a domain.
//!
//! Each operation has a thread and a libxl context to itself, as each `xl` command has a process: parts of
//! libxl's asynchronous operations still block (populating a guest's memory takes seconds), and on a context
//! of their own they delay nobody. It also makes the log exact: what a context writes while it runs one
//! operation belongs to that operation.
//!
//! What always holds: at most [`MOST`] operations run, later ones wait in order; an operation whose caller
//! went away still runs to its end (a domain is never left half built because a client hung up); a thread
//! that panicked or whose context broke is not used again. libxl orders what must be ordered between
//! contexts with its own lock files, because other processes are always possible.
//!
//! On a crash of the process: an operation stops where it is, as with a killed `xl`. The next start finds the
//! domain in the list, alive, dead or half built.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};

use tokio::sync::{Semaphore, oneshot};
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_libxl_sys::Library;

use crate::raw::{Context, OpenError, Wake};

/// Operations at a time. A long suspend to a slow store must not keep others from starting; 64 threads with
/// small stacks and a xenstore connection each are the price at worst.
const MOST: usize = 64;
/// Idle threads kept with their context, which takes a few milliseconds to open.
const IDLE: usize = 4;
/// libxl uses little stack; this leaves a wide margin.
const STACK: usize = 1 << 20;

type Job = Box<dyn FnOnce(Result<&Context, OpenError>) + Send>;

#[derive(Debug)]
struct Worker {
    jobs: mpsc::Sender<Job>,
}

/// The pool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Workers {
    library: &'static Library,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Worker>>>,
}

impl Workers {
    pub fn new(library: &'static Library) -> Self {
        Self { library, permits: Arc::new(Semaphore::new(MOST)), idle: Arc::default() }
    }

    /// Runs `operation` on a thread of its own and waits for its result.
    ///
    /// # Errors
    /// `Closed` when it panicked or the pool was closed, `NotAXenHost` when no context could be opened.
    pub async fn run<T, F>(&self, operation: F) -> Result<T, HypervisorError>
    where
        T: Send + 'static,
        F: FnOnce(&Context) -> T + Send + 'static,
    {
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.map_err(|_closed| HypervisorError::Closed)?;
        let (answer, result) = oneshot::channel();
        self.start(Box::new(move |context| {
            let done = context.map(operation).map_err(not_a_xen_host);
            drop(permit);
            // Nobody waits any more: the operation is done all the same.
            drop(answer.send(done));
        }))?;
        result.await.map_err(|_panicked| HypervisorError::Closed)?
    }

    pub const fn library(&self) -> &'static Library {
        self.library
    }

    /// Lets no new operation begin and waits for the running ones.
    pub async fn close(&self) {
        let running = self.permits.acquire_many(MOST as u32).await;
        self.permits.close();
        drop(running);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn start(&self, mut job: Job) -> Result<(), HypervisorError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let worker = match idle {
                Some(worker) => worker,
                None => self.spawn().map_err(|error| not_a_xen_host(OpenError::Process(error)))?,
            };
            match worker.jobs.send(job) {
                Ok(()) => return Ok(()),
                // That one ended between its last job and now; the next one is another.
                Err(mpsc::SendError(returned)) => job = returned,
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Worker> {
        let (jobs, receiver) = mpsc::channel::<Job>();
        let (library, idle) = (self.library, Arc::downgrade(&self.idle));
        let thread = std::thread::Builder::new().name("libxl-worker".to_owned()).stack_size(STACK);
        thread.spawn(move || work(library, receiver, &idle))?;
        Ok(Worker { jobs })
    }
}

/// A worker's life. Each time it goes idle it leaves a new sender in the pool, so it ends with the pool.
fn work(library: &'static Library, mut jobs: mpsc::Receiver<Job>, idle: &Weak<Mutex<Vec<Worker>>>) {
    let opened = Wake::new().map_err(OpenError::from).and_then(|wake| Context::open(library, Arc::new(wake)));
    let context = match opened {
        Ok(context) => context,
        Err(error) => {
            if let Ok(job) = jobs.recv() {
                job(Err(error));
            }
            return;
        }
    };
    while let Ok(job) = jobs.recv() {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(Ok(&context)))) {
            let text = panic.downcast_ref::<&str>().copied().unwrap_or("no message");
            tracing::error!(panic = text, "an operation on a domain panicked");
            return;
        }
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if context.is_broken() || idle.len() >= IDLE {
            return;
        }
        let (sender, receiver) = mpsc::channel();
        idle.push(Worker { jobs: sender });
        jobs = receiver;
    }
}

/// The administrator's view of a context that could not be opened.
pub fn not_a_xen_host(error: OpenError) -> HypervisorError {
    HypervisorError::NotAXenHost { detail: error.to_string() }
}
