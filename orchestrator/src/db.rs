//! What the orchestrator keeps: one collection per noun, and the indexes that keep names and addresses unique.
//!
//! What always holds: a record and its index entries are written in one transaction; an index entry is inserted
//! only if absent, so two callers cannot take one name. Secrets are stored as hashes, or sealed
//! ([`crate::secret`]); so are the answers that are kept under idempotency keys, in which secrets are issued. The test
//! `secrets` looks for them in every record.

use std::path::Path;
use std::sync::Arc;

use time::OffsetDateTime;
use xenith_common_ids::{
    AlarmRuleId, AlarmSilenceId, BackupJobId, BackupRunId, FragmentId, HostId, ImportId, ImportPlanId,
    ImportSourceId, NetworkId, PoolId, RepositoryId, SagaId, SecurityGroupId, SnapshotId, SrId, TemplateId,
    TokenId, UserId, VdiId, VmId,
};
use xenith_orchestrator_store::{Collection, Keyspace, RocksStore, Schema, StateStore, StoreError};
use xenith_orchestrator_types::backup::{BackupProof, BackupRun};
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::security_group::SecurityGroup;
use xenith_orchestrator_types::template::Template;
use xenith_orchestrator_types::vdi::Vdi;

use crate::background::store::Checkpoints;
use crate::cpu_level::CpuLevelRecord;
use crate::ha::{HaHostRecord, HaPoolRecord};
use crate::model::{
    AlarmRecord, AlarmRuleRecord, AlarmSilenceRecord, AuditedTask, AuthorityRecord, BackupRecord,
    BalanceRecord, BaseRecord, EventRecord, FragmentRecord, HostRecord, IdempotencyRecord, ImportRecord,
    ImportSourceRecord, JobRecord, JoinRecord, MailRecord, NoticeRecord, ReportRecord, RepositoryRecord,
    SessionRecord, SnapshotRecord, SrRecord, StandbyRecord, TokenRecord, UserRecord, VmRecord, WaveRecord,
};
use crate::networking::mesh::HostKeys;
use crate::networking::wanted::Vifs;
use xenith_orchestrator_types::audit::AuditRecord;

const VM: Keyspace = Keyspace::new("vm");
const VM_NAME: Keyspace = Keyspace::new("vm.name");
const MAC: Keyspace = Keyspace::new("mac");
const HOST: Keyspace = Keyspace::new("host");
const HOST_NAME: Keyspace = Keyspace::new("host.name");
const JOIN: Keyspace = Keyspace::new("host.join");
const POOL: Keyspace = Keyspace::new("pool");
const BALANCE: Keyspace = Keyspace::new("pool.balance");
const CPU_LEVEL: Keyspace = Keyspace::new("pool.cpu_level");
const NETWORK: Keyspace = Keyspace::new("network");
const HOST_NETWORKS: Keyspace = Keyspace::new("host.networks");
const HA_POOL: Keyspace = Keyspace::new("ha.pool");
const HA_HOST: Keyspace = Keyspace::new("ha.host");
const SECURITY_GROUP: Keyspace = Keyspace::new("security_group");
const VIF: Keyspace = Keyspace::new("vif");
const VDI: Keyspace = Keyspace::new("vdi");
const IMPORT: Keyspace = Keyspace::new("import");
const IMPORT_SOURCE: Keyspace = Keyspace::new("import.source");
const WAVE: Keyspace = Keyspace::new("import.wave");
const SR: Keyspace = Keyspace::new("sr");
const TEMPLATE: Keyspace = Keyspace::new("template");
const FRAGMENT: Keyspace = Keyspace::new("fragment");
const SNAPSHOT: Keyspace = Keyspace::new("snapshot");
const SNAPSHOT_BY_VM: Keyspace = Keyspace::new("snapshot.by_vm");
const REPOSITORY: Keyspace = Keyspace::new("repository");
const REPOSITORY_NAME: Keyspace = Keyspace::new("repository.name");
const BACKUP_JOB: Keyspace = Keyspace::new("backup.job");
const BACKUP_RUN: Keyspace = Keyspace::new("backup.run");
const BACKUP: Keyspace = Keyspace::new("backup");
const BACKUP_BASE: Keyspace = Keyspace::new("backup.base");
const BACKUP_OLD: Keyspace = Keyspace::new("backup.old");
const PROOF: Keyspace = Keyspace::new("backup.proof");
const BACKUP_BY_VM: Keyspace = Keyspace::new("backup.by_vm");
const BACKUP_LIVE: Keyspace = Keyspace::new("backup.live");
const STANDBY: Keyspace = Keyspace::new("standby");
const REPORT: Keyspace = Keyspace::new("backup.report");
const MAIL: Keyspace = Keyspace::new("mail");
const UPKEEP: Keyspace = Keyspace::new("upkeep");
const UNPROTECTED: Keyspace = Keyspace::new("backup.unprotected");
const ALARM: Keyspace = Keyspace::new("alarm");
const ALARM_RULE: Keyspace = Keyspace::new("alarm.rule");
const ALARM_SILENCE: Keyspace = Keyspace::new("alarm.silence");
const ALARM_NOTICE: Keyspace = Keyspace::new("alarm.notice");
const USER: Keyspace = Keyspace::new("user");
const USER_NAME: Keyspace = Keyspace::new("user.name");
const TOKEN: Keyspace = Keyspace::new("token");
const SESSION: Keyspace = Keyspace::new("session");
const AUDIT: Keyspace = Keyspace::new("audit");
const AUDIT_OPEN: Keyspace = Keyspace::new("audit.open");
const AUDIT_ASKED: Keyspace = Keyspace::new("audit.asked");
const EVENT: Keyspace = Keyspace::new("event");
const AUTHORITY: Keyspace = Keyspace::new("authority");
const IDEMPOTENCY: Keyspace = Keyspace::new("idempotency");

/// Raise it with every incompatible change of a record, and add the migration.
const SCHEMA_VERSION: u32 = 1;

/// A VM, and of a backup of it the time (counted down, so that the newest comes first), the repository and the id there.
pub type BackupOfVm = (VmId, (u64, (RepositoryId, String)));

/// Everything that is declared, the engine's own included.
#[must_use]
pub fn schema() -> Schema {
    Schema::new(SCHEMA_VERSION)
        .with(&[
            VM,
            VM_NAME,
            MAC,
            HOST,
            HOST_NAME,
            JOIN,
            POOL,
            BALANCE,
            CPU_LEVEL,
            NETWORK,
            HOST_NETWORKS,
            HA_POOL,
            HA_HOST,
            SECURITY_GROUP,
            VIF,
            VDI,
            IMPORT,
            IMPORT_SOURCE,
            WAVE,
            SR,
            TEMPLATE,
            FRAGMENT,
            SNAPSHOT,
            SNAPSHOT_BY_VM,
            REPOSITORY,
            REPOSITORY_NAME,
            BACKUP_JOB,
            BACKUP_RUN,
            BACKUP,
            BACKUP_BASE,
            BACKUP_OLD,
            PROOF,
            BACKUP_BY_VM,
            BACKUP_LIVE,
            STANDBY,
            REPORT,
            MAIL,
            UPKEEP,
            UNPROTECTED,
            ALARM,
            ALARM_RULE,
            ALARM_SILENCE,
            ALARM_NOTICE,
            USER,
            USER_NAME,
            TOKEN,
            SESSION,
            AUDIT,
            AUDIT_OPEN,
            AUDIT_ASKED,
            EVENT,
            AUTHORITY,
            IDEMPOTENCY,
        ])
        .with(xenith_orchestrator_saga::KEYSPACES)
}

/// The collections. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pub store: Arc<dyn StateStore>,
    pub vms: Collection<VmId, VmRecord>,
    /// By name and pool: a name is unique within its pool.
    pub vm_names: Collection<(String, PoolId), VmId>,
    /// Who has a MAC address.
    pub macs: Collection<String, VmId>,
    pub hosts: Collection<HostId, HostRecord>,
    pub host_names: Collection<String, HostId>,
    /// By the BLAKE3 of the token's secret, in hexadecimal.
    pub joins: Collection<String, JoinRecord>,
    pub pools: Collection<PoolId, Pool>,
    /// Of pools of which anything is written down.
    pub balances: Collection<PoolId, BalanceRecord>,
    /// Of pools that have a level, or had one.
    pub cpu_levels: Collection<PoolId, CpuLevelRecord>,
    pub networks: Collection<NetworkId, Network>,
    /// Hosts that were told to have networks or rules, with their keys where they encrypt; written by
    /// [`crate::networking`] alone.
    pub host_networks: Collection<HostId, Option<HostKeys>>,
    /// Pools in which high availability is on.
    pub ha_pools: Collection<PoolId, HaPoolRecord>,
    /// Their hosts, once they are armed.
    pub ha_hosts: Collection<HostId, HaHostRecord>,
    pub security_groups: Collection<SecurityGroupId, SecurityGroup>,
    /// What is written down for the NICs of a VM, where anything is.
    pub vifs: Collection<VmId, Vifs>,
    pub vdis: Collection<VdiId, Vdi>,
    pub imports: Collection<ImportId, ImportRecord>,
    pub import_sources: Collection<ImportSourceId, ImportSourceRecord>,
    pub waves: Collection<ImportPlanId, WaveRecord>,
    pub srs: Collection<SrId, SrRecord>,
    pub templates: Collection<TemplateId, Template>,
    pub fragments: Collection<FragmentId, FragmentRecord>,
    pub snapshots: Collection<SnapshotId, SnapshotRecord>,
    /// Which snapshots a VM has; written by [`crate::snapshots`] alone.
    pub snapshots_by_vm: Collection<(VmId, SnapshotId), ()>,
    pub repositories: Collection<RepositoryId, RepositoryRecord>,
    pub repository_names: Collection<String, RepositoryId>,
    pub backup_jobs: Collection<BackupJobId, JobRecord>,
    pub backup_runs: Collection<BackupRunId, BackupRun>,
    /// By repository and the backup's id there.
    pub backups: Collection<(RepositoryId, String), BackupRecord>,
    pub bases: Collection<(VdiId, RepositoryId), BaseRecord>,
    /// By the VM that stands by.
    pub standbys: Collection<VmId, StandbyRecord>,
    /// Snapshots that were bases and are to be deleted.
    pub old_snapshots: Collection<VdiId, BaseRecord>,
    /// By repository and the backup's id there: whether it was seen to boot.
    pub proofs: Collection<(RepositoryId, String), BackupProof>,
    /// Which backups a VM has; written by [`crate::catalogue`] alone.
    pub backups_by_vm: Collection<BackupOfVm, ()>,
    /// The run of a job that is not over: a job has one at a time.
    pub live_runs: Collection<BackupJobId, BackupRunId>,
    /// Reports that nobody has taken yet, by run and way.
    pub reports: Collection<(BackupRunId, String), ReportRecord>,
    pub mail: Collection<(), MailRecord>,
    /// What was made once for stores of an earlier program, and its version.
    pub upkeep: Collection<String, u32>,
    /// VMs of which it was told that nothing protects them, and when.
    pub unprotected: Collection<VmId, OffsetDateTime>,
    /// What is wrong now, by rule and `vm/…` or `host/…`; written by [`crate::alarms`] alone.
    pub alarms: Collection<(AlarmRuleId, String), AlarmRecord>,
    pub alarm_rules: Collection<AlarmRuleId, AlarmRuleRecord>,
    pub alarm_silences: Collection<AlarmSilenceId, AlarmSilenceRecord>,
    /// Who has to be told of alarms, by rule and what makes it unique.
    pub alarm_notices: Collection<(AlarmRuleId, String), NoticeRecord>,
    pub users: Collection<UserId, UserRecord>,
    pub user_names: Collection<String, UserId>,
    pub tokens: Collection<TokenId, TokenRecord>,
    /// By the BLAKE3 of the session's secret, in hexadecimal.
    pub sessions: Collection<String, SessionRecord>,
    /// By sequence number.
    pub audit: Collection<u64, AuditRecord>,
    /// Tasks of calls whose end is not in the audit log.
    pub audit_open: Collection<SagaId, AuditedTask>,
    /// The numbers of calls that were asked for and have no end yet, neither their own nor a task whose end is written.
    pub audit_asked: Collection<u64, ()>,
    /// By sequence number.
    pub events: Collection<u64, EventRecord>,
    pub authority: Collection<(), AuthorityRecord>,
    /// By user and key.
    pub idempotency: Collection<(UserId, String), IdempotencyRecord>,
    /// Of a store on disk.
    pub checkpoints: Option<Checkpoints>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Db")
    }
}

impl Db {
    /// Opens the store in `folder`, which is made when it is not there. Its checkpoints are in `checkpoints` beside
    /// it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let store = Arc::new(RocksStore::open(folder, schema())?);
        let checkpoints =
            Checkpoints { store: Arc::clone(&store), folder: folder.with_file_name("checkpoints") };
        Ok(Self { checkpoints: Some(checkpoints), ..Self::over(store) })
    }

    #[must_use]
    pub fn over(store: Arc<dyn StateStore>) -> Self {
        macro_rules! collection {
            ($keyspace:ident) => {
                Collection::new(Arc::clone(&store), $keyspace)
            };
        }
        Self {
            vms: collection!(VM),
            vm_names: collection!(VM_NAME),
            macs: collection!(MAC),
            hosts: collection!(HOST),
            host_names: collection!(HOST_NAME),
            joins: collection!(JOIN),
            pools: collection!(POOL),
            balances: collection!(BALANCE),
            cpu_levels: collection!(CPU_LEVEL),
            networks: collection!(NETWORK),
            host_networks: collection!(HOST_NETWORKS),
            ha_pools: collection!(HA_POOL),
            ha_hosts: collection!(HA_HOST),
            security_groups: collection!(SECURITY_GROUP),
            vifs: collection!(VIF),
            vdis: collection!(VDI),
            imports: collection!(IMPORT),
            import_sources: collection!(IMPORT_SOURCE),
            waves: collection!(WAVE),
            srs: collection!(SR),
            templates: collection!(TEMPLATE),
            fragments: collection!(FRAGMENT),
            snapshots: collection!(SNAPSHOT),
            snapshots_by_vm: collection!(SNAPSHOT_BY_VM),
            repositories: collection!(REPOSITORY),
            repository_names: collection!(REPOSITORY_NAME),
            backup_jobs: collection!(BACKUP_JOB),
            backup_runs: collection!(BACKUP_RUN),
            backups: collection!(BACKUP),
            bases: collection!(BACKUP_BASE),
            standbys: collection!(STANDBY),
            old_snapshots: collection!(BACKUP_OLD),
            proofs: collection!(PROOF),
            backups_by_vm: collection!(BACKUP_BY_VM),
            live_runs: collection!(BACKUP_LIVE),
            reports: collection!(REPORT),
            mail: collection!(MAIL),
            upkeep: collection!(UPKEEP),
            unprotected: collection!(UNPROTECTED),
            alarms: collection!(ALARM),
            alarm_rules: collection!(ALARM_RULE),
            alarm_silences: collection!(ALARM_SILENCE),
            alarm_notices: collection!(ALARM_NOTICE),
            users: collection!(USER),
            user_names: collection!(USER_NAME),
            tokens: collection!(TOKEN),
            sessions: collection!(SESSION),
            audit: collection!(AUDIT),
            audit_open: collection!(AUDIT_OPEN),
            audit_asked: collection!(AUDIT_ASKED),
            events: collection!(EVENT),
            authority: collection!(AUTHORITY),
            idempotency: collection!(IDEMPOTENCY),
            checkpoints: None,
            store,
        }
    }
}
