//! What an agent is told about backups, and what it answers.
//!
//! These cross as JSON inside one field of the gRPC contract: they nest deeply, each side reads them with the same
//! definitions, and an unknown field is refused by its name.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{VdiId, VmId};

use crate::PortQuestion;

/// A text that must not be printed: `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a repository lies and how it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryAccess {
    pub place: RepositoryPlace,
    pub key: RepositoryKey,
    /// 64 hex digits that only add backups, of a sealed repository. Goes to a host with `key` once, to make both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<Secret>,
}

impl RepositoryAccess {
    /// For who only adds backups: no more than that takes.
    #[must_use]
    pub fn for_writing(self) -> Self {
        let key = self.writer.map_or(self.key, RepositoryKey::Digits);
        Self { place: self.place, key, writer: None }
    }

    /// For who opens what is there.
    #[must_use]
    pub fn for_reading(self) -> Self {
        Self { writer: None, ..self }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub enum RepositoryPlace {
    /// A folder as the host sees it; mount NFS there first.
    Folder { path: String },
    S3 {
        bucket: String,
        #[serde(default)]
        prefix: String,
        /// Empty for AWS's own.
        #[serde(default)]
        endpoint: String,
        #[serde(default)]
        region: String,
        access_key: Secret,
        secret_key: Secret,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepositoryKey {
    Passphrase(Secret),
    /// 64 hex digits.
    Digits(Secret),
}

/// What to do. Each may be repeated: what was done is found and answered again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "do")]
pub enum BackupCommand {
    /// Opens a repository, or makes it in an empty place.
    EnsureRepository {
        access: RepositoryAccess,
        /// The id of the repository that has to be there: none is made, and no other is taken for it. Without one it is the
        /// first time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known: Option<String>,
    },
    /// All backups that are there.
    List {
        access: RepositoryAccess,
    },
    Run(BackupRun),
    Restore {
        access: RepositoryAccess,
        backup: String,
        disk: String,
        /// Of the size of the disk, or larger; no VM has it open.
        vdi: VdiId,
    },
    /// Brings a standby VM's VDI to a disk of a backup, by what differs from what it holds where that is known.
    Follow {
        access: RepositoryAccess,
        backup: String,
        /// By its name in the backup.
        disk: String,
        /// Of the size of the disk, or larger; no VM has it open.
        vdi: VdiId,
    },
    /// Gives a standby VM's VDI the contents of a snapshot of it that a backup was made of.
    Rewind(Rewind),
    /// As `Restore`, but the VDI can be used at once.
    Instant(InstantDisk),
    /// What is in a disk of a backup: its volumes, or a folder of one.
    Files {
        of: DiskOf,
        /// `VOLUME:PATH`; without it the volumes are listed.
        at: Option<String>,
        /// Only entries whose names come after this one.
        after: Option<String>,
    },
    /// Hands a file or folder to whoever shows the ticket, within ten minutes.
    OpenDownload {
        of: DiskOf,
        at: String,
        archive: ArchiveKind,
        /// BLAKE3 of the ticket, hexadecimal.
        ticket_hash: String,
    },
    /// Forgets these backups and frees what nobody needs then.
    Forget {
        access: RepositoryAccess,
        backups: Vec<String>,
    },
    /// Forgets by rules, and frees what nobody needs then. A VM is given by the names of its disks; its backups compete
    /// with each other only.
    Prune {
        access: RepositoryAccess,
        vms: Vec<Vec<String>>,
        keep: KeepPolicy,
    },
    /// Keeps a backup whatever the rules say, or no longer.
    Hold {
        access: RepositoryAccess,
        backup: String,
        held: bool,
    },
    /// Lifts what a restore into a VDI holds of a backup: its task is over, and asks for it no more.
    LiftRestore {
        access: RepositoryAccess,
        backup: String,
        vdi: VdiId,
    },
    Verify {
        access: RepositoryAccess,
        deep: bool,
        /// Only footers, index and maps: what costs little wherever the repository is. Not with `deep`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        quick: bool,
    },
    /// Makes the bridge that a VM is proved on: nothing else is on it.
    EnsureProofNetwork {
        vm: VmId,
    },
    /// Waits until all of these ports answer, as long as the question says. Nothing is sent to them.
    AskPorts(PortQuestion),
    /// Takes the bridge away. One that is gone is no error.
    RemoveProofNetwork {
        vm: VmId,
    },
}

/// See [`BackupCommand::Rewind`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewind {
    pub vdi: VdiId,
    pub snapshot: VdiId,
    /// What the snapshot is.
    pub backup: String,
    /// By its name in the backup.
    pub disk: String,
    pub when: RewindWhen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewindWhen {
    /// Unless it is known what the VDI holds. A snapshot that is gone is no error: all of the disk is written then.
    Unknown,
    Always,
}

/// A disk of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskOf {
    pub access: RepositoryAccess,
    pub backup: String,
    pub disk: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveKind {
    #[default]
    Zip,
    /// Keeps owners' permissions and links.
    Tar,
}

/// A partition, a logical volume, or the whole disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupVolume {
    /// `1`, `group/name` or `disk`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    pub filesystem: Option<String>,
    /// Why it cannot be read here, when it cannot.
    pub unreadable: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupFileKind {
    File,
    Folder,
    Link,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    /// Bytes that are no UTF-8 are shown as replacement characters.
    pub name: String,
    pub kind: BackupFileKind,
    /// Bytes.
    pub size: u64,
    /// Permission bits, where the filesystem has them.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: i64,
}

/// A VDI that is used while it comes in from a backup. It is new, and as large as the disk or larger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstantDisk {
    pub access: RepositoryAccess,
    pub backup: String,
    pub disk: String,
    pub vdi: VdiId,
    /// Of what comes in behind, bytes per second; 0 for no limit.
    #[serde(default)]
    pub bandwidth: u64,
    /// When to answer.
    pub until: InstantUntil,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstantUntil {
    /// It can be used.
    Serving,
    /// All of it is here.
    Complete,
}

/// One backup of the snapshots of one VM's disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRun {
    pub access: RepositoryAccess,
    pub disks: Vec<RunDisk>,
    pub tags: Vec<String>,
    /// Kept with the backup: name and text.
    pub attachments: Vec<(String, String)>,
    /// Bytes per second into the repository; 0 for no limit.
    #[serde(default)]
    pub bandwidth: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunDisk {
    /// Its name in the repository.
    pub name: String,
    /// The snapshot to read.
    pub snapshot: VdiId,
    pub base: Option<RunBase>,
}

/// From where to count what changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunBase {
    /// Still there.
    pub snapshot: VdiId,
    /// The backup that was made of it; empty where the repository was found to have lost some of it.
    pub backup: String,
}

/// How many to keep of each; all zero keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeepPolicy {
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
}

impl KeepPolicy {
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// A backup as the repository has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFacts {
    pub id: String,
    /// Milliseconds since 1970.
    pub created: u64,
    pub host: String,
    pub tags: Vec<String>,
    pub disks: Vec<BackupDiskFacts>,
    pub attachments: Vec<(String, String)>,
    pub held: bool,
}

/// Bytes unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupDiskFacts {
    pub name: String,
    pub size: u64,
    /// Read from the disk.
    pub read: u64,
    /// That the repository did not have.
    pub new_bytes: u64,
    /// What those take there, compressed.
    pub stored: u64,
    /// Milliseconds.
    pub millis: u64,
    /// Why all of it was read, when it was.
    pub whole_because: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "done")]
pub enum BackupReply {
    Repository {
        id: String,
        made: bool,
    },
    Backups {
        backups: Vec<BackupFacts>,
    },
    Made {
        backup: Box<BackupFacts>,
    },
    Restored {
        written: u64,
    },
    /// A standby VM's VDI holds the backup now.
    Followed {
        /// Bytes of data; zeros are not counted.
        written: u64,
        /// Why all of it was written, when it was.
        whole_because: Option<String>,
    },
    /// Whether the VDI has the snapshot's contents now; if not, what it held before.
    Rewound {
        rewound: bool,
    },
    /// Volumes, or the entries of a folder, by name; `more` after the last of them.
    Files {
        volumes: Vec<BackupVolume>,
        entries: Vec<BackupFile>,
        more: bool,
    },
    Download {
        port: u16,
    },
    /// A disk can be used; the rest of it comes in.
    Serving,
    /// `waiting`: plans that wait for running backups or their grace.
    Forgotten {
        backups: Vec<String>,
        freed: u64,
        waiting: u32,
    },
    Held,
    Verified {
        backups: u64,
        bytes_read: u64,
        problems: Vec<String>,
        /// Names of the disks of which some backup cannot be restored in full.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        touched: Vec<String>,
    },
    /// The bridge of a proof is there, or gone.
    ProofNetwork,
    /// Which of the ports answered, in the order of the question.
    Ports {
        answered: Vec<NonZeroU16>,
    },
}

/// How far a backup or restore is. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackupProgress {
    /// Of the disk, read or not.
    pub done: u64,
    pub total: u64,
    pub read: u64,
    pub new_bytes: u64,
    pub stored: u64,
}
