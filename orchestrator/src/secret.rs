//! Secrets at rest: AES-256-GCM under a key that lies beside the store, not in it.
//!
//! A copy of the store alone (a backup, a stolen disk image of the data volume) gives nothing away; the key
//! file is 32 bytes, readable by the orchestrator's user only. Each sealed value is bound to its purpose: one
//! cannot be passed off as another. Of what is only compared and may hold a guessable secret there is a digest under
//! a key derived from the same file: without it, a guess cannot be checked.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{0} does not hold 32 bytes; put the right key back, which `xenith-orchestrator master-key` printed"
    )]
    BadKey(PathBuf),
    #[error(
        "the {0} cannot be opened with this master key; put back the key that belongs to this store, \
         which `xenith-orchestrator master-key` printed"
    )]
    WrongKey(&'static str),
    #[error("the cryptography library refused ({0})")]
    Crypto(&'static str),
}

/// The key itself, where it is on its way: to paper, or back into a file.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Of 64 hexadecimal digits.
    #[must_use]
    pub fn from_digits(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text.trim()).ok().map(|bytes| Self(*bytes.as_bytes()))
    }

    #[must_use]
    pub fn digits(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// As a file that was not there, for its owner only.
    pub fn write(&self, path: &Path) -> Result<(), SecretError> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(&self.0).and_then(|()| file.sync_all()))
            .map_err(|source| SecretError::Io { action: "create", path: path.to_owned(), source })
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// What the key of digests is derived for. Another text makes all digests that are stored worthless.
const DIGESTS: &str = "xenith-orchestrator 2026-11-29 digests of what may hold secrets";

/// The master key of this installation.
pub struct Vault {
    key: RandomizedNonceKey,
    digests: [u8; 32],
}

impl Vault {
    /// Reads the key, or makes one when there is none.
    pub fn open(path: &Path) -> Result<Self, SecretError> {
        let io_error = |action| move |source| SecretError::Io { action, path: path.to_owned(), source };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = vec![0; 32];
                rand::fill(&mut bytes).map_err(|_| SecretError::Crypto("no randomness"))?;
                xenith_common_files::replace(path, &bytes).map_err(io_error("create"))?;
                bytes
            }
            Err(error) => return Err(io_error("read")(error)),
        };
        if bytes.len() != 32 {
            return Err(SecretError::BadKey(path.to_owned()));
        }
        let key =
            RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| SecretError::Crypto("bad key"))?;
        Ok(Self { key, digests: blake3::derive_key(DIGESTS, &bytes) })
    }

    /// Nonce, then ciphertext and tag.
    pub fn seal(&self, purpose: &'static str, plain: &[u8]) -> Result<Vec<u8>, SecretError> {
        let mut data = plain.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut data)
            .map_err(|_| SecretError::Crypto("sealing failed"))?;
        Ok([nonce.as_ref().as_slice(), &data].concat())
    }

    pub fn unseal(&self, purpose: &'static str, sealed: &[u8]) -> Result<Vec<u8>, SecretError> {
        let wrong = SecretError::WrongKey(purpose);
        let Some((nonce, data)) = sealed.split_at_checked(NONCE_LEN) else { return Err(wrong) };
        let Ok(nonce) = Nonce::try_assume_unique_for_key(nonce) else { return Err(wrong) };
        let mut data = data.to_vec();
        match self.key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut data) {
            Ok(plain) => Ok(plain.to_vec()),
            Err(_) => Err(wrong),
        }
    }

    /// BLAKE3 under a key of this installation, in hexadecimal.
    #[must_use]
    pub fn digest(&self, purpose: &'static str, data: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.digests);
        hasher.update(purpose.as_bytes()).update(&[0]).update(data);
        hasher.finalize().to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_and_the_purpose_open_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let sealed = Vault::open(&path).unwrap().seal("authority", b"secret").unwrap();
        let again = Vault::open(&path).unwrap();
        assert_eq!(again.unseal("authority", &sealed).unwrap(), b"secret");
        assert!(again.unseal("something else", &sealed).is_err());
        assert!(again.unseal("authority", &sealed[..10]).is_err());
        let other = Vault::open(&folder.path().join("other.key")).unwrap();
        assert!(matches!(other.unseal("authority", &sealed), Err(SecretError::WrongKey(_))));
        let on_paper = MasterKey::from_bytes(&fs::read(&path).unwrap()).unwrap().digits();
        let copy = folder.path().join("copy.key");
        MasterKey::from_digits(&on_paper).unwrap().write(&copy).unwrap();
        assert_eq!(Vault::open(&copy).unwrap().unseal("authority", &sealed).unwrap(), b"secret");
        let digest = again.digest("parameters", b"secret");
        assert_eq!(Vault::open(&copy).unwrap().digest("parameters", b"secret"), digest);
        for other in [other.digest("parameters", b"secret"), again.digest("something else", b"secret")] {
            assert_ne!(other, digest);
        }
        assert!(MasterKey::from_digits(&on_paper[1..]).is_none());
        fs::write(&path, b"short").unwrap();
        assert!(matches!(Vault::open(&path), Err(SecretError::BadKey(_))));
    }
}
