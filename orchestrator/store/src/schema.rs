//! Which keyspaces there are, which version their records have, and how older records become newer ones.
//!
//! Adding a keyspace, or a field with a default, needs no new version. A new version is for records that older
//! code would read wrongly. Migrations run when the store is opened, before anybody reads, in batches of a few
//! MiB; each batch holds its own progress mark, so a crash in the middle goes on where it stopped, and no record
//! is rewritten twice. The version number is written last: that is the commit point. Before the first batch a
//! checkpoint is made beside the store, the way back.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{Keyspace, UnsupportedSchema};

/// What becomes of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    Keep,
    Put(Bytes),
    Delete,
}

/// Keyspace, key and value of a record of the version before. Pure. An error stops the start of the program and
/// names the record.
pub type RewriteFn = fn(Keyspace, &[u8], &[u8]) -> Result<Rewrite, String>;

/// One step from version `to - 1` to `to`.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    pub to: u32,
    /// For the log, such as "VMs get a boot order".
    pub what: &'static str,
    /// Whose records are passed to `rewrite`.
    pub keyspaces: &'static [Keyspace],
    pub rewrite: RewriteFn,
}

/// The layout that a program expects.
#[derive(Debug, Clone)]
pub struct Schema {
    pub(crate) version: u32,
    pub(crate) keyspaces: BTreeSet<Keyspace>,
    pub(crate) migrations: Vec<Migration>,
}

impl Schema {
    /// `version` counts from 1.
    #[must_use]
    pub fn new(version: u32) -> Self {
        Self { version: version.max(1), keyspaces: BTreeSet::new(), migrations: Vec::new() }
    }

    /// What was declared, in order.
    pub fn keyspaces(&self) -> impl Iterator<Item = Keyspace> {
        self.keyspaces.iter().copied()
    }

    /// Adds keyspaces, such as those that a crate declares.
    #[must_use]
    pub fn with(mut self, keyspaces: &[Keyspace]) -> Self {
        self.keyspaces.extend(keyspaces);
        self
    }

    #[must_use]
    pub fn migration(mut self, migration: Migration) -> Self {
        self.keyspaces.extend(migration.keyspaces);
        self.migrations.push(migration);
        self
    }

    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The migrations that lead from `found` to this schema, in order.
    pub(crate) fn path_from(&self, found: u32) -> Result<Vec<Migration>, UnsupportedSchema> {
        if found > self.version {
            return Err(UnsupportedSchema::Newer { found, known: self.version });
        }
        (found + 1..=self.version)
            .map(|to| {
                let step = self.migrations.iter().find(|m| m.to == to);
                step.copied().ok_or(UnsupportedSchema::NoPath { found, to })
            })
            .collect()
    }
}
