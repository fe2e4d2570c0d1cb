//! Reads of the inventory that may take milliseconds, away from the threads that answer everything else.
//!
//! A page in an odd order or a search of every description costs a processor for longer than a hundred calls that
//! look one thing up: on the runtime's own threads it would hold those up, and on a thread of the same priority it
//! keeps them from the processor for as long as the kernel lets a thread run. So reads have threads of their own, as
//! many as there are processors, which step back for all others; what finds none free waits in line without a thread.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, available_parallelism};

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::{Semaphore, oneshot};
use xenith_orchestrator_types::ApiError;

/// How far they step back: beside one other busy thread a processor gives them a tenth of its time.
const NICE: i32 = 10;

type Read = Box<dyn FnOnce() + Send>;

/// Where such reads run.
pub struct Readers {
    turns: Arc<Semaphore>,
    /// Never holds more than there are turns. The threads end when it is dropped.
    line: Sender<Read>,
}

impl Readers {
    pub fn start() -> std::io::Result<Self> {
        let threads = available_parallelism().map_or(1, NonZero::get);
        let (line, next) = channel();
        let next = Arc::new(Mutex::new(next));
        for number in 0..threads {
            let next = Arc::clone(&next);
            thread::Builder::new().name(format!("reads-{number}")).spawn(move || serve(&next))?;
        }
        Ok(Self { turns: Arc::new(Semaphore::new(threads)), line })
    }

    /// What `read` gives. Dropped before its turn, it is never run.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(ApiError::internal)?;
        let (tell, told) = oneshot::channel();
        let read = move || {
            let found = read();
            drop(turn);
            // Nobody waits for it any more: then it was for nothing.
            let _ = tell.send(found);
        };
        self.line.send(Box::new(read)).map_err(|_| ApiError::internal("the threads for reads have ended"))?;
        told.await.map_err(|_| ApiError::internal("a read panicked; the log says where"))
    }
}

fn serve(next: &Mutex<Receiver<Read>>) {
    // A kernel that does not let us leaves them as they are: slower for others, and right.
    let _ = setpriority_process(Some(gettid()), NICE);
    loop {
        let read = next.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(read) = read else { return };
        // What it panicked about is in the log, and its caller is told.
        let _ = catch_unwind(AssertUnwindSafe(read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_panics_is_told_and_costs_no_thread() {
        let readers = Readers::start().unwrap();
        for _ in 0..2 * readers.turns.available_permits() {
            let failed = readers.run(|| -> u8 { panic!("as it is meant to") }).await;
            assert!(failed.is_err());
        }
        assert_eq!(readers.run(|| 7).await.unwrap(), 7);
    }
}
