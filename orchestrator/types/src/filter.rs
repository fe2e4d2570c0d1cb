//! The filter language, for who types it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A filter of some list that is being typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteListFilter {
    /// Whose list: `vm`, `host`, `network` and so on.
    pub noun: String,
    /// What stands before the cursor.
    #[serde(default)]
    pub text: String,
}
