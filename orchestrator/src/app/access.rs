//! What a caller sees, as the inventory wants it.

use xenith_orchestrator_api::{Caller, Sight};
use xenith_orchestrator_inventory::Scope;
use xenith_orchestrator_types::Permission;

use super::App;

impl App {
    /// The rows that `caller` may look at.
    pub(crate) fn vm_scope(&self, caller: &Caller) -> Scope {
        match caller.sight(Permission::View) {
            Sight::All => Scope::everything(),
            Sight::Only { pools, tags } => {
                let names = pools.iter().filter_map(|pool| self.views.pool(*pool)).map(|pool| pool.name);
                let scope = names.fold(Scope::nothing(), Scope::or_pool);
                tags.into_iter().fold(scope, Scope::or_tag)
            }
        }
    }
}
