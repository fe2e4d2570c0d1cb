//! What sagas of tests begin, by name, and how that ends: when they are told to.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use xenith_common_ids::SagaId;
use xenith_orchestrator_saga::Outcome;

#[derive(Default)]
pub struct Told {
    begun: Mutex<BTreeMap<String, SagaId>>,
    /// What has begun and is not here is on its way.
    ends: Mutex<HashMap<SagaId, Outcome>>,
    news: Notify,
}

pub fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Told {
    /// What had begun under that name before.
    pub fn begin(&self, name: &str, saga: SagaId) -> Option<SagaId> {
        lock(&self.begun).insert(name.to_owned(), saga)
    }

    pub fn begun(&self) -> Vec<String> {
        lock(&self.begun).keys().cloned().collect()
    }

    pub fn has_begun(&self, saga: SagaId) -> bool {
        lock(&self.begun).values().any(|begun| *begun == saga)
    }

    /// What that saga is there for.
    pub fn name_of(&self, saga: SagaId) -> Option<String> {
        lock(&self.begun).iter().find(|(_, begun)| **begun == saga).map(|(name, _)| name.clone())
    }

    /// Whether one has begun and not ended.
    pub fn is_going(&self) -> bool {
        let ends = lock(&self.ends);
        lock(&self.begun).values().any(|saga| !ends.contains_key(saga))
    }

    pub fn end(&self, name: &str, outcome: Outcome) {
        let saga = lock(&self.begun)[name];
        lock(&self.ends).insert(saga, outcome);
        self.news.notify_waiters();
    }

    /// Waits for that.
    pub async fn ended(&self, saga: SagaId) -> Outcome {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let ended = lock(&self.ends).get(&saga).cloned();
            if let Some(ended) = ended {
                return ended;
            }
            news.await;
        }
    }

    /// Waits until these have begun, and no other.
    pub async fn until(&self, begun: &[&str]) {
        let waiting = async {
            while self.begun() != begun {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert!(waited.is_ok(), "begun are {:?}, not {begun:?}", self.begun());
    }
}
