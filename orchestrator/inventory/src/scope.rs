//! What a caller may see.
//!
//! A scope is evaluated like a filter (but with case: `Prod` and `prod` are two pools) and applied before anything else: hidden rows are in no page, no count, no
//! facet, no completion, no delta, and getting one by its id is the same as getting one that does not exist.

/// A noun without the columns `pool` and `tag` shows nothing to a limited scope. Rows that are in any of the pools or have any of the tags; or everything; or, by default, nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scope {
    everything: bool,
    pools: Vec<String>,
    tags: Vec<String>,
}

impl Scope {
    #[must_use]
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Also the rows of this pool, by its name in the column `pool`.
    #[must_use]
    pub fn or_pool(mut self, pool: impl Into<String>) -> Self {
        self.pools.push(pool.into());
        self
    }

    /// Also the rows with this tag.
    #[must_use]
    pub fn or_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.everything
    }

    pub(crate) fn pools(&self) -> &[String] {
        &self.pools
    }

    pub(crate) fn tags(&self) -> &[String] {
        &self.tags
    }
}
