//! The set of a component's background tasks.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Cheap to clone; all clones own the same tasks.
#[derive(Debug, Clone, Default)]
pub struct TaskSet {
    cancel: CancellationToken,
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// The tasks that were still running when the time to shut down was over, with their number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Stragglers(pub BTreeMap<String, usize>);

impl fmt::Display for Stragglers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("still running after the time to shut down:")?;
        for (name, count) in &self.0 {
            write!(f, " {name} ({count})")?;
        }
        Ok(())
    }
}

struct Running {
    name: String,
    running: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Running {
    fn enter(name: &str, running: &Arc<Mutex<BTreeMap<String, usize>>>) -> Self {
        *running.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() += 1;
        Self { name: name.to_owned(), running: Arc::clone(running) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.name);
            }
        }
    }
}

impl TaskSet {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A set that ends with this one, and can be ended alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            cancel: self.cancel.child_token(),
            tracker: self.tracker.clone(),
            running: Arc::clone(&self.running),
        }
    }

    /// Cancelled when the set shuts down; tasks select on it.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Starts `task` under `name`. The task must end soon after [`Self::token`] is cancelled.
    pub fn spawn(&self, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let guard = Running::enter(name, &self.running);
        let span = tracing::info_span!("task", name);
        let owned = name.to_owned();
        let supervised = async move {
            let _guard = guard;
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|s| (*s).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "no message".to_owned());
                tracing::error!(task = owned, panic = text, "a background task panicked");
            }
        };
        self.tracker.spawn(supervised.instrument(span));
    }

    /// Asks all tasks to end, without waiting.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Asks all tasks to end and waits for them, at most `patience`.
    pub async fn shut_down(&self, patience: Duration) -> Result<(), Stragglers> {
        self.cancel.cancel();
        self.tracker.close();
        match tokio::time::timeout(patience, self.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_) => {
                let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                Err(Stragglers(running.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drains_what_listens_and_names_what_does_not() {
        let tasks = TaskSet::new();
        let token = tasks.token();
        tasks.spawn("good", async move { token.cancelled().await });
        tasks.spawn("panics", async { panic!("as expected") });
        assert_eq!(tasks.shut_down(Duration::from_secs(5)).await, Ok(()));

        let tasks = TaskSet::new();
        tasks.spawn("deaf", std::future::pending());
        let stragglers = tasks.shut_down(Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(stragglers.0.get("deaf"), Some(&1));
    }
}
