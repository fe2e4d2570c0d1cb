//! Many changes, in as few commits as the store takes. What is added at once is in one commit; a crash between two
//! commits leaves what was added before, so whoever adds says what that means.

use xenith_orchestrator_store::{MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, StoreError, Transaction};

use crate::db::Db;

pub struct Pieces<'a> {
    db: &'a Db,
    commit: Transaction,
    /// Operations that are left for what the caller adds to the last commit.
    spare: usize,
}

impl<'a> Pieces<'a> {
    pub fn new(db: &'a Db) -> Self {
        Self { db, commit: Transaction::new(), spare: 0 }
    }

    /// The last commit has room for so many operations more.
    pub fn sparing(self, spare: usize) -> Self {
        Self { spare, ..self }
    }

    /// Commits what was added before, if this does not fit beside it.
    pub async fn add(&mut self, change: Transaction) -> Result<(), StoreError> {
        let ops = self.commit.ops() + change.ops() + self.spare;
        // The spare ones are of a few hundred bytes each.
        let bytes = self.commit.bytes() + change.bytes() + self.spare * 1024;
        if ops > MAX_TRANSACTION_OPS || bytes > MAX_TRANSACTION_BYTES {
            self.finish().await?;
        }
        self.commit = std::mem::take(&mut self.commit).and(change);
        Ok(())
    }

    pub async fn finish(&mut self) -> Result<(), StoreError> {
        let commit = std::mem::take(&mut self.commit);
        if commit.is_empty() { Ok(()) } else { self.db.store.commit(commit).await.map(drop) }
    }

    /// What is not committed yet, for the caller to commit.
    pub fn into_last(self) -> Transaction {
        self.commit
    }
}
