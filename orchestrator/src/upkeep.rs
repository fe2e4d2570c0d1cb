//! What a store lacks that an earlier program wrote: made once, from the records that are there.
//!
//! What is written last says that it is whole. A crash before that makes all of it again, so what is put for a record has
//! to be the same each time.

use serde::Serialize;
use serde::de::DeserializeOwned;
use xenith_orchestrator_store::{Collection, Record, StoreError, StoreKey, Transaction};

use crate::db::Db;
use crate::pieces::Pieces;

/// Records read at a time.
const PAGE: usize = 100;

/// Unless `mark` says that it was done: puts what each record of `of` needs.
pub async fn once<K, V>(
    db: &Db,
    mark: &str,
    of: &Collection<K, V>,
    put: impl Fn(&Record<K, V>) -> Transaction,
) -> Result<(), StoreError>
where
    K: StoreKey,
    V: Serialize + DeserializeOwned,
{
    let mark = mark.to_owned();
    if db.upkeep.get(&mark).await?.is_some() {
        return Ok(());
    }
    let (mut pieces, mut after) = (Pieces::new(db), None);
    loop {
        let page = of.page(after, PAGE).await?;
        for record in &page.records {
            pieces.add(put(record)).await?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    pieces.finish().await?;
    db.upkeep.put(&mark, &1).await.map(drop)
}
