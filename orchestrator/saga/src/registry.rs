//! Which sagas this program can run, by kind and version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use xenith_common_ids::SagaId;

use crate::step::{ProgressSink, Step, StepCtx, Undo, Undoing};
use crate::{RetryPolicy, Saga, SagaRecord, StepError};

/// One try of a step.
pub(crate) struct Try {
    pub id: SagaId,
    pub index: usize,
    pub undoing: Undoing,
    pub attempt: u32,
    pub record: Arc<SagaRecord>,
    pub cancel: CancellationToken,
    pub progress: ProgressSink,
}

/// How a step may be undone, without its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UndoKind {
    Nothing,
    Action,
    Forbidden(String),
}

/// What the engine must know of a step.
#[derive(Debug, Clone)]
pub(crate) struct StepInfo {
    pub name: String,
    pub undo: UndoKind,
    pub retry: RetryPolicy,
    pub undo_retry: RetryPolicy,
    pub deadline: Duration,
}

/// A saga with its parameters, its type forgotten.
pub(crate) trait Plan: Send + Sync {
    fn steps(&self) -> &[StepInfo];
    fn run(&self, attempt: Try) -> BoxFuture<'static, Result<Value, StepError>>;
}

struct TypedPlan<S: Saga> {
    saga: Arc<S>,
    params: Arc<S::Params>,
    steps: Vec<Step<S>>,
    infos: Vec<StepInfo>,
}

impl<S: Saga> TypedPlan<S> {
    fn new(saga: Arc<S>, params: S::Params) -> Self {
        let steps = S::steps(&params);
        let info = |step: &Step<S>| StepInfo {
            name: step.name.clone(),
            undo: match &step.undo {
                Undo::Nothing => UndoKind::Nothing,
                Undo::Action(_) => UndoKind::Action,
                Undo::Forbidden(why) => UndoKind::Forbidden(why.clone().into_owned()),
            },
            retry: step.retry,
            undo_retry: step.undo_retry,
            deadline: step.deadline,
        };
        let infos = steps.iter().map(info).collect();
        Self { saga, params: Arc::new(params), steps, infos }
    }
}

impl<S: Saga> Plan for TypedPlan<S> {
    fn steps(&self) -> &[StepInfo] {
        &self.infos
    }

    fn run(&self, attempt: Try) -> BoxFuture<'static, Result<Value, StepError>> {
        let step = &self.steps[attempt.index];
        let action = match (attempt.undoing, &step.undo) {
            (Undoing::No, _) => Arc::clone(&step.action),
            (Undoing::Yes, Undo::Action(undo)) => Arc::clone(undo),
            (Undoing::Yes, Undo::Nothing | Undo::Forbidden(_)) => {
                return Box::pin(std::future::ready(Ok(Value::Null)));
            }
        };
        let ctx = StepCtx {
            id: attempt.id,
            step: step.name.clone(),
            item: step.item.clone(),
            undoing: attempt.undoing,
            params: Arc::clone(&self.params),
            record: attempt.record,
            attempt: attempt.attempt,
            cancel: attempt.cancel,
            progress: attempt.progress,
        };
        let saga = Arc::clone(&self.saga);
        Box::pin(async move { action(&saga, &ctx).await })
    }
}

type MakePlan = Box<dyn Fn(&Value) -> Result<Arc<dyn Plan>, serde_json::Error> + Send + Sync>;

/// The sagas of a program. Filled at start, then given to the engine.
#[derive(Default)]
pub struct SagaRegistry {
    kinds: BTreeMap<(&'static str, u32), MakePlan>,
}

impl std::fmt::Debug for SagaRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}

impl SagaRegistry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind. `saga` holds what its steps work with.
    ///
    /// # Panics
    /// If the kind and version is there already: two meanings for one stored name.
    pub fn register<S: Saga>(&mut self, saga: S) -> &mut Self {
        let saga = Arc::new(saga);
        let make: MakePlan = Box::new(move |params| {
            let params: S::Params = serde::Deserialize::deserialize(params)?;
            Ok(Arc::new(TypedPlan::new(Arc::clone(&saga), params)))
        });
        let before = self.kinds.insert((S::KIND, S::VERSION), make);
        assert!(before.is_none(), "the saga {} version {} is registered twice", S::KIND, S::VERSION);
        self
    }

    /// What is registered, each kind once.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let mut kinds: Vec<_> = self.kinds.keys().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        kinds.into_iter()
    }

    /// `None`: no such kind in this version.
    pub(crate) fn plan(
        &self,
        kind: &str,
        version: u32,
        params: &Value,
    ) -> Option<Result<Arc<dyn Plan>, serde_json::Error>> {
        let found = self.kinds.iter().find(|((k, v), _)| *k == kind && *v == version);
        found.map(|(_, make)| make(params))
    }
}
