//! Several operations as one: all happen, or none, with nothing of others in between.
//!
//! xenstored lets transactions run side by side and refuses the commit (EAGAIN) of one whose nodes were
//! changed meanwhile. So the body is run again from its start, on what the store holds then, a bounded number
//! of times with growing, jittered waits. The body must not have effects outside the transaction.
//!
//! Dropped half way (an error, a cancelled caller, a lost connection): nothing of it is in the store; the daemon
//! is told to forget it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use xenith_common_tasks::Backoff;

use crate::connection::{OpenTransaction, Xenstore};
use crate::error::XenstoreError;
use crate::nodes::Nodes;
use crate::wire::{self, MessageType};

/// With the waits below this is about three seconds of losing every race; one of the racers wins each time, so
/// only a hundred steady writers of one node get there.
const ATTEMPTS: u32 = 48;
const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// An open transaction, for the body of [`Xenstore::transaction`]. Useless (NotFound) after its end.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub(crate) nodes: Nodes,
    open: Arc<OpenTransaction>,
}

impl Xenstore {
    /// Runs `body` in a transaction and commits it; `about` names it in errors.
    ///
    /// ```no_run
    /// # async fn example(store: &xenith_hypervisor_agent_xenstore::Xenstore)
    /// # -> Result<(), xenith_hypervisor_agent_xenstore::XenstoreError> {
    /// let count = store
    ///     .transaction("/tool/count", |tx| async move {
    ///         let count = tx.read_if_there("/tool/count").await?.and_then(|n| n.parse().ok()).unwrap_or(0u64);
    ///         tx.write("/tool/count", (count + 1).to_string()).await?;
    ///         Ok(count + 1)
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// An error of `body` aborts. [`XenstoreError::Again`] means that every attempt met a conflict;
    /// [`XenstoreError::Disconnected`] during the commit that the outcome is unknown.
    pub async fn transaction<T, F, Fut>(&self, about: &str, body: F) -> Result<T, XenstoreError>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T, XenstoreError>>,
    {
        static SEED: AtomicU64 = AtomicU64::new(0);
        let seed = (u64::from(std::process::id()) << 32) ^ SEED.fetch_add(1, Ordering::Relaxed);
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, seed);
        for _ in 0..ATTEMPTS {
            match self.attempt(about, &body).await {
                Err(XenstoreError::Again { .. }) => tokio::time::sleep(backoff.next_delay()).await,
                outcome => return outcome,
            }
        }
        Err(XenstoreError::Again { path: about.to_owned(), attempts: ATTEMPTS })
    }

    async fn attempt<T, F, Fut>(&self, about: &str, body: &F) -> Result<T, XenstoreError>
    where
        F: Fn(Transaction) -> Fut,
        Fut: Future<Output = Result<T, XenstoreError>>,
    {
        let open = self.link.begin().await.map_err(|failure| failure.about(about))?;
        let nodes = Nodes::new(self.link.clone(), open.scope());
        let transaction = Transaction { nodes, open: Arc::new(open) };
        let value = body(transaction.clone()).await?;
        transaction.commit(about).await?;
        Ok(value)
    }
}

impl Transaction {
    async fn commit(self, about: &str) -> Result<(), XenstoreError> {
        let end = self.nodes.request(MessageType::TransactionEnd, about, wire::nul_terminated(&["T"])).await;
        // Answered, so the daemon has ended it either way. If the body kept a clone, that one sends a needless
        // abort later, which the daemon refuses and nobody reads.
        if let Some(open) = Arc::into_inner(self.open) {
            open.ended();
        }
        end.map(drop)
    }
}
