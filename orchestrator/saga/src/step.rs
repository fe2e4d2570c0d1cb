//! What a saga's author writes: the type, its steps, and what a step is given.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use xenith_common_ids::{Epoch, OperationId, SagaId};

use crate::{Meta, SagaRecord, StepError};

/// A kind of saga. The value holds what its steps need to work with (clients, collections); the parameters are
/// what is stored.
pub trait Saga: Send + Sync + Sized + 'static {
    /// Stable: stored. Such as `vm_start`.
    const KIND: &'static str;
    /// Raise it when the steps or their meaning change, and keep the old code registered until its sagas are gone.
    const VERSION: u32 = 1;
    /// New fields need `#[serde(default)]`.
    type Params: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The steps for these parameters: pure, the same list whenever it is asked.
    fn steps(params: &Self::Params) -> Vec<Step<Self>>;
}

/// How often and how fast a step that fails with [`StepError::Retryable`] is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// All tries together; 1 means no retry.
    pub attempts: u32,
    /// The first pause; doubles up to `most`, with jitter.
    pub first: Duration,
    pub most: Duration,
}

impl Default for RetryPolicy {
    /// Six tries over about 15 s: an agent that restarts is back by then.
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_millis(500), most: Duration::from_secs(8) }
    }
}

type BoxedAction<S> =
    Arc<dyn for<'a> Fn(&'a S, &'a StepCtx<S>) -> BoxFuture<'a, Result<Value, StepError>> + Send + Sync>;

/// An `async fn(&S, &StepCtx<S>) -> Result<Output, StepError>`. Implemented for all of them; the trait is only
/// there to say "for every lifetime, with a future that is `Send`".
pub trait StepFn<'a, S: Saga, Output>: Send + Sync {
    type Future: Future<Output = Result<Output, StepError>> + Send + 'a;
    fn call(&self, saga: &'a S, ctx: &'a StepCtx<S>) -> Self::Future;
}

impl<'a, S: Saga, Output, F, Fut> StepFn<'a, S, Output> for F
where
    F: Fn(&'a S, &'a StepCtx<S>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Output, StepError>> + Send + 'a,
{
    type Future = Fut;

    fn call(&self, saga: &'a S, ctx: &'a StepCtx<S>) -> Fut {
        self(saga, ctx)
    }
}

/// How a step is taken back.
pub(crate) enum Undo<S: Saga> {
    /// The step changes nothing that outlives the saga.
    Nothing,
    Action(BoxedAction<S>),
    /// The point of no return.
    Forbidden(Cow<'static, str>),
}

impl<S: Saga> Clone for Undo<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Action(action) => Self::Action(Arc::clone(action)),
            Self::Forbidden(why) => Self::Forbidden(why.clone()),
        }
    }
}

/// One step: an idempotent action and how to take it back.
pub struct Step<S: Saga> {
    pub(crate) name: String,
    pub(crate) item: Option<String>,
    pub(crate) action: BoxedAction<S>,
    pub(crate) undo: Undo<S>,
    pub(crate) retry: RetryPolicy,
    pub(crate) undo_retry: RetryPolicy,
    pub(crate) deadline: Duration,
}

impl<S: Saga> Clone for Step<S> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            item: self.item.clone(),
            action: Arc::clone(&self.action),
            undo: self.undo.clone(),
            retry: self.retry,
            undo_retry: self.undo_retry,
            deadline: self.deadline,
        }
    }
}

fn boxed<S, Output, F>(action: F) -> BoxedAction<S>
where
    S: Saga,
    Output: Serialize + 'static,
    F: for<'a> StepFn<'a, S, Output> + 'static,
{
    Arc::new(move |saga, ctx| {
        let running = action.call(saga, ctx);
        async move {
            let output = running.await?;
            serde_json::to_value(output)
                .map_err(|e| StepError::permanent("the step's output cannot be stored").because(e))
        }
        .boxed()
    })
}

impl<S: Saga> Step<S> {
    /// A step without anything to undo, until [`Self::undo`] or [`Self::cannot_be_undone`] says otherwise.
    /// `name` is stored: unique within the saga, and stable.
    pub fn new<Output, F>(name: impl Into<String>, action: F) -> Self
    where
        Output: Serialize + 'static,
        F: for<'a> StepFn<'a, S, Output> + 'static,
    {
        Self {
            name: name.into(),
            item: None,
            action: boxed(action),
            undo: Undo::Nothing,
            retry: RetryPolicy::default(),
            undo_retry: RetryPolicy::default(),
            deadline: Duration::from_secs(300),
        }
    }

    /// The same step for one of several things: the name becomes `name:item`, the step asks [`StepCtx::item`].
    #[must_use]
    pub fn for_item(mut self, item: impl Into<String>) -> Self {
        let item = item.into();
        self.name = format!("{}:{item}", self.name);
        self.item = Some(item);
        self
    }

    /// Takes the step back, whether it ran, half ran or never ran.
    #[must_use]
    pub fn undo<F>(mut self, undo: F) -> Self
    where
        F: for<'a> StepFn<'a, S, ()> + 'static,
    {
        self.undo = Undo::Action(boxed(undo));
        self
    }

    /// From the moment this step may have begun, the saga cannot be rolled back; it parks instead.
    #[must_use]
    pub fn cannot_be_undone(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.undo = Undo::Forbidden(why.into());
        self
    }

    #[must_use]
    pub const fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    #[must_use]
    pub const fn undo_retry(mut self, policy: RetryPolicy) -> Self {
        self.undo_retry = policy;
        self
    }

    /// For all tries of the action together; the same again for the undo. 5 minutes unless set.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of the action.
    #[must_use]
    pub const fn retry_policy(&self) -> RetryPolicy {
        self.retry
    }
}

/// Where progress of a step goes.
pub(crate) type ProgressSink = Arc<dyn Fn(u8, String) + Send + Sync>;

/// What a step is given.
pub struct StepCtx<S: Saga> {
    pub(crate) id: SagaId,
    pub(crate) step: String,
    pub(crate) item: Option<String>,
    pub(crate) undoing: Undoing,
    pub(crate) params: Arc<S::Params>,
    pub(crate) record: Arc<SagaRecord>,
    pub(crate) attempt: u32,
    pub(crate) cancel: CancellationToken,
    pub(crate) progress: ProgressSink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undoing {
    No,
    Yes,
}

impl<S: Saga> StepCtx<S> {
    #[must_use]
    pub const fn saga(&self) -> SagaId {
        self.id
    }

    #[must_use]
    pub fn params(&self) -> &S::Params {
        &self.params
    }

    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.record.meta
    }

    /// Of [`Step::for_item`].
    #[must_use]
    pub fn item(&self) -> Option<&str> {
        self.item.as_deref()
    }

    /// The epoch to send with commands, so that agents refuse those of an orchestrator that was replaced.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.record.epoch
    }

    /// 1 for the first try in this process.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What an earlier step returned. An error if it has not run or returned something else: in an undo, use
    /// [`Self::output_if_any`].
    pub fn output<T: DeserializeOwned>(&self, step: &str) -> Result<T, StepError> {
        let missing = || StepError::permanent(format!("the step {step:?} has left no output"));
        let value = self.record.outputs.get(step).ok_or_else(missing)?;
        T::deserialize(value)
            .map_err(|e| StepError::permanent(format!("the output of step {step:?} is another")).because(e))
    }

    /// What a step returned, if it came so far. In an undo this is how to know the step's own result.
    #[must_use]
    pub fn output_if_any<T: DeserializeOwned>(&self, step: &str) -> Option<T> {
        self.record.outputs.get(step).and_then(|value| T::deserialize(value).ok())
    }

    /// The same number for every run of this step (or of its undo) of this saga: makes a command safe to repeat.
    #[must_use]
    pub fn operation_id(&self) -> OperationId {
        OperationId::from_uuid(self.derived_uuid(match self.undoing {
            Undoing::No => "operation",
            Undoing::Yes => "undo operation",
        }))
    }

    /// A UUID that is the same for every run of this step and of its undo, and differs by `purpose`: for ids of
    /// what the step creates.
    #[must_use]
    pub fn derived_uuid(&self, purpose: &str) -> Uuid {
        let mut hasher = blake3::Hasher::new_derive_key("xenith 2026 saga step id");
        for part in [self.id.as_bytes().as_slice(), self.step.as_bytes(), purpose.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// Cancelled when the saga should stop: a long step ends soon, with what it has or with
    /// [`StepError::Cancelled`]. Never cancelled while undoing.
    #[must_use]
    pub const fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Tells how far the step is. Cheap; not durable.
    pub fn progress(&self, percent: u8, message: impl Into<String>) {
        (self.progress)(percent.min(100), message.into());
    }
}
