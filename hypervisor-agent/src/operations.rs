//! Commands by their operation id: the same id again joins the command that runs, or gets its answer.
//!
//! A command goes on when its caller goes away (a broken connection is no wish to stop half way). Answers are
//! kept in memory for the last [`KEPT`] commands. An id that is older, that was begun before the agent was
//! killed, or that was refused, is decided again; its answer may then be another one, its effect is not doubled. A
//! refusal is no answer for ever, whatever its reason: somebody has seen to what was in the way and lets the task go on,
//! which sends what it sent before. What makes that safe
//! is not this table but, for each kind of command, what is on the disk of the host:
//!
//! | command | a repeat finds |
//! |---|---|
//! | define, forget | the definition's number, or nothing to forget |
//! | start, resume, revert with memory | the run: an incarnation is let run once, and [`VmRecord::reached`] tells that it was |
//! | shut down, reboot | the run whose guest was asked, in [`VmRecord::reached`]; see below |
//! | power off, pause, unpause, suspend, discard | the state that it asks for |
//! | snapshot with memory | the memory and all snapshots of disks, which belong together |
//! | apply (memory, disks, NICs, CD) | what is applied, noted after each change and before one that plugs in |
//! | VDIs, snapshots, clones, copies, seeds, imports of images | the new VDI under the id that the caller chose |
//! | grow, revert, rewind, delete, SRs | the same contents again: the caller lets no VM use it meanwhile |
//! | a lease broken | the lease of who has it by then, who was not named |
//! | backup | the committed backup that carries the operation id |
//! | restore, follow, instant restore | the same contents again, or the server that runs |
//! | passes and preparation of an import, uploads | their own state on disk |
//! | networks | what is as it is wanted, device by device |
//! | a management interface tried, kept, taken back | the change that is on trial, or the one that was kept |
//! | a system fetched, filled, started | the part of the image; the slot is written anew; another boot than was named |
//! | send, downloads | the receiver's mark; a ticket that is opened again |
//! | changes of a disk, copied or sent | the same contents again, if all that followed are done again too: the caller sees to that |
//! | a disk exchanged | what the record of the saved memory says |
//! | a VM sent, taken back | the phase of its run: what was sent is not sent again, what runs is not taken back |
//! | an arrival opened, closed | a ticket that is opened again; nothing |
//! | looking, listing, verifying, pruning | nothing that could be done twice |
//!
//! There is no command that resets a VM; keys go through a console, which is a stream and never sent again.
//!
//! **Reboot** is the one that no state answers: the VM runs before it and after it. So what the guest is asked for
//! and by which operation is written before it is asked, with the run. The agent may be killed
//! * before that is written: the guest was not asked, the repeat asks it;
//! * then, and the same run is there when the repeat comes: it is asked again. A guest that goes down already is
//!   not disturbed by it, and one that never heard hears now. It goes down once;
//! * when the run has ended: what it was asked for decides what follows its death, now by the agent that comes back
//!   (a guest that powered off instead of rebooting is brought back, one that rebooted instead is left off). The
//!   repeat waits for that, or is answered with what came of it, and asks nobody. A VM that could not be started again
//!   is no reboot that succeeded: why is written with the run, and each repeat is told.
//!
//! A start is written down with the same write that commits it ([`crate::vm::driver`]). Where its run has ended
//! and the agent has started the next one, the repeat is answered; it starts nothing, and is not told that the VM
//! is another's, upon which its caller would power it off.
//!
//! [`VmRecord::reached`]: crate::journal::VmRecord::reached

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

impl Table {
    /// Where there are too many, the oldest that has an answer. One that runs stays: a copy of a disk runs for hours, and
    /// said again without being known, it would be done twice at once.
    fn forget_the_oldest(&mut self) {
        if self.order.len() <= KEPT {
            return;
        }
        let answers = &self.answers;
        let is_over = |id: &OperationId| answers.get(id).is_none_or(|answer| answer.borrow().is_some());
        let Some(at) = self.order.iter().position(is_over) else { return };
        if let Some(oldest) = self.order.remove(at) {
            self.answers.remove(&oldest);
        }
    }
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
            let is_refusal = matches!(&*answer.borrow(), Some(Err(_)));
            if !is_refusal {
                return answer.clone();
            }
        }
        let (sender, receiver) = watch::channel(None);
        if table.answers.insert(id, receiver.clone()).is_none() {
            table.order.push_back(id);
        }
        table.forget_the_oldest();
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

    use xenith_common_tasks::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn one_id_is_done_once_and_what_was_refused_again() {
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
        for reason in [FaultReason::NoMemory, FaultReason::Internal] {
            let id = OperationId::new();
            assert!(operations.run(id, work(Err(Fault::new(reason, "not now")))).await.is_err());
            assert!(operations.run(id, work(Ok(CommandResult::Nothing))).await.is_ok(), "{reason}");
        }
    }

    #[tokio::test]
    async fn what_runs_is_not_forgotten_whatever_comes_behind_it() {
        let operations = Operations::new(TaskSet::new());
        let (count, end) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let long = || {
            let (count, end) = (Arc::clone(&count), end.clone());
            move |_: Arc<Progress>| async move {
                count.fetch_add(1, Ordering::SeqCst);
                end.cancelled().await;
                Answer::Ok(CommandResult::Nothing)
            }
        };
        let id = OperationId::new();
        let first = operations.join_or_begin(id, long());
        for _ in 0..=KEPT {
            let short = |_: Arc<Progress>| async { Answer::Ok(CommandResult::Nothing) };
            operations.run(OperationId::new(), short).await.unwrap();
        }
        let again = operations.join_or_begin(id, long());
        end.cancel();
        for mut answer in [first, again] {
            answer.wait_for(Option::is_some).await.unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(operations.table.lock().unwrap().order.len() <= KEPT + 1);
    }
}
