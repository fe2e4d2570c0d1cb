//! Sagas: operations of several steps that end done or undone, whatever dies in between. Knows no VM.
//!
//! A [`Saga`] is a named, versioned list of steps. Each step has an action and an undo, both idempotent: after a
//! crash the engine cannot know how far a step came, so it runs it again. What a step learns is its output, kept
//! with the saga for later steps and for the undo.
//!
//! ```text
//!                 start (one commit, with the caller's own writes)
//!                   |
//!                   v          step ok: log "k done, k+1 begins"
//!            +-> RUNNING(k) --------------------------------+
//!            |      |  ^______________________ k < n _______|
//!            |      |                                       | k = n
//!            |      | step failed for good, deadline,       v
//!            |      | cancel at a step's end               DONE
//!            |      v
//!    retry   |   UNWINDING(k, reason) --- undo ok: log "k undone, k-1 next" ---+
//!   (action) |      |  ^______________________ k > 0 _________________________|
//!            |      |                                                         | none left
//!            |      | undo failed for good, or the step has no undo           v
//!            |      v                                                    ROLLED BACK(reason)
//!            +-- PARKED(step, reason) --- retry (undo) ---> UNWINDING
//!                   |
//!                   +--- abandon (a person says: leave it so) ---> ABANDONED(reason)
//! ```
//!
//! What always holds:
//! * The record in the store is written *before* a step begins (it says "step k may have begun") and *after* it
//!   ended. As "k ended" and "k+1 begins" are the same instant, they are one write: n + 1 durable commits for n
//!   steps, and the store commits those of many sagas with one sync.
//! * The list of steps is fixed and logged at the start. If the code's list for the same kind and version differs
//!   after an upgrade, the saga parks instead of running something else.
//! * Undo runs from the step that failed (it may have half happened) back to the first. It must bear that its
//!   step never ran. A step that says that it has changed nothing ([`StepError::Untouched`]) is not undone.
//! * One engine runs a saga. An engine takes the next epoch from the store when it opens and writes it into each
//!   record; every write is a compare-and-set, so an engine that lost its sagas to a newer one fails its next
//!   write and stops ([`SagaError::Fenced`] in its log, no effect). What a step sends to an agent carries the
//!   epoch ([`StepCtx::epoch`]): the agent refuses the older.
//! * Cancelling is durable before it is acknowledged. It takes effect at the end of the running step, which is
//!   asked to hurry through [`StepCtx::cancelled`]. Behind a step without undo it is refused.
//!
//! Who else touches it: callers read records and events; only the engine writes them.
//!
//! On a crash: [`SagaEngine::recover`] takes every saga that has not ended and goes on: a running step runs again,
//! an undo runs again. Shutting down is the same as a crash: steps are dropped where they are.

mod engine;
mod error;
mod event;
#[cfg(feature = "test-support")]
pub mod harness;
mod hooks;
mod offline;
mod record;
mod registry;
mod step;

pub use engine::{EngineConfig, Recovered, SagaEngine, Started};
pub use error::{SagaError, StepError};
pub use event::{EventKind, SagaEvent};
pub use offline::{abandon_all, raise_epoch};
pub use record::{KEYSPACES, Meta, Outcome, Parked, Phase, SagaRecord, StepProgress};
pub use registry::SagaRegistry;
pub use step::{RetryPolicy, Saga, Step, StepCtx, StepFn};
