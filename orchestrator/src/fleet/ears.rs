//! The threads that hear hosts: a runtime of their own, behind those that answer people in the queue for a CPU.
//!
//! What a fleet tells by itself comes without a pause, and a change that is heard a moment later is as good. So an
//! answer never waits for the work of a change: as long as one does not need the other's CPU, neither notices.

use tokio::runtime::{Builder, Handle, Runtime};

/// So much further back, as `nice` counts.
const STEP: i32 = 5;

/// Ends its threads when it is dropped, wherever that is.
#[derive(Debug)]
pub struct Ears(Option<Runtime>);

impl Ears {
    /// As many threads as CPUs.
    pub fn open() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("ears")
            .on_thread_start(|| {
                // On Linux that is of this thread only. Refused, it hears as soon as everybody else.
                let _refused = rustix::process::nice(STEP);
            })
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Where to listen; that of the caller when there are none.
    pub fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
