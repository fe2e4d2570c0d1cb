//! The thread that looks: lists, the machine, and the domains' events.
//!
//! It owns one libxl context and waits in `poll(2)` for three things at once: libxl's own descriptors
//! (xenstore, where domains' ends are announced), questions from the runtime, and the time of the next scan.
//! Questions are short synchronous calls, so an answer is never behind a long operation; those have
//! [`crate::workers`].
//!
//! What always holds: of every domain in the last scan the death is watched; `Appeared` comes once for each
//! domain and `Gone` once after it, also for domains that came and went unseen between two scans of a
//! context; a context that broke is replaced, and subscribers are told to list again.
//!
//! Scans happen when xenstored announces a new domain (see [`Reader::look`]) and every [`SCAN`] in any
//! case. On a crash of the process nothing is lost: a new reader begins with a scan.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::{DomainEventKind, EventSender, HypervisorError};
use xenith_hypervisor_agent_libxl_sys::Library;

use crate::domains::list;
use crate::info::{Dominfo, death_reason, reason_of_code};
use crate::raw::{Context, DeathWatch, OpenError, RawEvent, Wake};
use crate::workers::not_a_xen_host;

/// Insurance against a missed announcement, and how soon a dead xenstored is asked again.
const SCAN: Duration = Duration::from_secs(5);
/// Questions waiting. Each is answered in well under a millisecond per domain; who asks faster waits.
const QUESTIONS: usize = 64;

type Asked = Box<dyn FnOnce(Result<&Context, HypervisorError>) + Send>;

enum Question {
    Ask(Asked),
    Scan(oneshot::Sender<()>),
}

/// The way to ask. Dropping the last clone ends the thread.
#[derive(Debug, Clone)]
pub struct Reader {
    questions: mpsc::Sender<Question>,
    wake: Arc<Wake>,
}

impl Reader {
    /// Starts the thread. Returns when its context is open and the first scan is done.
    ///
    /// # Errors
    /// What [`Context::open`] says.
    pub async fn start(library: &'static Library, events: EventSender) -> Result<Self, OpenError> {
        let wake = Arc::new(Wake::new()?);
        let (questions, receiver) = mpsc::channel(QUESTIONS);
        let (ready, opened) = oneshot::channel();
        let thread_wake = Arc::clone(&wake);
        std::thread::Builder::new().name("libxl-reader".to_owned()).spawn(move || {
            run(library, &thread_wake, receiver, &events, ready);
        })?;
        match opened.await {
            Ok(Ok(())) => Ok(Self { questions, wake }),
            Ok(Err(error)) => Err(error),
            Err(_panicked) => Err(OpenError::Unreachable("the thread ended at once".to_owned())),
        }
    }

    /// Asks something of the context.
    ///
    /// # Errors
    /// `Closed` when the thread is gone, `NotAXenHost` while its connection is broken.
    pub async fn ask<T, F>(&self, question: F) -> Result<T, HypervisorError>
    where
        T: Send + 'static,
        F: FnOnce(&Context) -> T + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let asked: Asked = Box::new(move |context| drop(answer.send(context.map(question))));
        self.send(Question::Ask(asked)).await?;
        result.await.map_err(|_gone| HypervisorError::Closed)?
    }

    /// Scans now: something was made or changed. Returns when the events of it were sent.
    ///
    /// # Errors
    /// `Closed` when the thread is gone.
    pub async fn look(&self) -> Result<(), HypervisorError> {
        let (answer, done) = oneshot::channel();
        self.send(Question::Scan(answer)).await?;
        // While the connection is broken there is nothing to see; the scan comes with the next one.
        let _dropped = done.await;
        Ok(())
    }

    async fn send(&self, question: Question) -> Result<(), HypervisorError> {
        self.questions.send(question).await.map_err(|_gone| HypervisorError::Closed)?;
        self.wake.wake();
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The thread sees the closed queue when it was the last clone; otherwise it just looks once more.
        self.wake.wake();
    }
}

fn run(
    library: &'static Library,
    wake: &Arc<Wake>,
    mut questions: mpsc::Receiver<Question>,
    events: &EventSender,
    ready: oneshot::Sender<Result<(), OpenError>>,
) {
    let mut known = Known::default();
    let first = Context::open(library, Arc::clone(wake)).inspect(|context| known.scan(context, events));
    let mut context = match first {
        Ok(context) => context,
        Err(error) => return drop(ready.send(Err(error))),
    };
    drop(ready.send(Ok(())));
    loop {
        if serve(&context, &mut questions, events, &mut known) == Ended::Closed {
            return;
        }
        drop(context);
        context = match reopen(library, wake, &mut questions) {
            Some(context) => context,
            None => return,
        };
        known.forget_watches();
        known.scan(&context, events);
        events.send(DomId::DOM0, DomainEventKind::Resync);
    }
}

#[derive(PartialEq, Eq)]
enum Ended {
    Closed,
    Broken,
}

fn serve(
    context: &Context,
    questions: &mut mpsc::Receiver<Question>,
    events: &EventSender,
    known: &mut Known,
) -> Ended {
    let mut next_scan = Instant::now() + SCAN;
    loop {
        loop {
            match questions.try_recv() {
                Ok(Question::Ask(question)) => answer(question, context),
                Ok(Question::Scan(done)) => {
                    known.scan(context, events);
                    let _nobody_waits = done.send(());
                }
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return Ended::Closed,
            }
        }
        while let Some(event) = context.next_event() {
            known.hear(context, event, events);
        }
        if context.is_broken() {
            return Ended::Broken;
        }
        if Instant::now() >= next_scan {
            known.scan(context, events);
            next_scan = Instant::now() + SCAN;
        }
        context.turn(next_scan.saturating_duration_since(Instant::now()));
    }
}

/// A panic is the end of the question, whose asker is told `Closed`, and not of the thread that sees every domain's end.
fn answer(question: Asked, context: &Context) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| question(Ok(context)))) {
        let text = panic.downcast_ref::<&str>().copied().unwrap_or("no message");
        tracing::error!(panic = text, "a question to the hypervisor panicked");
    }
}

/// Tries until Xen can be reached again; questions are answered with the reason meanwhile. `None`: closed.
fn reopen(
    library: &'static Library,
    wake: &Arc<Wake>,
    questions: &mut mpsc::Receiver<Question>,
) -> Option<Context> {
    loop {
        let error = match Context::open(library, Arc::clone(wake)) {
            Ok(context) => return Some(context),
            Err(error) => not_a_xen_host(error),
        };
        tracing::warn!(%error, "Xen cannot be reached");
        let again = Instant::now() + SCAN;
        while Instant::now() < again {
            match questions.try_recv() {
                Ok(Question::Ask(question)) => question(Err(error.clone())),
                Ok(Question::Scan(_)) => {}
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {
                    wake.wait(again.saturating_duration_since(Instant::now()))
                }
            }
        }
    }
}

struct Seen {
    uuid: Uuid,
    dead: bool,
    watch: Option<DeathWatch>,
}

/// What the last scan found.
#[derive(Default)]
struct Known(BTreeMap<DomId, Seen>);

impl Known {
    /// The watches of a context that is gone went with it.
    fn forget_watches(&mut self) {
        for seen in self.0.values_mut() {
            seen.watch = None;
        }
    }

    /// Compares the list with what was known. The uuid tells a domain from a later one with the same id.
    fn scan(&mut self, context: &Context, events: &EventSender) {
        let listed = match list(context) {
            Ok(listed) => listed,
            Err(error) => return tracing::warn!(%error, "the domains could not be listed"),
        };
        let current: BTreeMap<DomId, Dominfo> =
            listed.into_iter().map(|info| (DomId(info.domid), info)).collect();
        let gone: Vec<DomId> = self
            .0
            .iter()
            .filter(|(domid, seen)| current.get(*domid).is_none_or(|info| info.uuid != seen.uuid))
            .map(|(domid, _)| *domid)
            .collect();
        for domid in gone {
            self.remove(context, domid, events);
        }
        for (domid, info) in current.into_iter().filter(|(domid, _)| *domid != DomId::DOM0) {
            let seen = self.0.entry(domid).or_insert_with(|| {
                events.send(domid, DomainEventKind::Appeared);
                Seen { uuid: info.uuid, dead: false, watch: None }
            });
            if seen.dead && !info.shutdown {
                // A suspend was cancelled. libxl reports the end of a domain once per watch: a new watch.
                seen.dead = false;
                if let Some(watch) = seen.watch.take() {
                    context.unwatch_death(watch);
                }
            }
            if seen.watch.is_none() {
                // A domain that ended in between makes this fail; the next scan sees it gone.
                seen.watch = context.watch_death(domid).ok();
            }
            if info.shutdown && !seen.dead {
                seen.dead = true;
                events.send(domid, DomainEventKind::Died(death_reason(&info)));
            }
        }
    }

    fn hear(&mut self, context: &Context, event: RawEvent, events: &EventSender) {
        match event {
            RawEvent::Shutdown { domid, reason } => {
                let Some(seen) = self.0.get_mut(&domid) else { return };
                if !seen.dead {
                    seen.dead = true;
                    events.send(domid, DomainEventKind::Died(reason_of_code(reason)));
                }
            }
            RawEvent::Death { domid } => self.remove(context, domid, events),
            RawEvent::Complete { .. } | RawEvent::Other => {}
        }
    }

    fn remove(&mut self, context: &Context, domid: DomId, events: &EventSender) {
        if let Some(seen) = self.0.remove(&domid) {
            if let Some(watch) = seen.watch {
                context.unwatch_death(watch);
            }
            events.send(domid, DomainEventKind::Gone);
        }
    }
}
