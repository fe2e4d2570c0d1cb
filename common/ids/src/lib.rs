//! Typed identifiers: the only ids that may appear in a signature.
//!
//! Invariant: an id of one noun never passes for an id of another. Ids that we mint are UUIDv7 (they sort
//! by creation time, so ranges of a store's key space are also ranges of time). [`DomId`] is Xen's: small,
//! reused after a reboot, and only meaningful together with the host and the [`IncarnationId`].

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an id. Names the noun, so that an error message can be shown as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {noun} id (a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057)")]
pub struct ParseIdError {
    noun: &'static str,
    text: String,
}

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident = $noun:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The noun, as the API, the CLI and the errors call it.
            pub const NOUN: &'static str = $noun;

            /// A new id, greater than every id minted before by this process.
            #[must_use]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id of a known UUID (a stored value, a wire value that was parsed).
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// 16 bytes, big endian: the order of the bytes is the order of the ids.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", $noun, self.0.hyphenated())
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": "uuid" })
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| ParseIdError { noun: $noun, text: text.to_owned() })
            }
        }
    )*};
}

typed_ids! {
    /// One run of an agent, from its start to its end.
    AgentRunId = "agent run";
    /// A rule that raises alarms.
    AlarmRuleId = "alarm rule";
    /// A stretch of time in which nobody is told of some alarms.
    AlarmSilenceId = "alarm silence";
    /// The user's object: what is created, started, backed up.
    VmId = "vm";
    /// One run of a VM: from a start to the end of its domain. Written into the domain's xenstore.
    IncarnationId = "incarnation";
    /// What Xen itself knows a domain by as long as that lives, whatever becomes of xenstore. A domain of ours has the id
    /// of its VM.
    DomainUuid = "domain";
    /// A physical machine with an agent.
    HostId = "host";
    /// Hosts that share networks and storage.
    PoolId = "pool";
    /// A storage repository.
    SrId = "sr";
    /// A VM on its way to us from another hypervisor.
    ImportId = "import";
    /// Another hypervisor, or its manager, that VMs are taken from.
    ImportSourceId = "import source";
    /// A plan of such a move.
    ImportPlanId = "import plan";
    /// A virtual disk image in an SR.
    VdiId = "vdi";
    /// A point in time of a VM, on its host.
    SnapshotId = "snapshot";
    /// What VMs are made from.
    TemplateId = "template";
    /// A part of cloud-init's user data that is kept under a name.
    FragmentId = "fragment";
    /// A VDI attached to a VM.
    VbdId = "vbd";
    /// A virtual NIC.
    VifId = "vif";
    /// What VIFs plug into.
    NetworkId = "network";
    /// Rules about who may talk with VMs that have a tag.
    SecurityGroupId = "security group";
    /// The user-visible progress handle.
    TaskId = "task";
    /// The logged steps behind a task.
    SagaId = "saga";
    /// Makes one command to an agent safe to repeat.
    OperationId = "operation";
    /// A person or program that may sign in.
    UserId = "user";
    /// An API token.
    TokenId = "token";
    /// A signed-in browser or CLI.
    SessionId = "session";
    /// Where backups are kept.
    RepositoryId = "repository";
    /// What makes backups again and again.
    BackupJobId = "backup job";
    /// One time that a job did its work.
    BackupRunId = "backup run";
    /// Something that happened, in the event log.
    EventId = "event";
    /// A record of the audit log.
    AuditId = "audit";
    /// Something that hosts and records do not agree on; made from what it is, the same in every look.
    OrphanId = "orphan";
}

/// A task is a saga as people see it: both have one id.
impl From<SagaId> for TaskId {
    fn from(saga: SagaId) -> Self {
        Self::from_bytes(*saga.as_bytes())
    }
}

impl From<TaskId> for SagaId {
    fn from(task: TaskId) -> Self {
        Self::from_bytes(*task.as_bytes())
    }
}

/// A domain of ours is built with the id of its VM.
impl From<VmId> for DomainUuid {
    fn from(vm: VmId) -> Self {
        Self::from_bytes(*vm.as_bytes())
    }
}

/// The VM whose domain it is, if that is one of ours.
impl From<DomainUuid> for VmId {
    fn from(domain: DomainUuid) -> Self {
        Self::from_bytes(*domain.as_bytes())
    }
}

/// Xen's number for a running domain. Reused: never store it as an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DomId(pub u32);

impl DomId {
    /// The control domain.
    pub const DOM0: Self = Self(0);
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the changes that one agent has published; a gap means that the list must be read again.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, JsonSchema,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// Fences commands: an agent refuses an epoch older than the newest it has seen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, JsonSchema,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_of_their_making() {
        let ids: Vec<VmId> = (0..100).map(|_| VmId::new()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_bad_id_names_its_noun() {
        let error = "web-1".parse::<HostId>().unwrap_err();
        assert!(error.to_string().starts_with("\"web-1\" is not a host id"));
    }

    #[test]
    fn text_and_bytes_round_trip() {
        let id = VdiId::new();
        assert_eq!(id.to_string().parse::<VdiId>(), Ok(id));
        assert_eq!(VdiId::from_bytes(*id.as_bytes()), id);
    }
}
