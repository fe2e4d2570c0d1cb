//! The first 128 bytes of an object.

use bytes::Bytes;

use crate::crypto::{Cipher, Secret32, WRAPPED_LEN};
use crate::error::{BackupError, Result};
use crate::id::KekId;
use crate::keys::Keyring;

pub const HEADER_LEN: usize = 128;
const MAGIC: &[u8; 8] = b"XENITHB1";
/// How the object key is wrapped: by a KEK of the keyring.
const WRAP_KEK: u8 = 1;
/// Sealed to the repository's public key: whoever wrote it cannot read it again.
const WRAP_SEALED: u8 = 2;

/// What an object is. The number is in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectKind {
    Pack = 1,
    Index = 2,
    Manifest = 3,
    Plan = 4,
    Session = 5,
    LockRecord = 6,
}

impl ObjectKind {
    const fn parse(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Pack),
            2 => Some(Self::Index),
            3 => Some(Self::Manifest),
            4 => Some(Self::Plan),
            5 => Some(Self::Session),
            6 => Some(Self::LockRecord),
            _ => None,
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Index => "index segment",
            Self::Manifest => "manifest",
            Self::Plan => "plan",
            Self::Session => "session",
            Self::LockRecord => "lock record",
        }
    }
}

/// Who reads an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Whoever has a key of the repository.
    Shared,
    /// In a sealed repository, only who has its own key. In another it is the same as [`Self::Shared`].
    Sealed,
}

/// A parsed header. Its fields are not authentic until the key was unwrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub kind: ObjectKind,
    pub cipher: Cipher,
    wrap: u8,
    kek: KekId,
    wrapped: [u8; WRAPPED_LEN],
    ephemeral: [u8; 32],
}

impl Header {
    /// A header for a new object with its fresh key.
    pub(super) fn create(kind: ObjectKind, secrecy: Secrecy, keyring: &Keyring) -> (Self, Secret32) {
        let key = Secret32::random();
        (Self::around(&key, (kind, Cipher::for_this_machine(), secrecy), keyring), key)
    }

    /// A header that wraps `key`; no two are alike.
    fn around(
        key: &Secret32,
        (kind, cipher, secrecy): (ObjectKind, Cipher, Secrecy),
        keyring: &Keyring,
    ) -> Self {
        let mut header = Self {
            kind,
            cipher,
            wrap: WRAP_KEK,
            kek: keyring.current_kek(),
            wrapped: [0; WRAPPED_LEN],
            ephemeral: [0; 32],
        };
        let seal = keyring.seal_for_new().filter(|_| secrecy == Secrecy::Sealed);
        header.wrapped = match seal {
            None => {
                let kek = keyring.wrap_key(header.kek).expect("the current KEK is in the ring");
                kek.wrap(&header.aad(keyring), key)
            }
            Some(seal) => {
                let (ephemeral, wrap) = seal.public.seal();
                header = Self { wrap: WRAP_SEALED, kek: seal.id, ephemeral, ..header };
                wrap.wrap(&header.aad(keyring), key)
            }
        };
        header
    }

    fn aad(&self, keyring: &Keyring) -> Vec<u8> {
        let mut aad = keyring.repo().0.to_vec();
        aad.extend_from_slice(MAGIC);
        aad.extend_from_slice(&[self.kind as u8, self.cipher as u8, self.wrap, 0]);
        aad.extend_from_slice(&self.kek.0);
        aad.extend_from_slice(&self.ephemeral);
        aad
    }

    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&[self.kind as u8, self.cipher as u8, self.wrap, 0]);
        out[12..28].copy_from_slice(&self.kek.0);
        out[28..28 + WRAPPED_LEN].copy_from_slice(&self.wrapped);
        out[88..120].copy_from_slice(&self.ephemeral);
        out
    }

    /// Reads a header; the error is what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; HEADER_LEN] =
            bytes.get(..HEADER_LEN).and_then(|b| b.try_into().ok()).ok_or("it is shorter than a header")?;
        if &bytes[..8] != MAGIC {
            return Err("it does not start with the magic number");
        }
        let header = Self {
            kind: ObjectKind::parse(bytes[8]).ok_or("its kind is unknown")?,
            cipher: Cipher::parse(bytes[9]).ok_or("its cipher is unknown")?,
            wrap: bytes[10],
            kek: KekId(bytes[12..28].try_into().expect("16 bytes")),
            wrapped: bytes[28..88].try_into().expect("60 bytes"),
            ephemeral: bytes[88..120].try_into().expect("32 bytes"),
        };
        if header.encode() != *bytes {
            return Err("its reserved bytes are not zero");
        }
        match header.wrap {
            WRAP_KEK | WRAP_SEALED => Ok(header),
            _ => Err("its key is wrapped in an unknown way"),
        }
    }

    /// The object key, if the header is authentic and of `kind`.
    pub fn unwrap_key(&self, kind: ObjectKind, keyring: &Keyring, object: &str) -> Result<Secret32> {
        if self.kind != kind {
            let detail = format!("it says it is a {}, not a {}", self.kind.name(), kind.name());
            return Err(BackupError::damaged(object, detail));
        }
        let aad = self.aad(keyring);
        let unknown = || BackupError::damaged(object, format!("its key {} is not in the ring", self.kek));
        let opened = if self.wrap == WRAP_KEK {
            keyring.wrap_key(self.kek).ok_or_else(unknown)?.unwrap(&aad, &self.wrapped)
        } else {
            let seal = keyring.find_seal(self.kek).ok_or_else(unknown)?;
            let secret = seal.secret.as_ref();
            let secret =
                secret.ok_or_else(|| BackupError::WriteOnly { what: format!("reading {object}") })?;
            secret.open(&self.ephemeral).and_then(|wrap| wrap.unwrap(&aad, &self.wrapped))
        };
        opened.map_err(|_| BackupError::damaged(object, "its header is not authentic"))
    }
}

/// A header with which the frames of `object` open with the keys of another ring, in another repository. All behind the
/// header stays as it is; the header is a new one each time, and so are the bytes that name the object.
pub fn rewrap(object: &[u8], kind: ObjectKind, rings: (&Keyring, &Keyring), name: &str) -> Result<Bytes> {
    let (from, to) = rings;
    let header = Header::parse(object).map_err(|detail| BackupError::damaged(name, detail))?;
    let key = header.unwrap_key(kind, from, name)?;
    let secrecy = if header.wrap == WRAP_SEALED { Secrecy::Sealed } else { Secrecy::Shared };
    Ok(Bytes::copy_from_slice(&Header::around(&key, (kind, header.cipher, secrecy), to).encode()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrapped_header_opens_for_the_other_ring_only() {
        for (from, to) in [
            (Keyring::for_tests(), Keyring::for_tests()),
            (Keyring::for_tests().sealed(), Keyring::for_tests().sealed()),
        ] {
            let (header, key) = Header::create(ObjectKind::Pack, Secrecy::Sealed, &from);
            let again = || rewrap(&header.encode(), ObjectKind::Pack, (&from, &to), "p").unwrap();
            let (first, second) = (again(), again());
            assert_ne!(first, second, "two packs of one name would be deleted for each other");
            let moved = Header::parse(&first).unwrap();
            assert_eq!(moved.cipher, header.cipher);
            assert_eq!(moved.unwrap_key(ObjectKind::Pack, &to, "p").unwrap(), key);
            assert!(moved.unwrap_key(ObjectKind::Pack, &from, "p").is_err());
            if to.is_sealed() {
                assert!(moved.unwrap_key(ObjectKind::Pack, &to.for_writers(), "p").is_err());
            }
            assert!(rewrap(&header.encode(), ObjectKind::Pack, (&to, &from), "p").is_err());
            assert!(rewrap(&header.encode(), ObjectKind::Index, (&from, &to), "p").is_err());
        }
    }

    #[test]
    fn a_header_with_any_bit_flipped_is_refused() {
        for ring in [Keyring::for_tests(), Keyring::for_tests().sealed()] {
            no_bit_may_flip(&ring);
        }
    }

    #[test]
    fn writers_seal_what_they_cannot_open() {
        let ring = Keyring::for_tests().sealed();
        let writers = ring.for_writers();
        let (sealed, key) = Header::create(ObjectKind::Pack, Secrecy::Sealed, &writers);
        assert_eq!(sealed.unwrap_key(ObjectKind::Pack, &ring, "p").unwrap(), key);
        let refused = sealed.unwrap_key(ObjectKind::Pack, &writers, "p");
        assert!(matches!(refused, Err(BackupError::WriteOnly { .. })), "{refused:?}");
        let (shared, key) = Header::create(ObjectKind::Pack, Secrecy::Shared, &ring);
        assert_eq!(shared.unwrap_key(ObjectKind::Pack, &writers, "p").unwrap(), key);
        let other = Keyring::for_tests().sealed();
        assert!(sealed.unwrap_key(ObjectKind::Pack, &other, "p").is_err());
    }

    fn no_bit_may_flip(ring: &Keyring) {
        let (header, key) = Header::create(ObjectKind::Pack, Secrecy::Sealed, ring);
        let bytes = header.encode();
        assert_eq!(Header::parse(&bytes), Ok(header.clone()));
        assert_eq!(header.unwrap_key(ObjectKind::Pack, ring, "p").unwrap(), key);
        assert!(header.unwrap_key(ObjectKind::Index, ring, "p").is_err());
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            let opened = Header::parse(&bad)
                .map_err(|e| BackupError::damaged("p", e))
                .and_then(|h| h.unwrap_key(ObjectKind::Pack, ring, "p"));
            assert!(opened.is_err(), "bit {bit}");
        }
    }
}
