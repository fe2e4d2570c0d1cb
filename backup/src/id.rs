//! The names of things: chunks by keyed hash, objects by hash of their bytes, backups by time.

use std::fmt;

use crate::crypto::{Secret32, random};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for &byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

/// The bytes of just `2 * N` lower-case hex digits.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                unhex(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex(&self.0))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| {
                    serde::de::Error::custom(concat!("not the hex digits of a ", stringify!($name)))
                })
            }
        }
    };
}

hex_id!(
    /// Keyed BLAKE3 of a chunk's or a map page's plain bytes. Whoever lacks the key cannot test whether a
    /// known file is in the repository.
    ChunkId,
    32
);
hex_id!(
    /// Plain BLAKE3 of an object's stored bytes; also its name, so that damage shows without any key.
    ObjectHash,
    32
);
hex_id!(
    /// A backup and the session that makes it. Starts with its time, so that names sort by it.
    BackupId,
    16
);
hex_id!(
    /// A repository.
    RepoId,
    16
);
hex_id!(
    /// A key-encryption key, one generation of one tenant.
    KekId,
    16
);

impl BackupId {
    /// A fresh id: six bytes of milliseconds since 1970, ten random ones.
    #[must_use]
    pub fn new(now_millis: u64) -> Self {
        let mut bytes: [u8; 16] = random();
        bytes[..6].copy_from_slice(&now_millis.to_be_bytes()[2..]);
        Self(bytes)
    }
}

impl ObjectHash {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// Names chunks and pages within one deduplication domain. Chunks and pages have different keys, so that no
/// guest can put a page's bytes on its disk and have them taken for a page.
#[derive(Debug, Clone)]
pub struct IdKeys {
    chunk: Secret32,
    page: Secret32,
}

impl IdKeys {
    #[must_use]
    pub fn new(domain: &Secret32) -> Self {
        Self {
            chunk: domain.derive("xenith-backup format 1 chunk id"),
            page: domain.derive("xenith-backup format 1 map page id"),
        }
    }

    #[must_use]
    pub fn chunk(&self, plain: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(self.chunk.expose(), plain).as_bytes())
    }

    #[must_use]
    pub fn page(&self, plain: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(self.page.expose(), plain).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip_and_refusals() {
        let id = BackupId::new(0x0123_4567_89ab);
        assert_eq!(BackupId::parse(&id.to_string()), Some(id));
        assert!(id.to_string().starts_with("0123456789ab"));
        for bad in ["", "0", "zz", "0123456789ABCDEF0123456789ABCDEF"] {
            assert_eq!(BackupId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_page_is_no_chunk() {
        let keys = IdKeys::new(&Secret32::random());
        assert_ne!(keys.chunk(b"same"), keys.page(b"same"));
    }
}
