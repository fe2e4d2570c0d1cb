//! Commands by their operation id: the same id again joins the command that runs, or gets its answer.
//!
//! A command goes on when its caller goes away (a broken connection is no wish to stop half way). Answers are
//! kept for the last [`KEPT`] commands; an older id is done again, which is harmless because every command
//! is idempotent: this table saves work and keeps answers, it is not what makes repeating safe.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use xenith_common_ids::OperationId;
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_api::CommandResult;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::progress::Progress;

const KEPT: usize = 4096;

type Answer = Result<CommandResult, Fault>;

#[derive(Debug, Default)]
struct Table {
    answers: HashMap<OperationId, watch::Receiver<Option<Answer>>>,
    order: VecDeque<OperationId>,
}

#[derive(Debug)]
pub struct Operations {
    tasks: TaskSet,
    table: Mutex<Table>,
    running: Arc<Mutex<HashMap<OperationId, Arc<Progress>>>>,
}

impl Operations {
    #[must_use]
    pub fn new(tasks: TaskSet) -> Self {
        Self { tasks, table: Mutex::default(), running: Arc::default() }
    }

    /// Runs `work` once per id. It is given where to tell how far it is.
    pub async fn run<F: Future<Output = Answer> + Send + 'static>(
        &self,
        id: OperationId,
        work: impl FnOnce(Arc<Progress>) -> F + Send,
    ) -> Answer {
        let mut answer = self.join_or_begin(id, work);
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or_else(stopping),
            Err(_) => stopping(),
        }
    }

    /// Of a command that runs.
    #[must_use]
    pub fn progress(&self, id: OperationId) -> Option<Arc<Progress>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn join_or_begin<F: Future<Output = Answer> + Send + 'static>(
        &self,
        id: OperationId,
        work: impl FnOnce(Arc<Progress>) -> F + Send,
    ) -> watch::Receiver<Option<Answer>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = table.answers.get(&id) {
            // A refusal that may pass is not an answer for ever: the caller repeats the id to try again.
            let may_pass = matches!(&*answer.borrow(), Some(Err(fault)) if fault.is_retryable());
            if !may_pass {
                return answer.clone();
            }
        }
        let (sender, receiver) = watch::channel(None);
        if table.answers.insert(id, receiver.clone()).is_none() {
            table.order.push_back(id);
        }
        if table.order.len() > KEPT
            && let Some(oldest) = table.order.pop_front()
        {
            table.answers.remove(&oldest);
        }
        let progress = Arc::new(Progress::default());
        let work = work(Arc::clone(&progress));
        let running = Arc::clone(&self.running);
        running.lock().unwrap_or_else(PoisonError::into_inner).insert(id, progress);
        self.tasks.spawn("command", async move {
            let answer = work.await;
            running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            sender.send_replace(Some(answer));
        });
        receiver
    }
}

fn stopping() -> Answer {
    Err(Fault::new(FaultReason::NotReady, "the agent is stopping"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_id_is_done_once_and_a_passing_refusal_again() {
        let operations = Operations::new(TaskSet::new());
        let count = Arc::new(AtomicUsize::new(0));
        let work = |answer: Answer| {
            let count = Arc::clone(&count);
            move |_: Arc<Progress>| async move {
                count.fetch_add(1, Ordering::SeqCst);
                answer
            }
        };
        let id = OperationId::new();
        for _ in 0..3 {
            assert_eq!(
                operations.run(id, work(Ok(CommandResult::Nothing))).await,
                Ok(CommandResult::Nothing)
            );
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let busy = OperationId::new();
        let refusal = Fault::new(FaultReason::NoMemory, "full");
        assert!(operations.run(busy, work(Err(refusal))).await.is_err());
        assert!(operations.run(busy, work(Ok(CommandResult::Nothing))).await.is_ok());
    }
}
