//! Records that say themselves which id they have, found by it.
//!
//! What always holds: of an id there is one record, and who changes a record in its place leaves its id as it is. There
//! are hundreds of thousands of records and twice as many places: a `HashMap` from ids keeps each id once more, in
//! every place.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// What has an id.
pub trait HasId {
    type Id: Copy + Eq + Hash;

    fn id(&self) -> Self::Id;
}

#[derive(Debug)]
pub struct ById<T> {
    records: HashTable<Arc<T>>,
    // Hosts say which ids their VMs have: with a secret of its own nobody fills one bucket on purpose.
    hasher: RandomState,
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self { records: HashTable::new(), hasher: RandomState::new() }
    }
}

impl<T: HasId> ById<T> {
    pub fn get(&self, id: &T::Id) -> Option<&Arc<T>> {
        self.records.find(self.hasher.hash_one(id), |held| held.id() == *id)
    }

    /// Leave its id as it is.
    pub fn get_mut(&mut self, id: &T::Id) -> Option<&mut Arc<T>> {
        self.records.find_mut(self.hasher.hash_one(id), |held| held.id() == *id)
    }

    /// Returns what had its id before.
    pub fn insert(&mut self, record: Arc<T>) -> Option<Arc<T>> {
        let (hasher, id) = (&self.hasher, record.id());
        let of = |held: &Arc<T>| hasher.hash_one(held.id());
        match self.records.entry(hasher.hash_one(id), |held| held.id() == id, of) {
            Entry::Occupied(mut held) => Some(std::mem::replace(held.get_mut(), record)),
            Entry::Vacant(place) => {
                place.insert(record);
                None
            }
        }
    }

    pub fn remove(&mut self, id: &T::Id) -> Option<Arc<T>> {
        let held = self.records.find_entry(self.hasher.hash_one(id), |held| held.id() == *id);
        held.ok().map(|held| held.remove().0)
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.records.iter()
    }

    pub fn ids(&self) -> impl Iterator<Item = T::Id> {
        self.records.iter().map(|held| held.id())
    }
}

/// Of two records with one id, the last one counts.
impl<T: HasId> FromIterator<Arc<T>> for ById<T> {
    fn from_iter<I: IntoIterator<Item = Arc<T>>>(records: I) -> Self {
        let records = records.into_iter();
        let mut all =
            Self { records: HashTable::with_capacity(records.size_hint().0), hasher: RandomState::new() };
        records.for_each(|record| drop(all.insert(record)));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Record(u32, &'static str);

    impl HasId for Record {
        type Id = u32;

        fn id(&self) -> u32 {
            self.0
        }
    }

    fn all(records: &ById<Record>) -> BTreeMap<u32, &'static str> {
        records.iter().map(|record| (record.0, record.1)).collect()
    }

    #[test]
    fn of_an_id_there_is_one_record() {
        let mut records = ById::default();
        assert!(records.get(&1).is_none() && records.remove(&1).is_none());
        assert_eq!(records.insert(Arc::new(Record(1, "a"))), None);
        assert_eq!(records.insert(Arc::new(Record(2, "b"))), None);
        assert_eq!(records.insert(Arc::new(Record(1, "c"))).as_deref(), Some(&Record(1, "a")));
        assert_eq!((records.len(), all(&records)), (2, BTreeMap::from([(1, "c"), (2, "b")])));
        let held = Arc::clone(records.get(&2).unwrap());
        Arc::make_mut(records.get_mut(&2).unwrap()).1 = "d";
        assert_eq!((held.1, records.get(&2).unwrap().1), ("b", "d"));
        assert!(records.get_mut(&3).is_none());
        assert_eq!(records.remove(&1).as_deref(), Some(&Record(1, "c")));
        assert_eq!((records.get(&1), all(&records)), (None, BTreeMap::from([(2, "d")])));
    }

    #[test]
    fn many_are_found_whether_they_came_at_once_or_one_by_one() {
        let records = || (0..1000).chain(500..600).map(|id| Arc::new(Record(id, "")));
        let at_once: ById<Record> = records().collect();
        let mut one_by_one = ById::default();
        records().for_each(|record| drop(one_by_one.insert(record)));
        for all in [at_once, one_by_one] {
            assert_eq!(all.len(), 1000);
            assert!((0..1000).all(|id| all.get(&id).is_some_and(|record| record.0 == id)));
            assert!(all.get(&1000).is_none());
            assert_eq!(all.ids().collect::<BTreeSet<_>>(), (0..1000).collect::<BTreeSet<_>>());
        }
    }
}
