//! Stores that change something about another one: what they do not change, they forward.

/// Methods of [`ObjectStore`](crate::store::ObjectStore) that are just those of another store.
///
/// `forward_store!(self => self.inner; read_range size list_each delete)` inside its `impl`.
#[macro_export]
macro_rules! forward_store {
    ($me:ident => $inner:expr; $($method:ident)+) => {
        $($crate::forward_store!(@ $method $me $inner);)+
    };
    (@ create $me:ident $inner:expr) => {
        fn create(
            &$me,
            key: &$crate::store::ObjectKey,
            parts: &[$crate::store::Bytes],
        ) -> Result<(), $crate::store::StoreError> {
            $inner.create(key, parts)
        }
    };
    (@ read_range $me:ident $inner:expr) => {
        fn read_range(
            &$me,
            key: &$crate::store::ObjectKey,
            range: std::ops::Range<u64>,
        ) -> Result<$crate::store::Bytes, $crate::store::StoreError> {
            $inner.read_range(key, range)
        }
    };
    (@ size $me:ident $inner:expr) => {
        fn size(&$me, key: &$crate::store::ObjectKey) -> Result<u64, $crate::store::StoreError> {
            $inner.size(key)
        }
    };
    (@ list_each $me:ident $inner:expr) => {
        fn list_each(
            &$me,
            prefix: &str,
            take: &mut dyn FnMut($crate::store::ObjectInfo) -> Result<(), $crate::store::StoreError>,
        ) -> Result<(), $crate::store::StoreError> {
            $inner.list_each(prefix, take)
        }
    };
    (@ delete $me:ident $inner:expr) => {
        fn delete(&$me, key: &$crate::store::ObjectKey) -> Result<(), $crate::store::StoreError> {
            $inner.delete(key)
        }
    };
    (@ describe $me:ident $inner:expr) => {
        fn describe(&$me) -> String {
            $inner.describe()
        }
    };
    (@ sweep $me:ident $inner:expr) => {
        fn sweep(&$me, age: std::time::Duration) -> Result<usize, $crate::store::StoreError> {
            $inner.sweep(age)
        }
    };
    (@ create_locked $me:ident $inner:expr) => {
        fn create_locked(
            &$me,
            key: &$crate::store::ObjectKey,
            parts: &[$crate::store::Bytes],
            lock: $crate::store::Lock,
        ) -> Result<(), $crate::store::StoreError> {
            $inner.create_locked(key, parts, lock)
        }
    };
    (@ extend_lock $me:ident $inner:expr) => {
        fn extend_lock(
            &$me,
            key: &$crate::store::ObjectKey,
            lock: $crate::store::Lock,
        ) -> Result<(), $crate::store::StoreError> {
            $inner.extend_lock(key, lock)
        }
    };
    (@ lock_of $me:ident $inner:expr) => {
        fn lock_of(
            &$me,
            key: &$crate::store::ObjectKey,
        ) -> Result<Option<$crate::store::Lock>, $crate::store::StoreError> {
            $inner.lock_of(key)
        }
    };
    (@ purge $me:ident $inner:expr) => {
        fn purge(&$me, key: &$crate::store::ObjectKey) -> Result<(), $crate::store::StoreError> {
            $inner.purge(key)
        }
    };
    (@ exposed $me:ident $inner:expr) => {
        fn exposed(
            &$me,
            key: &$crate::store::ObjectKey,
        ) -> Result<Option<String>, $crate::store::StoreError> {
            $inner.exposed(key)
        }
    };
    (@ clock $me:ident $inner:expr) => {
        fn clock(&$me) -> Result<u64, $crate::store::StoreError> {
            $inner.clock()
        }
    };
}
