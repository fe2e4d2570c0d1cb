//! The system that is installed: a squashfs, and beside it what is said of it.
//!
//! The description is small enough to be signed and fetched first; it carries the hash of the squashfs, so trust in the
//! one is trust in the other. The order is fixed: who verified is a type, [`Verified`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where the live system shows its medium.
pub const ON_MEDIUM: &str = "/run/live/medium/live";
pub const SQUASHFS: &str = "filesystem.squashfs";
pub const DESCRIPTION: &str = "image.json";
/// A description is a few hundred bytes.
const DESCRIPTION_LIMIT: u64 = 64 * 1024;

/// `image.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    pub version: String,
    /// Of the squashfs, hex digits.
    pub sha256: String,
    pub bytes: u64,
    /// What the tree takes when it is unpacked, for the progress.
    pub unpacked_bytes: u64,
    /// Seconds since 1970: of the source, not of the build.
    pub source_date: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is no description of an image: {detail}")]
    Description { path: PathBuf, detail: String },
    #[error(
        "{path} is damaged: its bytes have the hash {found}, not {expected}; write the medium anew, or fetch the image again"
    )]
    Damaged { path: PathBuf, found: String, expected: String },
    #[error("the signature of {path} is not by the key {key}: {detail}; do not use this image")]
    Signature { path: PathBuf, key: String, detail: String },
}

/// A squashfs with its description.
#[derive(Debug, Clone)]
pub struct Image {
    pub squashfs: PathBuf,
    pub description: Description,
}

/// An image whose every byte was compared with its description.
#[derive(Debug)]
pub struct Verified(Image);

impl Verified {
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.0
    }
}

impl Image {
    /// The one in a folder.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let path = dir.join(DESCRIPTION);
        let description = parse(&path, &read_small(&path)?)?;
        Ok(Self { squashfs: dir.join(SQUASHFS), description })
    }

    /// The one that the live system fetched over HTTP (`fetch=`), which brings no description: its hash stands on the
    /// kernel's command line, as `xenith.image.sha256=`.
    #[must_use]
    pub fn fetched(dir: &Path, cmdline: &str) -> Option<Self> {
        let sha256 = cmdline.split_whitespace().find_map(|word| word.strip_prefix("xenith.image.sha256="))?;
        let mut files = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
        let squashfs =
            files.find(|path| path.extension().is_some_and(|extension| extension == "squashfs"))?;
        let bytes = std::fs::metadata(&squashfs).ok()?.len();
        let description = Description {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sha256: sha256.to_owned(),
            bytes,
            // Only for the progress: zstd makes a third of such a tree.
            unpacked_bytes: bytes * 3,
            source_date: 0,
        };
        Some(Self { squashfs, description })
    }

    /// As [`Self::open`], after the signature of the description (minisign) was verified.
    pub fn open_signed(dir: &Path, key: &str) -> Result<Self, ImageError> {
        let path = dir.join(DESCRIPTION);
        let text = read_small(&path)?;
        let signature = read_small(&dir.join(format!("{DESCRIPTION}.minisig")))?;
        let verify = || -> Result<(), minisign_verify::Error> {
            let key = minisign_verify::PublicKey::from_base64(key.trim())?;
            let signature = minisign_verify::Signature::decode(&String::from_utf8_lossy(&signature))?;
            key.verify(&text, &signature, false)
        };
        verify().map_err(|error| ImageError::Signature {
            path: path.clone(),
            key: key.trim().to_owned(),
            detail: error.to_string(),
        })?;
        Ok(Self { squashfs: dir.join(SQUASHFS), description: parse(&path, &text)? })
    }

    /// Reads all of it; `progress` hears the bytes so far.
    pub fn verify(self, mut progress: impl FnMut(u64)) -> Result<Verified, ImageError> {
        let read_error = |source| ImageError::Read { path: self.squashfs.clone(), source };
        let mut file = File::open(&self.squashfs).map_err(read_error)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(error)),
            };
            hasher.update(&buffer[..read]);
            done += read as u64;
            progress(done);
        }
        let found = hex(&hasher.finalize());
        let expected = self.description.sha256.to_ascii_lowercase();
        if found != expected {
            return Err(ImageError::Damaged { path: self.squashfs, found, expected });
        }
        Ok(Verified(self))
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(DESCRIPTION_LIMIT).read_to_end(&mut bytes))
        .map_err(|source| ImageError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Description, ImageError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ImageError::Description { path: path.to_owned(), detail: error.to_string() })
}

/// Lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(content: &[u8], sha256: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(SQUASHFS), content).unwrap();
        let description = Description {
            version: "1.2.3".into(),
            sha256: sha256.into(),
            bytes: content.len() as u64,
            unpacked_bytes: 10,
            source_date: 0,
        };
        std::fs::write(dir.path().join(DESCRIPTION), serde_json::to_vec(&description).unwrap()).unwrap();
        dir
    }

    #[test]
    fn an_image_is_its_description() {
        let whole = folder(b"abc", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD");
        let mut seen = 0;
        let verified = Image::open(whole.path()).unwrap().verify(|bytes| seen = bytes).unwrap();
        assert_eq!((seen, verified.image().description.version.as_str()), (3, "1.2.3"));
        let damaged = folder(b"abd", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let error = Image::open(damaged.path()).unwrap().verify(|_| ()).unwrap_err();
        assert!(matches!(error, ImageError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_fetched_image_is_checked_with_the_hash_of_the_command_line() {
        let dir = folder(b"abc", "00");
        assert!(Image::fetched(dir.path(), "boot=live fetch=http://h/x.squashfs").is_none());
        let image = Image::fetched(dir.path(), "boot=live xenith.image.sha256=11 quiet").unwrap();
        assert_eq!((image.squashfs.clone(), image.description.bytes), (dir.path().join(SQUASHFS), 3));
        assert!(matches!(image.verify(|_| ()), Err(ImageError::Damaged { .. })));
    }

    #[test]
    fn a_description_without_its_signature_is_not_taken() {
        // The example of minisign-verify's documentation, over another text.
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let dir = folder(b"abc", "00");
        let error = Image::open_signed(dir.path(), key).unwrap_err();
        assert!(matches!(error, ImageError::Read { .. }), "{error}");
        let signature = "untrusted comment: signature from minisign secret key\n\
            RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n\
            trusted comment: timestamp:1555779966\tfile:test\n\
            QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n";
        std::fs::write(dir.path().join("image.json.minisig"), signature).unwrap();
        let error = Image::open_signed(dir.path(), key).unwrap_err();
        assert!(matches!(error, ImageError::Signature { .. }), "{error}");
    }
}
