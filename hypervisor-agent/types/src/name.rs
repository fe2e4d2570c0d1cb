//! Names of VMs, as people type them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// 1 to 63 characters: letters, digits, `.`, `_`, `-`, starting with a letter or digit. Safe as a domain
/// name for Xen, as a file name and on a command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be a name; use 1 to 63 letters, digits, dots, underscores or hyphens, \
     starting with a letter or digit"
)]
pub struct ParseNameError(String);

impl VmName {
    pub const MAX_LEN: usize = 63;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for VmName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, ParseNameError> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if starts_well && text.len() <= Self::MAX_LEN && text.chars().all(allowed) {
            Ok(Self(text))
        } else {
            Err(ParseNameError(text))
        }
    }
}

impl FromStr for VmName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> Self {
        name.0
    }
}

impl JsonSchema for VmName {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("VmName")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" })
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let long = "a".repeat(64);
        for (text, valid) in [
            ("web-1", true),
            ("9lives", true),
            ("db.prod_2", true),
            (&long[1..], true),
            (&long, false),
            ("", false),
            ("-web", false),
            ("../etc", false),
            ("a b", false),
            ("é", false),
        ] {
            assert_eq!(text.parse::<VmName>().is_ok(), valid, "{text}");
        }
    }
}
