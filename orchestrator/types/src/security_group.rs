//! Who may talk with the VMs that have a tag.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{PoolId, SecurityGroupId};
use xenith_hypervisor_agent_types::filter::Rule;

use crate::Reference;

/// A direction without a list of rules is not spoken of: it is open, unless another group of the VM speaks of it. An
/// empty list closes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityGroup {
    pub id: SecurityGroupId,
    pub name: String,
    pub pool: PoolId,
    /// The VMs of the pool with this tag are in the group.
    pub tag: String,
    #[serde(default)]
    pub description: String,
    /// What may be sent to them.
    #[serde(default)]
    pub ingress: Option<Vec<Rule>>,
    /// What they may send.
    #[serde(default)]
    pub egress: Option<Vec<Rule>>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSecurityGroup {
    pub name: String,
    pub tag: String,
    #[serde(default)]
    pub pool: Option<Reference>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub ingress: Option<Vec<Rule>>,
    #[serde(default)]
    pub egress: Option<Vec<Rule>>,
}

/// Both directions are replaced by what is here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSecurityGroupRules {
    pub group: Reference,
    #[serde(default)]
    pub ingress: Option<Vec<Rule>>,
    #[serde(default)]
    pub egress: Option<Vec<Rule>>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityGroupRef {
    pub group: Reference,
}
