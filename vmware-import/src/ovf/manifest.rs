//! The `.mf` of a package: which file has which SHA sum. And sums that are taken while bytes flow by.

use std::collections::BTreeMap;
use std::io::Read;

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use serde::Serialize;

use crate::convert::journal::hex;
use crate::error::{ImportError, Result};

const MAX_MANIFEST: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum ShaKind {
    Sha1,
    Sha256,
    Sha512,
}

impl ShaKind {
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
            Self::Sha512 => &SHA512,
        }
    }

    fn digits(self) -> usize {
        self.algorithm().output_len() * 2
    }
}

/// Sums by file name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub sums: BTreeMap<String, (ShaKind, String)>,
}

impl Manifest {
    /// Lines `SHA256(name)= hex`, with any spaces; empty lines are fine, anything else is an error: a line that
    /// cannot be read could be the one that matters.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_MANIFEST {
            return Err(ImportError::damaged(file, 0, "manifest", "is larger than 1 MiB"));
        }
        let mut manifest = Self::default();
        let text = String::from_utf8_lossy(bytes);
        let mut offset = 0;
        for line in text.split('\n') {
            let at = offset;
            offset += line.len() as u64 + 1;
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let (name, kind, sum) = parse_line(line).ok_or_else(|| {
                ImportError::damaged(file, at, "manifest line", "is not of the form SHA256(name)= sum")
            })?;
            manifest.sums.insert(name, (kind, sum));
        }
        Ok(manifest)
    }

    /// Compares a file's sums with what is promised. `Ok(false)`: it is not in the manifest.
    pub fn check(&self, package: &str, name: &str, sums: &BTreeMap<ShaKind, String>) -> Result<bool> {
        let Some((kind, expected)) = self.sums.get(name) else { return Ok(false) };
        match sums.get(kind) {
            Some(found) if found == expected => Ok(true),
            Some(found) => Err(ImportError::Differs {
                origin: format!("the manifest of {package}"),
                target: name.to_owned(),
                detail: format!("{kind:?} is {found}, promised was {expected}"),
            }),
            None => Ok(false),
        }
    }
}

fn parse_line(line: &str) -> Option<(String, ShaKind, String)> {
    let (kind, rest) = line.split_once('(')?;
    let (name, sum) = rest.rsplit_once(')')?;
    let sum = sum.trim().strip_prefix('=')?.trim().to_ascii_lowercase();
    let kind = match kind.trim().to_ascii_uppercase().as_str() {
        "SHA1" => ShaKind::Sha1,
        "SHA256" => ShaKind::Sha256,
        "SHA512" => ShaKind::Sha512,
        _ => return None,
    };
    let sound = sum.len() == kind.digits() && sum.bytes().all(|b| b.is_ascii_hexdigit());
    sound.then(|| (name.trim().to_owned(), kind, sum))
}

/// Passes bytes through and sums them up.
pub struct Summing<R> {
    inner: R,
    contexts: Vec<(ShaKind, Context)>,
}

impl<R: Read> Summing<R> {
    pub fn new(inner: R, kinds: &[ShaKind]) -> Self {
        let contexts = kinds.iter().map(|&kind| (kind, Context::new(kind.algorithm()))).collect();
        Self { inner, contexts }
    }

    /// Reads what is left and gives the sums of everything.
    pub fn finish(mut self) -> std::io::Result<(R, BTreeMap<ShaKind, String>)> {
        let mut buf = vec![0; 64 * 1024];
        while self.read(&mut buf)? > 0 {}
        let sums = self.contexts.into_iter().map(|(kind, context)| (kind, hex(context.finish().as_ref())));
        Ok((self.inner, sums.collect()))
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buf)?;
        for (_, context) in &mut self.contexts {
            context.update(&buf[..count]);
        }
        Ok(count)
    }
}
