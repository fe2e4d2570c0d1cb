//! The records as they are stored. Fields may be added with a default; never renamed without a migration.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{
    AlarmRuleId, HostId, ImportId, ImportSourceId, NetworkId, PoolId, RepositoryId, SagaId, SnapshotId, SrId,
    UserId, VdiId, VmId,
};
use xenith_hypervisor_agent_types::backup::BackupFacts;
use xenith_hypervisor_agent_types::{Quiesced, SrSpec, VdiSize, VmSpec};
use xenith_orchestrator_types::alarm::AlarmWhen;
use xenith_orchestrator_types::backup::{JobSettings, Repository};
use xenith_orchestrator_types::balance::{BalancePlan, BalancePolicy};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::fragment::Fragment;
use xenith_orchestrator_types::import::{GuestPreparation, ImportOrigin, ImportPass, ImportPhase};
use xenith_orchestrator_types::mail::MailSettings;
use xenith_orchestrator_types::metrics::{Measured, Metric};
use xenith_orchestrator_types::power::PowerControlKind;
use xenith_orchestrator_types::snapshot::{SnapshotDisk, SnapshotMemory};
use xenith_orchestrator_types::sr::SrContent;
use xenith_orchestrator_types::token::Token;
use xenith_orchestrator_types::user::User;
use xenith_orchestrator_types::wave::{WaveCaps, WaveOptions, WaveStatus};

use crate::catalogue::Definition;
use xenith_orchestrator_types::vm::Protection;

/// A VM as it is intended to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRecord {
    pub spec: VmSpec,
    /// Raised with each change of `spec`.
    pub definition: u64,
    pub description: String,
    pub tags: BTreeSet<String>,
    pub pool: PoolId,
    pub host: HostId,
    pub created: OffsetDateTime,
    pub apart_from: Vec<VmId>,
    #[serde(default)]
    pub together_with: Vec<VmId>,
    pub pending_restart: Vec<String>,
    /// The saga that works on it: at most one.
    pub held_by: Option<SagaId>,
    /// The snapshot that its disks go on from.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    #[serde(default)]
    pub protection: Protection,
    #[serde(default)]
    pub custom: BTreeMap<String, String>,
    /// The VM that it stands by for, whose backups its disks follow: it is not started or changed.
    #[serde(default)]
    pub standby_of: Option<VmId>,
}

impl VmRecord {
    /// Of a new VM of which no more is said.
    #[must_use]
    pub fn new(spec: VmSpec, (pool, host): (PoolId, HostId)) -> Self {
        Self {
            spec,
            definition: 1,
            description: String::new(),
            tags: BTreeSet::new(),
            pool,
            host,
            created: OffsetDateTime::now_utc(),
            apart_from: vec![],
            together_with: vec![],
            pending_restart: vec![],
            held_by: None,
            snapshot: None,
            protection: Protection::default(),
            custom: BTreeMap::new(),
            standby_of: None,
        }
    }
}

/// An SR that was declared; the local ones of hosts have no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrRecord {
    pub name: String,
    pub pool: PoolId,
    pub spec: Option<SrSpec>,
    /// Where it is attached.
    pub hosts: BTreeSet<HostId>,
    #[serde(default)]
    pub content: SrContent,
}

/// A part of user data, which people write passwords and keys into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentRecord {
    pub fragment: Fragment,
    /// Its text.
    pub sealed: Vec<u8>,
}

/// A point in time of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    pub name: String,
    pub description: String,
    pub vm: VmId,
    pub host: HostId,
    pub parent: Option<SnapshotId>,
    pub created: OffsetDateTime,
    pub spec: VmSpec,
    pub disks: Vec<SnapshotDisk>,
    /// Its memory of the same instant.
    #[serde(default)]
    pub memory: Option<SnapshotMemory>,
    /// How long the VM stood; `None`: not complete.
    pub paused_ms: Option<u32>,
    /// In which state its disks are; `None`: not complete, or of an earlier program.
    #[serde(default)]
    pub quiesced: Option<Quiesced>,
}

impl SnapshotRecord {
    /// What it is made of in SRs: what is kept of disks, and the memory.
    pub fn kept(&self) -> impl Iterator<Item = (VdiId, SrId)> {
        let disks = self.disks.iter().map(|disk| (disk.snapshot, disk.sr));
        disks.chain(self.memory.iter().map(|memory| (memory.vdi, memory.sr)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    pub name: String,
    pub pool: PoolId,
    pub address: String,
    /// See [`Self::for_peers`].
    #[serde(default)]
    pub peer_address: Option<String>,
    pub maintenance: bool,
    pub joined: OffsetDateTime,
    pub local_sr: Option<SrId>,
    /// Of the certificate that the host was seen with last, or got when it joined.
    pub certificate_serial: String,
    pub certificate_expires: OffsetDateTime,
    /// Certificates issued to it since, oldest first. Whatever became of the call that brought one, the host may have it,
    /// so each is valid until the host was seen with it or with a later one.
    #[serde(default)]
    pub issued: Vec<IssuedCertificate>,
    /// Of earlier programs: the serial before `certificate_serial`, which the host may still show.
    #[serde(default)]
    pub previous_serial: Option<String>,
    /// We were restored from a backup, and it may have a newer one: whatever our authority signed is its own, until it
    /// was renewed.
    #[serde(default)]
    pub any_certificate: bool,
    /// The saga that works on it: at most one.
    #[serde(default)]
    pub held_by: Option<SagaId>,
    /// That saga ends its boot, or the host may not be heard for a while: high availability leaves it alone.
    #[serde(default)]
    pub disarmed: bool,
    /// Its management controller.
    #[serde(default)]
    pub power: Option<PowerControlRecord>,
}

/// Where the power of a host is switched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerControlRecord {
    pub kind: PowerControlKind,
    pub address: String,
    pub user: String,
    /// Of its certificate.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Under the master key.
    pub sealed_password: Vec<u8>,
}

impl HostRecord {
    /// Ends the hold of a saga, if it is that one's, and what goes by that hold. Left behind, it would keep high availability
    /// away from the host for good, and no alarm would say so.
    pub fn let_go(&mut self, saga: SagaId) {
        if self.held_by == Some(saga) {
            (self.held_by, self.disarmed) = (None, false);
        }
    }

    /// Whether high availability leaves it alone: for as long as the saga holds it that said so.
    #[must_use]
    pub const fn is_disarmed(&self) -> bool {
        self.disarmed && self.held_by.is_some()
    }

    /// Another port of the host, by the address that its agent is reached at.
    #[must_use]
    pub fn at(&self, port: u16) -> String {
        let name = self.address.rsplit_once(':').map_or(self.address.as_str(), |(name, _)| name);
        format!("{name}:{port}")
    }

    /// A port of the host, as other hosts reach it: hosts may have a network of their own, for migrations and copies.
    #[must_use]
    pub fn for_peers(&self, port: u16) -> String {
        match &self.peer_address {
            Some(name) if name.contains(':') => format!("[{name}]:{port}"),
            Some(name) => format!("{name}:{port}"),
            None => self.at(port),
        }
    }
}

/// A certificate that a host was sent, and has not been seen with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    pub serial: String,
    pub expires: OffsetDateTime,
}

/// A join token that was issued and not spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRecord {
    pub name: Option<String>,
    pub pool: PoolId,
    pub expires: OffsetDateTime,
    /// Who issued it; of earlier programs not known.
    #[serde(default)]
    pub user: Option<UserId>,
    #[serde(default)]
    pub user_name: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    pub user: User,
    /// Argon2id, in PHC form.
    pub password_hash: String,
    /// Counts once `user.totp` is set; until then it waits to be confirmed.
    #[serde(default)]
    pub totp: Option<TotpRecord>,
}

/// What proves a user besides their password; see [`crate::authn::second_factor`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotpRecord {
    /// Under the master key.
    pub sealed_secret: Vec<u8>,
    /// The time step of the newest code that was accepted: no code up to it is accepted again.
    pub last_step: u64,
    /// The Vault's digests of the recovery codes that are left.
    pub recovery: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    pub token: Token,
    /// BLAKE3 of the secret, in hexadecimal: the secret has 256 random bits, a slow hash would add nothing.
    pub secret_hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    pub user: UserId,
    pub expires: OffsetDateTime,
}

/// A task that a call began, while the audit log does not say how it ended: what its last record there will say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditedTask {
    /// The number of the call's record.
    pub of: u64,
    pub user: Option<UserId>,
    pub user_name: String,
    pub from: String,
    pub method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    pub at: OffsetDateTime,
    pub severity: Severity,
    pub kind: String,
    pub subject: String,
    pub message: String,
    /// For who may see it: the pool of the subject.
    pub pool: Option<PoolId>,
}

/// What [`RepositoryRecord::sealed_access`] is sealed for.
pub const SEALED_ACCESS: &str = "repository access";

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryRecord {
    pub repository: Repository,
    /// A `RepositoryAccess` as JSON, sealed.
    pub sealed_access: Vec<u8>,
    /// Who probed it first, and is asked first: the folder may be on that host alone.
    pub host: Option<HostId>,
    /// When a check was begun last that nobody asked for.
    #[serde(default)]
    pub check_begun: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    pub settings: JobSettings,
    pub created: OffsetDateTime,
    /// The point of the schedule that was begun last, or the first run by hand.
    pub last_run: Option<OffsetDateTime>,
    /// VMs of which it was said that their last good backup is too old.
    #[serde(default)]
    pub warned: BTreeSet<VmId>,
    /// When its newest run ended: what jobs after it go by.
    #[serde(default)]
    pub last_over: Option<OffsetDateTime>,
    /// The same VMs as `warned`, and what their alarms say.
    #[serde(default)]
    pub overdue: BTreeMap<VmId, BackupAlarm>,
    /// VMs whose newest backup changed oddly much.
    #[serde(default)]
    pub odd: BTreeMap<VmId, BackupAlarm>,
}

/// What is wrong with a VM's backups, by no rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupAlarm {
    pub since: OffsetDateTime,
    pub severity: Severity,
    /// Without the VM's name.
    pub message: String,
}

/// The server that takes our mail.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailRecord {
    pub settings: MailSettings,
    /// Under the master key; empty for none.
    pub sealed_password: Vec<u8>,
}

/// A report of a run on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRecord {
    /// The URL, or the addresses.
    pub to: String,
    pub tries: u32,
    /// Not before.
    pub next: OffsetDateTime,
}

/// A backup as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    pub repository: RepositoryId,
    pub created: OffsetDateTime,
    /// Of its VM, when it was made by Xenith.
    pub definition: Option<Definition>,
    /// Without its attachments.
    pub facts: BackupFacts,
}

/// From where the next increment of a VDI into one repository counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRecord {
    pub snapshot: VdiId,
    pub sr: SrId,
    pub host: HostId,
    pub backup: String,
    /// Of the disk in the repository.
    pub disk_name: String,
    /// The repository was found to have lost some of the disk's backups: the next one reads all of it.
    #[serde(default)]
    pub doubted: bool,
}

/// A VM that stands by for another; its key is the one that stands by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyRecord {
    pub of: VmId,
    pub repository: RepositoryId,
    /// For disks that it gets.
    pub sr: SrId,
    /// Networks of the other and its own; `None`: without that card.
    pub networks: Vec<(NetworkId, Option<NetworkId>)>,
    pub keep_macs: bool,
    pub automatic: bool,
    /// What it would start with. What its disks hold to the byte, its host knows.
    pub holds: Option<HeldBackup>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBackup {
    pub backup: String,
    pub created: OffsetDateTime,
    pub disks: Vec<HeldDisk>,
}

/// A VDI of a standby, and what it is called in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDisk {
    pub vdi: VdiId,
    pub disk_name: String,
}

/// The installation's authority, its key sealed.
#[derive(Clone, Serialize, Deserialize)]
pub struct AuthorityRecord {
    pub certificate_pem: String,
    pub sealed_key: Vec<u8>,
}

/// A VM on its way to us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    pub name: String,
    pub vm: VmId,
    pub pool: PoolId,
    pub tags: BTreeSet<String>,
    pub host: HostId,
    pub saga: SagaId,
    pub origin: ImportOrigin,
    pub phase: ImportPhase,
    pub message: Option<String>,
    pub disks: Vec<ImportDiskRecord>,
    pub passes: Vec<ImportPass>,
    pub cut_over: Option<CutOverWish>,
    /// The source was asked to shut down by us: undone, it is started again.
    #[serde(default)]
    pub stopped_source: bool,
    /// Changed-block tracking was switched on by us: undone, it is switched off.
    #[serde(default)]
    pub tracked_source: bool,
    /// The VM has moved, and our snapshots could not be removed there.
    #[serde(default)]
    pub left_at_source: bool,
    #[serde(default)]
    pub preparation: Option<GuestPreparation>,
    /// How often it was asked for anew: names the commands to the host.
    #[serde(default)]
    pub prepare_tries: u32,
    /// What a person decided, until the saga has seen it.
    #[serde(default)]
    pub prepare_wish: Option<PrepareWish>,
    /// BLAKE3 of the ticket that opens the host for an upload, in hexadecimal.
    pub ticket_hash: Option<String>,
    pub created: OffsetDateTime,
    pub ended: Option<OffsetDateTime>,
    pub archived: bool,
}

/// About a guest that could not be prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PrepareWish {
    Again,
    Without,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportDiskRecord {
    pub name: String,
    pub vdi: VdiId,
    /// Of the VDI.
    pub size: VdiSize,
    /// Of the source's disk.
    pub capacity: u64,
    /// The device key at a vSphere source.
    pub key: Option<u64>,
}

/// An ESXi host or vCenter.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportSourceRecord {
    pub name: String,
    pub address: String,
    pub user: String,
    /// Under the master key.
    pub sealed_password: Vec<u8>,
    pub fingerprint: String,
    pub about: String,
    pub created: OffsetDateTime,
}

/// Many VMs that are taken from one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveRecord {
    pub name: String,
    pub source: ImportSourceId,
    pub status: WaveStatus,
    pub options: WaveOptions,
    pub caps: WaveCaps,
    pub members: Vec<WaveMemberRecord>,
    /// On whose behalf imports begin.
    pub started_by: Option<UserId>,
    pub created: OffsetDateTime,
    pub ended: Option<OffsetDateTime>,
}

/// Where it is stands in its import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveMemberRecord {
    /// Its id at the source.
    pub vm: String,
    pub name: String,
    /// Of the source.
    pub host: String,
    pub datastores: Vec<String>,
    pub transfer_mib: u64,
    pub import: Option<ImportId>,
    /// Why it could not begin.
    pub refused: Option<String>,
    /// What is away, so that it begins later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// When a cut-over is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOverWish {
    pub at: OffsetDateTime,
    /// Power the source off when its guest does not shut down.
    pub force: bool,
}

/// The answer to a mutation that came with an idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    pub method: String,
    /// Of earlier programs: BLAKE3 of the parameters, in hexadecimal. Empty in a record of today's form.
    #[serde(default)]
    pub params_hash: String,
    /// The Vault's digest of that hash: the same key for another call is an error. Parameters may be passwords, which a
    /// hash that anybody can make would let be guessed faster than Argon2id does.
    #[serde(default)]
    pub keyed_hash: String,
    pub at: OffsetDateTime,
    /// Of earlier programs: the answer in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<serde_json::Value>,
    /// The answer as JSON, sealed, in base64: it may be a token or a passphrase. `None`: the first call has not been
    /// answered yet.
    #[serde(default)]
    pub sealed_answer: Option<String>,
}

/// What raises alarms; see [`xenith_orchestrator_types::alarm::AlarmRule`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmRuleRecord {
    pub name: String,
    pub enabled: bool,
    pub of: Measured,
    pub filter: String,
    pub metric: Metric,
    pub when: AlarmWhen,
    pub threshold: f64,
    pub clear: f64,
    pub for_s: u32,
    pub severity: Severity,
    pub mail_to: Vec<String>,
    pub webhook: String,
    pub syslog: String,
}

/// What is wrong, with its rule's settings as it was raised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmRecord {
    pub rule_name: String,
    pub severity: Severity,
    /// `None`: it is not about something measured, and `message` says what.
    pub metric: Option<Metric>,
    #[serde(default)]
    pub message: Option<String>,
    pub threshold: f64,
    /// Of the VM or host; `orchestrator`.
    pub name: String,
    /// As it was raised or cleared; `None`: nobody watches it any more.
    pub value: Option<f64>,
    pub since: OffsetDateTime,
    /// Whoever has to know was told, or there is a notice that tells them.
    pub told: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmSilenceRecord {
    pub rule: Option<AlarmRuleId>,
    /// `vm/…`, `host/…`.
    pub subject: Option<String>,
    pub comment: String,
    pub until: OffsetDateTime,
    pub user: String,
}

/// How a pool is balanced; its key is the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceRecord {
    pub policy: BalancePolicy,
    /// The saga that moves VMs: at most one.
    pub held_by: Option<SagaId>,
    /// The moves that began lately, for the limits.
    pub moved: Vec<MovedRecord>,
    pub proposal: Option<BalancePlan>,
    /// Its hosts are updated: nobody balances it meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<PoolUpdateRecord>,
    /// Hosts that were switched off because others do without them, the first one first. In the commit that begins that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asleep: Vec<AsleepRecord>,
    /// When a host was switched off or on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<OffsetDateTime>,
}

/// A host that balancing has switched off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsleepRecord {
    pub host: HostId,
    pub since: OffsetDateTime,
    /// It was told to come on.
    pub woken: Option<OffsetDateTime>,
    /// It did not; others are woken before it.
    pub failed: Option<OffsetDateTime>,
}

/// An update of the hosts of a pool that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolUpdateRecord {
    pub held_by: SagaId,
    /// No further host is begun.
    pub paused: bool,
}

/// A VM that was moved to balance its pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRecord {
    pub vm: VmId,
    /// What moves it.
    pub saga: SagaId,
    pub at: OffsetDateTime,
}

/// How somebody is told of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NoticeWay {
    Mail,
    Webhook,
    Syslog,
}

impl NoticeWay {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
            Self::Syslog => "syslog",
        }
    }
}

/// What has to be told to somebody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoticeRecord {
    pub way: NoticeWay,
    /// Addresses, one a line; a URL.
    pub to: String,
    /// Raised, or cleared.
    pub raised: bool,
    pub at: OffsetDateTime,
    pub when: AlarmWhen,
    pub alarm: AlarmRecord,
    pub tries: u32,
    pub next: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_that_was_written_before_there_was_company_is_read() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let record = serde_json::json!({
            "spec": {
                "name": "web-1", "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
                "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 128, "max": 128 },
            },
            "definition": 3, "description": "", "tags": [], "pool": id, "host": id,
            "created": time::OffsetDateTime::UNIX_EPOCH, "apart_from": [id], "pending_restart": [], "held_by": null,
        });
        let record: VmRecord = serde_json::from_value(record).expect("an old record");
        assert_eq!((record.apart_from.len(), record.together_with.len()), (1, 0));
    }

    fn host(address: &str, peers: Option<&str>) -> HostRecord {
        serde_json::from_value(serde_json::json!({
            "name": "xen1", "pool": "01890a5d-ac96-774b-bcce-b302099a8057", "address": address,
            "peer_address": peers, "maintenance": false, "joined": OffsetDateTime::UNIX_EPOCH, "local_sr": null,
            "certificate_serial": "01", "certificate_expires": OffsetDateTime::UNIX_EPOCH,
        }))
        .expect("a record")
    }

    #[test]
    fn high_availability_comes_back_with_the_end_of_the_hold() {
        let (saga, other) = (SagaId::new(), SagaId::new());
        let held = HostRecord { held_by: Some(saga), disarmed: true, ..host("xen1:8444", None) };
        assert!(held.is_disarmed());
        let mut record = held.clone();
        record.let_go(other);
        assert_eq!(record, held, "it is another one's");
        record.let_go(saga);
        assert!(record.held_by.is_none() && !record.disarmed && !record.is_disarmed());
        let left_behind = HostRecord { held_by: None, ..held };
        assert!(!left_behind.is_disarmed(), "an earlier program left it, or a restored store");
    }

    #[test]
    fn peers_take_their_own_way_to_a_host() {
        for (address, peers, told) in [
            ("xen1.example.org:8444", None, "xen1.example.org:49000"),
            ("[fd00::1]:8444", None, "[fd00::1]:49000"),
            ("192.0.2.1:8444", Some("10.10.0.1"), "10.10.0.1:49000"),
            ("192.0.2.1:8444", Some("fd00::2"), "[fd00::2]:49000"),
        ] {
            assert_eq!(host(address, peers).for_peers(49000), told);
        }
        assert_eq!(host("192.0.2.1:8444", Some("10.10.0.1")).at(49000), "192.0.2.1:49000");
    }
}
