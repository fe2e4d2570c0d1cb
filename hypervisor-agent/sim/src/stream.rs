//! What a simulated suspend writes and a resume reads.
//!
//! ```text
//! magic "XSIMSAV1"  8 bytes
//! length            u32, little endian, at most 64 KiB
//! state             JSON, `length` bytes
//! digest            BLAKE3 of all before it, 32 bytes
//! ```
//!
//! A stream that was cut, changed or followed by more bytes is refused as a whole: the digest is read before
//! the state is looked at. Reading takes at most 64 KiB of memory whatever the stream says.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use xenith_common_ids::VmId;
use xenith_common_units::{MemoryMiB, VcpuCount};

const MAGIC: &[u8; 8] = b"XSIMSAV1";
const MAX_STATE: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedGuest {
    /// `None` for a foreign domain.
    pub vm: Option<VmId>,
    pub memory: MemoryMiB,
    pub vcpus_online: VcpuCount,
    pub load_permille: u16,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the stream cannot be read")]
    Io(#[from] io::Error),
    #[error("the stream is not a simulated suspend: {0}")]
    Damaged(&'static str),
}

impl SavedGuest {
    /// Writes and flushes the whole stream.
    pub(crate) fn write(&self, mut to: impl Write) -> io::Result<()> {
        let state = serde_json::to_vec(self)?;
        let length = u32::try_from(state.len()).map_err(io::Error::other)?;
        let mut stream = Vec::with_capacity(MAGIC.len() + 4 + state.len() + blake3::OUT_LEN);
        stream.extend_from_slice(MAGIC);
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&state);
        let digest = blake3::hash(&stream);
        stream.extend_from_slice(digest.as_bytes());
        to.write_all(&stream)?;
        to.flush()
    }

    /// Reads to the end of `from`.
    pub(crate) fn read(mut from: impl Read) -> Result<Self, StreamError> {
        let mut head = [0; 12];
        read_exact(&mut from, &mut head)?;
        let (magic, length) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(StreamError::Damaged("it begins with something else"));
        }
        let length = length.try_into().map(u32::from_le_bytes).expect("12 - 8 bytes are a u32");
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_STATE);
        let length = length.ok_or(StreamError::Damaged("its length is not possible"))?;
        let mut state = vec![0; length];
        let mut digest = [0; blake3::OUT_LEN];
        read_exact(&mut from, &mut state)?;
        read_exact(&mut from, &mut digest)?;
        if from.read(&mut [0])? != 0 {
            return Err(StreamError::Damaged("it goes on after its end"));
        }
        let hash = blake3::Hasher::new().update(&head).update(&state).finalize();
        if hash != digest {
            return Err(StreamError::Damaged("its digest does not match"));
        }
        serde_json::from_slice(&state).map_err(|_| StreamError::Damaged("its state has another shape"))
    }
}

fn read_exact(from: &mut impl Read, into: &mut [u8]) -> Result<(), StreamError> {
    from.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => StreamError::Damaged("it ends too early"),
        _ => StreamError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damage_is_noticed() {
        let saved = SavedGuest {
            vm: Some(VmId::new()),
            memory: MemoryMiB::new(512).unwrap(),
            vcpus_online: VcpuCount::ONE,
            load_permille: 3,
        };
        let mut stream = Vec::new();
        saved.write(&mut stream).unwrap();
        assert_eq!(SavedGuest::read(&stream[..]).unwrap(), saved);
        for length in 0..stream.len() {
            assert!(
                matches!(SavedGuest::read(&stream[..length]), Err(StreamError::Damaged(_))),
                "cut at {length}"
            );
        }
        for index in 0..stream.len() {
            let mut damaged = stream.clone();
            damaged[index] ^= 0x40;
            assert!(SavedGuest::read(&damaged[..]).is_err(), "bit of byte {index}");
        }
        stream.push(0);
        assert!(matches!(SavedGuest::read(&stream[..]), Err(StreamError::Damaged(_))), "longer");
    }
}
