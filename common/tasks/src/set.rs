//! The set of a component's background tasks.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Cheap to clone; all clones own the same tasks.
#[derive(Debug, Clone, Default)]
pub struct TaskSet {
    cancel: CancellationToken,
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<String, usize>>>,
    /// Where tasks run; the runtime of who starts them, if none is named.
    runtime: Option<Handle>,
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

/// Logs a panic, and counts the task as long as it runs. Not an async function: that would hold the task twice, where it
/// was captured and where it is awaited, and there are thousands of them, of some KiB each.
fn supervised(
    task: impl Future<Output = ()> + Send + 'static,
    guard: Running,
) -> impl Future<Output = ()> + Send + 'static {
    AssertUnwindSafe(task).catch_unwind().map(move |outcome| {
        if let Err(panic) = outcome {
            let text = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            tracing::error!(task = guard.name, panic = text, "a background task panicked");
        }
        drop(guard);
    })
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
            runtime: self.runtime.clone(),
        }
    }

    /// The same tasks; what is started through this runs on `runtime`.
    #[must_use]
    pub fn on(&self, runtime: Handle) -> Self {
        Self { runtime: Some(runtime), ..self.clone() }
    }

    /// Does what starts tasks of its own, a connection say, where the tasks of this set run.
    pub fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inside = self.runtime.as_ref().map(Handle::enter);
        work()
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
        self.inside(|| self.tracker.spawn(supervised(task, guard).instrument(span)));
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

    #[test]
    fn a_task_is_held_once() {
        let large = async {
            let held = [1_u8; 4000];
            tokio::task::yield_now().await;
            std::hint::black_box(&held);
        };
        let alone = size_of_val(&large);
        let guard = Running::enter("large", &Arc::default());
        assert!(alone >= 4000 && size_of_val(&supervised(large, guard)) < alone + 200);
    }

    #[test]
    fn what_is_started_on_another_runtime_runs_there_and_belongs_to_the_set() {
        let runtime = |name| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(name).build().unwrap()
        };
        let (here, there) = (runtime("here"), runtime("there"));
        here.block_on(async {
            let tasks = TaskSet::new();
            let (tell, mut told) = tokio::sync::mpsc::channel(2);
            for (name, set) in [("of its own", &tasks.on(there.handle().clone()).child()), ("of all", &tasks)]
            {
                let (token, tell) = (set.token(), tell.clone());
                set.spawn(name, async move {
                    let thread = std::thread::current().name().map(str::to_owned);
                    tell.send((name, thread.unwrap())).await.unwrap();
                    token.cancelled().await;
                });
            }
            let mut ran = [told.recv().await.unwrap(), told.recv().await.unwrap()];
            ran.sort_unstable();
            assert_eq!(ran, [("of all", "here".to_owned()), ("of its own", "there".to_owned())]);
            tasks.cancel();
            tasks.tracker.close();
            tasks.tracker.wait().await;
        });
    }
}
