//! What a guest wrote of itself by keys of its own choice.
//!
//! Always sorted, and each key once. An orchestrator holds one for each VM of its fleet, and a guest writes two or three
//! keys: a `BTreeMap` takes room for eleven with the first. Guests of one system write the same: a clone shares what it
//! was cloned from.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A map of texts that is read, and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GuestData(Arc<[(Box<str>, Box<str>)]>);

impl GuestData {
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let place = self.0.binary_search_by(|(held, _)| (**held).cmp(key)).ok()?;
        Some(&self.0[place].1)
    }

    /// Whether there are clones of it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Keys with their values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

/// Of a key that comes twice, the last one counts.
impl<K: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(K, V)> for GuestData {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(key, value)| (key.into(), value.into()));
        Self(pairs.collect::<BTreeMap<Box<str>, Box<str>>>().into_iter().collect())
    }
}

impl Serialize for GuestData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for GuestData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<Box<str>, Box<str>>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map() {
        let data: GuestData = [("b", "2"), ("a", "old"), ("a", "1"), ("c", "")].into_iter().collect();
        assert_eq!(data.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2"), ("c", "")]);
        for (key, expected) in [("a", Some("1")), ("b", Some("2")), ("c", Some("")), ("", None), ("d", None)]
        {
            assert_eq!(data.get(key), expected, "{key:?}");
        }
        assert_eq!(GuestData::default().get("a"), None);
    }

    #[test]
    fn a_clone_shares() {
        let data: GuestData = [("a", "1")].into_iter().collect();
        assert!(!data.is_shared());
        let clone = data.clone();
        assert!(data.is_shared() && clone == data);
        drop(clone);
        assert!(!data.is_shared());
    }

    #[test]
    fn it_is_written_and_read_as_a_map() {
        let text = r#"{"os_distro":"debian","os_uname":"6.12.0"}"#;
        let data: GuestData = serde_json::from_str(text).unwrap();
        assert_eq!(data.get("os_uname"), Some("6.12.0"));
        assert_eq!(serde_json::to_string(&data).unwrap(), text);
        let other_order = r#"{"os_uname":"6.12.0","os_distro":"debian"}"#;
        assert_eq!(serde_json::from_str::<GuestData>(other_order).unwrap(), data);
        assert_eq!(serde_json::to_string(&GuestData::default()).unwrap(), "{}");
    }
}
