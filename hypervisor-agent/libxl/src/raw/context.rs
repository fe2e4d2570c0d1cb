//! One libxl context on one thread: its life, its event loop, its errors.
//!
//! **SIGCHLD.** libxl forks hotplug scripts, device models and save helpers, and must learn when they end;
//! tokio's processes live in the same program. Left alone, libxl takes the signal for itself and reaps
//! everybody's children. So each context runs in the *mainloop* mode, in which libxl neither touches the
//! signal nor reaps what it did not start, and a handler in the registry that tokio uses too wakes every
//! context, which then looks for its own children (`waitpid` per child).
//!
//! **No blocking calls.** In that mode a libxl call without an `ao_how` may wait for a child whose end only
//! our loop reports: it would wait for ever. So each call that takes an `ao_how` gets one, and
//! [`Context::finish`] runs the loop until its completion event.
//!
//! **Disasters.** Without a callback libxl exits the process when xenstored dies or memory runs out. Ours
//! marks the context as broken; its owner drops it and makes another. One that broke in the middle of an operation is
//! never freed: libxl ends the process when it finds the operation (`assert` in `libxl_ctx_free`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libc::{pollfd, timeval};
use xenith_hypervisor_agent_libxl_sys::{
    LIBXL_VERSION, LibXl, Library, LoadError, libxl_asyncop_how, libxl_asyncop_how__bindgen_ty_1,
    libxl_childproc_hooks, libxl_ctx, libxl_error, libxl_event_hooks, libxl_event_type, libxl_sigchld_owner,
};

use super::event::{RawEvent, parse};
use super::log::{LogLine, Logger};
use super::opaque::take_string;
use super::stuck::end_stuck_children;
use super::wake::Wake;

/// Why there is no context.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(
        "the hypervisor cannot be reached: {0}; is this machine booted under Xen, and are we root in dom0?"
    )]
    Unreachable(String),
    #[error("a thread, file descriptor or signal handler could not be had: {0}")]
    Process(#[from] std::io::Error),
}

/// One libxl call that did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub operation: &'static str,
    /// `ERROR_*` of libxl.
    pub code: i32,
    /// What libxl wrote meanwhile: warnings and errors, oldest first.
    pub log: Vec<LogLine>,
    /// It was given up by us after this time.
    pub gave_up_after: Option<Duration>,
}

impl Failure {
    /// libxl's lines in one, without the places in its source: `a hotplug script failed; …`.
    pub fn log(&self) -> String {
        let lines = self.lines();
        if lines.is_empty() { "it wrote nothing about it".to_owned() } else { lines }
    }

    /// The same; nothing where it wrote nothing.
    pub fn lines(&self) -> String {
        let lines: Vec<&str> = self.log.iter().map(|line| strip_source(&line.text)).collect();
        lines.join("; ")
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} failed with {}: {}", self.operation, self.code, self.log())
    }
}

/// `libxl: libxl_exec.c:117:report: text` without all but `text`. A line of another form stays as it is.
fn strip_source(line: &str) -> &str {
    let text = line.strip_prefix("libxl: ").unwrap_or(line);
    let mut parts = text.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(number), Some(_function), Some(rest))
            if file.ends_with(".c") && number.parse::<u32>().is_ok() =>
        {
            rest.trim_start()
        }
        _ => text,
    }
}

static CHILD_HOOKS: libxl_childproc_hooks = libxl_childproc_hooks {
    chldowner: libxl_sigchld_owner::libxl_sigchld_owner_mainloop,
    fork_replacement: None,
    reaped_callback: None,
};

static EVENT_HOOKS: libxl_event_hooks =
    libxl_event_hooks { event_occurs_mask: 0, event_occurs: None, disaster: Some(disaster) };

/// What callbacks reach through libxl's pointers; lives as long as the context.
struct Shared {
    logger: Logger,
    broken: Cell<bool>,
}

/// A `libxl_ctx`. Not `Send`, not `Sync`: the raw pointers see to it.
pub struct Context {
    library: &'static Library,
    ctx: *mut libxl_ctx,
    /// From `Box::leak`; freed after the context.
    shared: NonNull<Shared>,
    wake: Arc<Wake>,
    child_signal: Option<signal_hook_registry::SigId>,
    last_token: Cell<u64>,
    /// An operation was begun, and its end did not come.
    in_the_middle: Cell<bool>,
    /// Children of libxl that were ended because they could not go on.
    ended: Cell<usize>,
    descriptors: RefCell<Vec<pollfd>>,
    /// Events that came while an operation was awaited.
    deferred: RefCell<VecDeque<RawEvent>>,
}

/// How often a child's end is looked for without a signal: it insures against a SIGCHLD that was blocked or
/// swallowed by somebody, for one cheap call.
const INSURANCE: Duration = Duration::from_secs(5);

impl Context {
    /// A context for this thread. `wake` ends its polls from elsewhere.
    pub fn open(library: &'static Library, wake: Arc<Wake>) -> Result<Self, OpenError> {
        let shared = Box::new(Shared { logger: Logger::new(), broken: Cell::new(false) });
        let shared = NonNull::from(Box::leak(shared));
        let mut context = Self {
            library,
            ctx: null_mut(),
            shared,
            wake: Arc::clone(&wake),
            child_signal: None,
            last_token: Cell::new(0),
            in_the_middle: Cell::new(false),
            ended: Cell::new(0),
            descriptors: RefCell::default(),
            deferred: RefCell::default(),
        };
        // SAFETY: in bounds of a live allocation.
        let logger = unsafe { &raw mut (*shared.as_ptr()).logger };
        // SAFETY: `ctx` is an out pointer; the logger outlives the context (see `drop`) and is a real one,
        // with NULL libxl crashes.
        let rc = unsafe {
            context.xl().libxl_ctx_alloc(&raw mut context.ctx, LIBXL_VERSION as c_int, 0, logger.cast())
        };
        if rc != 0 || context.ctx.is_null() {
            context.ctx = null_mut();
            let log = context.shared().logger.take();
            let reason =
                log.first().map_or_else(|| format!("libxl_ctx_alloc gave {rc}"), |line| line.text.clone());
            return Err(OpenError::Unreachable(reason));
        }
        // SAFETY: a new context without children or events, as both calls demand; the hooks are static, and
        // `shared` outlives the context.
        unsafe {
            context.xl().libxl_childproc_setmode(context.ctx, &raw const CHILD_HOOKS, null_mut());
            context.xl().libxl_event_register_callbacks(
                context.ctx,
                &raw const EVENT_HOOKS,
                shared.as_ptr().cast(),
            );
        }
        // SAFETY: the handler does one write(2) on an eventfd that it keeps open: async-signal-safe, and
        // the registry restores errno.
        context.child_signal =
            Some(unsafe { signal_hook_registry::register(libc::SIGCHLD, move || wake.wake()) }?);
        Ok(context)
    }

    pub const fn library(&self) -> &'static Library {
        self.library
    }

    pub(super) const fn xl(&self) -> &'static LibXl {
        &self.library.functions
    }

    /// For calls into libxl by the rest of [`super`]; live as long as `self`.
    pub(super) const fn ptr(&self) -> *mut libxl_ctx {
        self.ctx
    }

    fn shared(&self) -> &Shared {
        // SAFETY: allocated in `open`, freed in `drop`; only ever borrowed shared.
        unsafe { self.shared.as_ref() }
    }

    /// Whether libxl reported that it cannot go on. Drop the context then.
    pub fn is_broken(&self) -> bool {
        self.shared().broken.get()
    }

    /// Forgets the log lines so far: an operation begins.
    pub fn begin(&self) {
        drop(self.shared().logger.take());
    }

    /// The result of a call as an error with the lines that it wrote.
    pub fn check(&self, operation: &'static str, rc: c_int) -> Result<(), Failure> {
        if rc >= 0 { Ok(()) } else { Err(self.failure(operation, rc)) }
    }

    pub fn failure(&self, operation: &'static str, code: c_int) -> Failure {
        Failure { operation, code, log: self.shared().logger.take(), gave_up_after: None }
    }

    /// Begins an asynchronous operation with `begin` and runs the event loop until it is over. When it takes
    /// longer than `patience` libxl is asked to abort it; what cannot be aborted is waited for.
    pub(super) fn finish(
        &self,
        operation: &'static str,
        patience: Duration,
        begin: impl FnOnce(*const libxl_asyncop_how) -> c_int,
    ) -> Result<(), Failure> {
        if self.is_broken() {
            // An earlier operation was left in the middle: running the event loop again could finish it, and
            // what its caller lent to libxl is gone.
            return Err(self.failure(operation, libxl_error::ERROR_FAIL.0));
        }
        let token = self.last_token.get() + 1;
        self.last_token.set(token);
        let how =
            libxl_asyncop_how { callback: None, u: libxl_asyncop_how__bindgen_ty_1 { for_event: token } };
        self.in_the_middle.set(true);
        // libxl copies the struct; a refusal here means that there will be no completion event.
        let begun = self.check(operation, begin(&raw const how));
        self.in_the_middle.set(begun.is_ok());
        begun?;
        let began = Instant::now();
        let deadline = began + patience;
        let mut aborted = false;
        loop {
            while let Some(event) = self.take_event() {
                let RawEvent::Complete { token: done, rc } = event else {
                    self.deferred.borrow_mut().push_back(event);
                    continue;
                };
                if done == token {
                    self.in_the_middle.set(false);
                    let mut result = self.check(operation, rc);
                    if let (Err(failure), true) = (&mut result, aborted) {
                        failure.gave_up_after = Some(patience);
                    }
                    return result;
                }
            }
            if self.is_broken() {
                return Err(self.failure(operation, libxl_error::ERROR_FAIL.0));
            }
            if !aborted && Instant::now() >= deadline {
                aborted = true;
                // SAFETY: `how` is the one that the operation was begun with.
                let rc = unsafe { self.xl().libxl_ao_abort(self.ctx, &raw const how) };
                tracing::warn!(operation, rc, "asked libxl to give up an operation that takes too long");
            }
            self.turn(INSURANCE);
            if began.elapsed() >= INSURANCE {
                self.ended.set(self.ended.get() + end_stuck_children());
            }
        }
    }

    /// Counts the children of libxl that were ended here: an operation that failed meanwhile may work the next time.
    pub(super) fn ended_children(&self) -> usize {
        self.ended.get()
    }

    /// The next queued event.
    pub fn next_event(&self) -> Option<RawEvent> {
        let deferred = self.deferred.borrow_mut().pop_front();
        deferred.or_else(|| self.take_event())
    }

    fn take_event(&self) -> Option<RawEvent> {
        let mut event = null_mut();
        // SAFETY: `event` is an out pointer; no predicate, so every event matches.
        let rc = unsafe { self.xl().libxl_event_check(self.ctx, &raw mut event, u64::MAX, None, null_mut()) };
        if rc != 0 || event.is_null() {
            return None;
        }
        // SAFETY: an event that libxl just gave us.
        let json = unsafe { take_string(self.xl().libxl_event_to_json(self.ctx, event)) };
        // SAFETY: ours to free, once.
        unsafe { self.xl().libxl_event_free(self.ctx, event) };
        let json = json.unwrap_or_default();
        let parsed = parse(&json);
        if parsed.is_none() {
            tracing::error!(json, "an event of libxl could not be read");
        }
        Some(parsed.unwrap_or(RawEvent::Other))
    }

    /// Waits until libxl has something to do, [`Wake::wake`] is called or `patience` is over, and lets libxl
    /// do it. Events may be queued afterwards.
    pub fn turn(&self, patience: Duration) {
        let mut descriptors = self.descriptors.borrow_mut();
        let mut timeout = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
        let ours = self.gather(&mut descriptors, &mut timeout);
        // SAFETY: the vector holds that many initialised elements.
        unsafe { libc::poll(descriptors.as_mut_ptr(), descriptors.len() as libc::nfds_t, timeout) };
        // After an error or EINTR poll has left `revents` as they were: zero, which reports nothing.
        // SAFETY: the elements but the last are those that beforepoll filled in, with poll's answers.
        unsafe { self.xl().libxl_osevent_afterpoll(self.ctx, ours as c_int, descriptors.as_ptr(), now()) };
        self.wake.clear();
        // SAFETY: allowed in mainloop mode, on this thread, outside a signal handler.
        unsafe { self.xl().libxl_childproc_sigchld_occurred(self.ctx) };
    }

    /// Fills in libxl's descriptors and ours last; how many are libxl's.
    fn gather(&self, descriptors: &mut Vec<pollfd>, timeout: &mut c_int) -> usize {
        const EMPTY: pollfd = pollfd { fd: -1, events: 0, revents: 0 };
        let mut room = descriptors.capacity().max(16);
        loop {
            descriptors.clear();
            descriptors.resize(room, EMPTY);
            let mut count = room as c_int;
            // SAFETY: room for `count` elements, which is in-out; the timeout is in-out.
            let rc = unsafe {
                self.xl().libxl_osevent_beforepoll(
                    self.ctx,
                    &raw mut count,
                    descriptors.as_mut_ptr(),
                    timeout,
                    now(),
                )
            };
            let count = usize::try_from(count).unwrap_or(0);
            if rc == libxl_error::ERROR_BUFFERFULL.0 && count > room {
                room = count;
                continue;
            }
            let count = if rc == 0 { count.min(room) } else { 0 };
            descriptors.truncate(count);
            for descriptor in &mut *descriptors {
                descriptor.revents = 0;
            }
            descriptors.push(pollfd { fd: self.wake.fd(), events: libc::POLLIN, revents: 0 });
            return count;
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(signal) = self.child_signal.take() {
            signal_hook_registry::unregister(signal);
        }
        if self.in_the_middle.get() {
            // What the operation was lent may be gone, but nobody calls libxl with this context any more.
            tracing::warn!("a libxl context that broke in the middle of an operation is left behind");
            return;
        }
        if !self.ctx.is_null() {
            // SAFETY: made by libxl_ctx_alloc, used on this thread only, and never used again.
            unsafe { self.xl().libxl_ctx_free(self.ctx) };
        }
        // SAFETY: from `Box::leak` in `open`; libxl, the only other holder, is gone.
        drop(unsafe { Box::from_raw(self.shared.as_ptr()) });
    }
}

/// libxl cannot go on. It may be called inside any libxl call of our thread; calling libxl is forbidden here.
extern "C" fn disaster(user: *mut c_void, _kind: libxl_event_type, message: *const c_char, errno: c_int) {
    if user.is_null() {
        return;
    }
    // SAFETY: the pointer registered in `open`, to a `Shared` that outlives the context; same thread.
    let shared = unsafe { &*user.cast_const().cast::<Shared>() };
    shared.broken.set(true);
    let text = if message.is_null() {
        "no message".into()
    } else {
        // SAFETY: not null, so a C string that lives for this call.
        unsafe { CStr::from_ptr(message) }.to_string_lossy()
    };
    // The panic of a log subscriber must not unwind into C.
    let _lost_line = std::panic::catch_unwind(|| {
        tracing::error!(errno, "libxl's connection to Xen is broken and will be opened again: {text}");
    });
}

fn now() -> timeval {
    let mut now = timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: an out pointer; the second argument is obsolete and must be null. It cannot fail.
    unsafe { libc::gettimeofday(&raw mut now, null::<libc::timezone>().cast_mut()) };
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_source_are_stripped() {
        for (line, text) in [
            (
                "libxl: libxl_exec.c:117:report: /etc/xen/scripts/block failed",
                "/etc/xen/scripts/block failed",
            ),
            ("libxl: libxl_dm.c:2:f:Domain 5:no device model", "Domain 5:no device model"),
            ("xc: panic: xg_dom_boot.c:117: no memory", "xc: panic: xg_dom_boot.c:117: no memory"),
            ("libxl: short", "short"),
            ("", ""),
        ] {
            assert_eq!(strip_source(line), text, "{line}");
        }
    }
}
