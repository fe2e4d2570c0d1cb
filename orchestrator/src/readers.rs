//! Reads of the inventory that may take milliseconds, away from the threads that answer everything else.
//!
//! A page in an odd order or a search of every description costs a processor for longer than a hundred calls that
//! look one thing up: on the runtime's own threads it would hold those up. At most as many run as there are
//! processors; the others wait in line without a thread.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use xenith_orchestrator_types::ApiError;

/// Where such reads run.
pub struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(available_parallelism().map_or(1, NonZero::get))))
    }
}

impl Readers {
    /// What `read` gives. Dropped before its turn, it is never run.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(ApiError::internal)?;
        let reading = tokio::task::spawn_blocking(move || {
            let found = read();
            drop(turn);
            found
        });
        reading.await.map_err(ApiError::internal)
    }
}
