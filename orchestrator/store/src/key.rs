//! Typed keys as bytes whose order is the order of the keys.

use xenith_common_ids::{
    AlarmRuleId, AlarmSilenceId, AuditId, BackupJobId, BackupRunId, EventId, FragmentId, HostId, ImportId,
    ImportPlanId, ImportSourceId, IncarnationId, NetworkId, OperationId, PoolId, RepositoryId, SagaId,
    SecurityGroupId, SessionId, SnapshotId, SrId, TaskId, TemplateId, TokenId, UserId, VbdId, VdiId, VifId,
    VmId,
};

/// A key of a [`crate::Collection`]. `decode(encode(k)) == k`, and the bytes sort as the keys do.
pub trait StoreKey: Sized + Send + Sync {
    fn encode(&self) -> Vec<u8>;
    /// `None`: these bytes are not such a key.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

macro_rules! id_keys {
    ($($id:ty),*) => {$(
        impl StoreKey for $id {
            fn encode(&self) -> Vec<u8> {
                self.as_bytes().to_vec()
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_bytes)
            }
        }
    )*};
}

id_keys!(
    AlarmRuleId,
    AlarmSilenceId,
    AuditId,
    BackupJobId,
    BackupRunId,
    EventId,
    FragmentId,
    HostId,
    IncarnationId,
    ImportId,
    ImportSourceId,
    ImportPlanId,
    NetworkId,
    OperationId,
    PoolId,
    RepositoryId,
    SagaId,
    SecurityGroupId,
    SessionId,
    SnapshotId,
    SrId,
    TaskId,
    TemplateId,
    TokenId,
    UserId,
    VbdId,
    VdiId,
    VifId,
    VmId
);

impl StoreKey for String {
    fn encode(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

/// Big endian, so that numbers sort as numbers.
impl StoreKey for u64 {
    fn encode(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}

/// The one record of a collection that has only one.
impl StoreKey for () {
    fn encode(&self) -> Vec<u8> {
        b"only".to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes == b"only").then_some(())
    }
}

/// First part, its length in front as two bytes, then the second. Equal first parts are neighbours and sort by
/// the second; a scan by [`pair_prefix`] finds them. (First parts of different length sort by length.)
impl<A: StoreKey, B: StoreKey> StoreKey for (A, B) {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = pair_prefix(&self.0);
        bytes.extend(self.1.encode());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<2>()?;
        let (first, second) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        Some((A::decode(first)?, B::decode(second)?))
    }
}

/// The prefix shared by all pairs that begin with `first`.
pub(crate) fn pair_prefix<A: StoreKey>(first: &A) -> Vec<u8> {
    let encoded = first.encode();
    // Keys are at most MAX_KEY_BYTES; a longer one is refused at commit, so the cut length is never stored.
    let len = u16::try_from(encoded.len()).unwrap_or(u16::MAX);
    let mut bytes = len.to_be_bytes().to_vec();
    bytes.extend(encoded);
    bytes
}
