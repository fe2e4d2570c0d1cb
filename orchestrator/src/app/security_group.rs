//! Who may talk with the VMs that have a tag.

use async_trait::async_trait;
use xenith_common_ids::SecurityGroupId;
use xenith_hypervisor_agent_types::filter::Rule;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::security_group::SecurityGroupApi;
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::security_group::{
    CreateSecurityGroup, SecurityGroup, SecurityGroupRef, SetSecurityGroupRules,
};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::App;
use super::find::administers;
use super::listings::filtered;
use super::listings::places::SecurityGroupRow;
use crate::errors::store_error;

/// Each is a line or three on every host that has a VM of the group.
const MOST_RULES: usize = 200;

fn check(direction: &str, rules: Option<&Vec<Rule>>) -> Result<(), ApiError> {
    match rules {
        Some(rules) if rules.len() > MOST_RULES => {
            Err(ApiError::invalid(direction, format_args!("give at most {MOST_RULES} rules")))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl SecurityGroupApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<SecurityGroup>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let (groups, _) = self.db.security_groups.all().await.map_err(|error| store_error(&error))?;
        let groups = groups.into_iter().map(|record| record.value);
        let seen = groups.filter(|group| self.sees_pool_of(&sees, group.pool));
        let rows = seen.map(|group| SecurityGroupRow { pool: self.pool_name(group.pool), group }).collect();
        Ok(filtered(rows, &request)?.map(|row: SecurityGroupRow| row.group))
    }

    async fn create(&self, call: &Call, request: CreateSecurityGroup) -> Result<SecurityGroup, ApiError> {
        let pool = self.find_pool(call, request.pool.as_deref())?;
        administers(call, pool.id)?;
        for (field, text) in [("name", &request.name), ("tag", &request.tag)] {
            if text.is_empty() || text.len() > 63 {
                return Err(ApiError::invalid(field, "use 1 to 63 characters"));
            }
        }
        check("ingress", request.ingress.as_ref())?;
        check("egress", request.egress.as_ref())?;
        let _alone = self.name_changes.lock().await;
        let (groups, _) = self.db.security_groups.all().await.map_err(|error| store_error(&error))?;
        if groups.iter().any(|other| other.value.pool == pool.id && other.value.name == request.name) {
            let message = format_args!("there is a security group {:?} in this pool already", request.name);
            return Err(ApiError::new(Reason::Conflict, message));
        }
        let CreateSecurityGroup { name, tag, description, ingress, egress, .. } = request;
        let id = SecurityGroupId::new();
        let group = SecurityGroup { id, name, pool: pool.id, tag, description, ingress, egress };
        let commit = self.require_pool_in(Transaction::new(), pool.id);
        let commit = self.db.security_groups.insert_in(commit, &group.id, &group);
        self.db.store.commit(commit).await.map_err(|error| Self::pool_gone(&error, &pool.name))?;
        self.networking.wake();
        Ok(group)
    }

    async fn set_rules(
        &self,
        call: &Call,
        request: SetSecurityGroupRules,
    ) -> Result<SecurityGroup, ApiError> {
        let found = self.find_security_group(call, &request.group).await?;
        administers(call, found.value.pool)?;
        check("ingress", request.ingress.as_ref())?;
        check("egress", request.egress.as_ref())?;
        let SetSecurityGroupRules { ingress, egress, .. } = request;
        let group = SecurityGroup { ingress, egress, ..found.value.clone() };
        self.db.security_groups.update(&found, &group).await.map_err(|error| store_error(&error))?;
        self.networking.wake();
        Ok(group)
    }

    async fn delete(&self, call: &Call, request: SecurityGroupRef) -> Result<Empty, ApiError> {
        let found = self.find_security_group(call, &request.group).await?;
        administers(call, found.value.pool)?;
        self.db.security_groups.delete(&found).await.map_err(|error| store_error(&error))?;
        self.networking.wake();
        Ok(Empty {})
    }
}
