//! What steps say when they fail, and what the engine says to its callers.

use std::time::Duration;

use xenith_common_ids::SagaId;
use xenith_orchestrator_store::StoreError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a step (or an undo) did not succeed. The text goes to the user as the reason.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// May succeed later by itself: the engine tries again, as the step's policy says.
    #[error("{message}")]
    Retryable {
        message: String,
        #[source]
        source: Option<Source>,
    },
    /// Will not succeed: the saga unwinds.
    #[error("{message}")]
    Permanent {
        message: String,
        #[source]
        source: Option<Source>,
    },
    /// Will not succeed, and no try of it has changed anything: the saga unwinds from the step before. Its undo would take
    /// back what is another's.
    #[error("{message}")]
    Untouched {
        message: String,
        #[source]
        source: Option<Source>,
    },
    /// The step stopped because it was asked to.
    #[error("the step stopped because the operation was cancelled")]
    Cancelled,
}

impl StepError {
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::Retryable { message: message.into(), source: None }
    }

    pub fn permanent(message: impl Into<String>) -> Self {
        Self::Permanent { message: message.into(), source: None }
    }

    pub fn untouched(message: impl Into<String>) -> Self {
        Self::Untouched { message: message.into(), source: None }
    }

    /// Keeps the error that caused it.
    #[must_use]
    pub fn because(self, cause: impl Into<Source>) -> Self {
        let source = Some(cause.into());
        match self {
            Self::Retryable { message, .. } => Self::Retryable { message, source },
            Self::Permanent { message, .. } => Self::Permanent { message, source },
            Self::Untouched { message, .. } => Self::Untouched { message, source },
            Self::Cancelled => Self::Cancelled,
        }
    }

    /// The message with those of its causes, for the record and the user.
    #[must_use]
    pub fn chain(&self) -> String {
        xenith_common_text::chain(self)
    }
}

/// A store that is full or slow is worth another try; a record that changed under the step, too.
impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        let message = "the step could not use the store".to_owned();
        let again = error.is_retryable() || error.is_conflict();
        let source: Option<Source> = Some(Box::new(error));
        if again { Self::Retryable { message, source } } else { Self::Permanent { message, source } }
    }
}

/// Errors of [`crate::SagaEngine`].
#[derive(Debug, thiserror::Error)]
pub enum SagaError {
    #[error("there is no saga {0}")]
    NotFound(SagaId),

    #[error("no saga {kind:?} is registered (an error of the program)")]
    UnknownKind { kind: String },

    #[error("the parameters of {kind} cannot be stored or read")]
    Params {
        kind: String,
        #[source]
        source: serde_json::Error,
    },

    /// What was asked does not fit the saga's state.
    #[error("saga {id} is {state}, so it cannot be {asked}")]
    WrongState { id: SagaId, state: &'static str, asked: &'static str },

    /// Cancelling would have to undo what cannot be undone.
    #[error("saga {id} has passed the step {step:?}, which cannot be undone; it will be finished")]
    PointOfNoReturn { id: SagaId, step: String },

    #[error("{running} operations are under way or waiting, which is the limit; try again in {}s", .retry_after.as_secs())]
    Busy { running: usize, retry_after: Duration },

    /// Another orchestrator has taken over. Nothing more is run here.
    #[error("another orchestrator has taken over saga {id}")]
    Fenced { id: SagaId },

    #[error("the engine is shutting down")]
    ShuttingDown,

    #[error("saga {id} is larger than a record may be; its parameters or outputs must be kept elsewhere")]
    TooLarge {
        id: SagaId,
        #[source]
        source: StoreError,
    },

    #[error("the log of sagas cannot be used")]
    Store(#[source] StoreError),
}

impl From<StoreError> for SagaError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
