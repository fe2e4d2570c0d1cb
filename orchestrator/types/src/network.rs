//! What NICs plug into: for now a bridge that the hosts of a pool have under one name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{NetworkId, PoolId};

use crate::Reference;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    pub id: NetworkId,
    pub name: String,
    pub pool: PoolId,
    pub bridge: String,
    #[serde(default)]
    pub description: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateNetwork {
    pub name: String,
    pub bridge: String,
    #[serde(default)]
    pub pool: Option<Reference>,
    #[serde(default)]
    pub description: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkRef {
    pub network: Reference,
}
