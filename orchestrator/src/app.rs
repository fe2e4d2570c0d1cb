//! What the API's methods decide: find the objects, check who may, check what can be, begin.
//!
//! Anything of more than one step is a saga; the method answers with its task at once. Objects that a caller
//! may not see do not exist for them: the same error, the same words.

mod alarm;
mod auth;
mod backup;
mod backup_files;
mod backup_job;
mod backup_plan;
mod backup_proof;
mod backup_restore;
mod balance_auto;
mod balance_power;
mod balance_view;
mod begin;
mod cloud_init;
mod console;
mod cpu_level;
mod filter;
mod find;
mod fragment;
mod ha;
mod ha_keep;
mod ha_power;
mod ha_restart;
mod host;
mod host_management;
mod host_power;
mod host_restart;
mod host_staying;
mod host_upgrade;
mod import;
mod import_left;
mod import_source;
mod iso;
mod listings;
mod lists;
mod log;
mod mail;
pub(crate) mod metrics;
mod network;
mod orphan;
mod pool;
mod pool_balance;
mod pool_update;
mod repository;
mod restore_holds;
mod second_factor;
mod security_group;
mod snapshot;
mod snapshot_memory;
mod sr;
mod standby;
mod standby_plan;
mod system;
mod task;
mod template;
mod token;
mod user;
mod user_access;
mod vdi;
mod vdi_lease;
mod vdi_move;
mod vdi_transfer;
mod vm;
mod vm_bulk;
mod vm_clone;
mod vm_disks_go;
mod vm_hardware;
mod vm_migrate;
mod vm_new;
mod vm_nics;
mod vm_place;
mod vm_spec;
mod wave;
mod wave_places;

use std::sync::{Arc, Mutex};

use xenith_orchestrator_api::{
    Registrar, alarm as alarm_api, alarm_rule, audit, auth as auth_api, backup as backup_api,
    backup_job as backup_job_api, backup_run, console as console_api, event, filter as filter_api,
    fragment as fragment_api, ha as ha_api, host as host_api, import as import_api, iso as iso_api,
    mail as mail_api, metrics as metrics_api, network as network_api, orphan as orphan_api, pool as pool_api,
    repository as repository_api, role, security_group as security_group_api, snapshot as snapshot_api,
    sr as sr_api, standby as standby_api, system as system_api, task as task_api, template as template_api,
    token as token_api, user as user_api, vdi as vdi_api, vm as vm_api, wave as wave_api,
};
use xenith_orchestrator_saga::SagaEngine;

use crate::audit::Audit;
use crate::authn::Authn;
use crate::authority::Certificates;
use crate::console::Tickets;
use crate::db::Db;
use crate::events::Events;
use crate::fleet::Fleet;
use crate::ha::Ha;
use crate::identities::Identities;
use crate::imports::LiveImports;
use crate::metering::Metering;
use crate::networking::Networking;
use crate::orphans::Orphans;
use crate::readers::Readers;
use crate::rpc::RateLimit;
use crate::runs::Runs;
use crate::secret::Vault;
use crate::views::{TaskList, Views};

pub use balance_auto::Looks;
pub use balance_power::{NoRoom, PowerLooks};
pub use begin::Promises;
pub(crate) use ha_keep::keep as keep_ha;
pub(crate) use ha_power::keep as keep_power;
pub use import_left::ImportsLeft;
pub(crate) use import_source::vm_reference;
pub(crate) use lists::{Listed, parse_filter};
pub(crate) use log::sees_event;
pub use restore_holds::RestoreHolds;
pub(crate) use sr::scan as scan_sr;
pub(crate) use task::task_of;
pub(crate) use vm::{api_row as vm_row, filter as vm_filter};

/// The pool of who names none.
pub const DEFAULT_POOL: &str = "default";

/// Everything that the methods work with.
pub struct App {
    pub db: Db,
    pub fleet: Arc<Fleet>,
    pub views: Arc<Views>,
    pub engine: SagaEngine,
    pub tasks: Arc<TaskList>,
    pub orphans: Orphans,
    pub certificates: Arc<Certificates>,
    pub identities: Arc<Identities>,
    pub authn: Arc<Authn>,
    /// Of all who call.
    pub rate: RateLimit,
    pub audit: Arc<Audit>,
    pub events: Events,
    /// `host:port` for join tokens, as hosts reach us.
    pub join_address: String,
    pub promises: Mutex<Promises>,
    pub no_room: Mutex<NoRoom>,
    pub imports: Arc<LiveImports>,
    pub tickets: Tickets,
    /// Opens the secrets of repositories.
    pub vault: Arc<Vault>,
    pub readers: Readers,
    /// Held while something gets a name that is unique among few, which are read for it as a whole: pools, networks, SRs,
    /// security groups, templates, fragments, backup jobs; or a power control, which is one host's. And while a pool is
    /// deleted, with what is in it.
    pub name_changes: tokio::sync::Mutex<()>,
    /// Held while a user may lose what they are: of two admins who end each other at the same moment, one stays. And while
    /// one gets a token: of two at the same moment both count.
    pub user_changes: tokio::sync::Mutex<()>,
    pub metering: Arc<Metering>,
    pub networking: Arc<Networking>,
    pub ha: Ha,
    /// Of backup jobs, for their list.
    pub runs: Runs,
    /// Wakes the backup runner.
    pub runner: tokio::sync::Notify,
    /// What calls have changed, for who shows it.
    pub changes: crate::changes::Changes,
}

impl App {
    /// Hands every method to `registrar`.
    pub fn register(self: &Arc<Self>, registrar: &mut impl Registrar) {
        auth_api::register(self, registrar);
        user_api::register(self, registrar);
        token_api::register(self, registrar);
        role::register(self, registrar);
        host_api::register(self, registrar);
        pool_api::register(self, registrar);
        ha_api::register(self, registrar);
        vm_api::register(self, registrar);
        network_api::register(self, registrar);
        security_group_api::register(self, registrar);
        vdi_api::register(self, registrar);
        import_api::register(self, registrar);
        wave_api::register(self, registrar);
        console_api::register(self, registrar);
        sr_api::register(self, registrar);
        iso_api::register(self, registrar);
        template_api::register(self, registrar);
        fragment_api::register(self, registrar);
        snapshot_api::register(self, registrar);
        repository_api::register(self, registrar);
        backup_job_api::register(self, registrar);
        backup_run::register(self, registrar);
        backup_api::register(self, registrar);
        standby_api::register(self, registrar);
        task_api::register(self, registrar);
        orphan_api::register(self, registrar);
        event::register(self, registrar);
        filter_api::register(self, registrar);
        metrics_api::register(self, registrar);
        alarm_api::register(self, registrar);
        alarm_rule::register(self, registrar);
        audit::register(self, registrar);
        mail_api::register(self, registrar);
        system_api::register(self, registrar);
    }
}
