//! An image on a web server: a description of a few hundred bytes, its signature, and the file system that the description
//! has the hash of (`installer/src/image.rs` writes and reads the same).
//!
//! The order is fixed: first the signature, then the large file, of which no more is taken than the description says.

use std::fs;
use std::path::Path;

use minisign_verify::{PublicKey, Signature};
use serde::Deserialize;
use xenith_common_text::without_credentials;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::disk::download::{self, Remote};
use crate::progress::Progress;

const DESCRIPTION: &str = "image.json";
const SIGNATURE: &str = "image.json.minisig";
const SQUASHFS: &str = "filesystem.squashfs";
/// Written last: the others are verified.
const WHOLE: &str = "whole";
/// Of the two small files. A description is a few hundred bytes.
const SMALL: u64 = 64 * 1024;

/// What is needed here of the description.
#[derive(Debug, Deserialize)]
struct Description {
    version: String,
    sha256: String,
    bytes: u64,
}

fn on_disk(path: &Path) -> impl Fn(std::io::Error) -> Fault {
    move |error| {
        let full = xenith_hypervisor_agent_storage::is_full(&error);
        let reason = if full { FaultReason::StorageFull } else { FaultReason::Internal };
        Fault::new(reason, format_args!("cannot write {}: {error}", path.display()))
    }
}

/// The image in the folder `url`, into `folder`. Answers with its version.
pub(super) fn fetch(url: &str, folder: &Path, key: &str, progress: &Progress) -> Result<String, Fault> {
    let url = url.trim_end_matches('/');
    let small = |name: &str| {
        let url = format!("{url}/{name}");
        download::small(&Remote { url: &url, sha256: "", most: SMALL })
    };
    let (text, signature) = (small(DESCRIPTION)?, small(SIGNATURE)?);
    let description = verified(url, &text, &signature, key)?;
    begin(folder, &text)?;
    let _not_there = fs::remove_file(folder.join(WHOLE));
    let squashfs = folder.join(SQUASHFS);
    let from = format!("{url}/{SQUASHFS}");
    let remote = Remote { url: &from, sha256: &description.sha256, most: description.bytes };
    download::download(&remote, &squashfs, progress)?;
    for (name, bytes) in [(SIGNATURE, &*signature), (WHOLE, b"".as_slice())] {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(on_disk(&path))?;
    }
    Ok(description.version)
}

fn verified(url: &str, text: &[u8], signature: &[u8], key: &str) -> Result<Description, Fault> {
    let (key, url) = (key.trim(), without_credentials(url));
    let verify = || -> Result<(), minisign_verify::Error> {
        let key = PublicKey::from_base64(key)?;
        let signature = Signature::decode(&String::from_utf8_lossy(signature))?;
        key.verify(text, &signature, false)
    };
    verify().map_err(|error| {
        let message = format_args!(
            "the image at {url} is not signed by {key}, which signed the system of this host ({error}); do not use it"
        );
        Fault::invalid("url", message)
    })?;
    serde_json::from_slice(text)
        .map_err(|error| Fault::invalid("url", format_args!("{url}/{DESCRIPTION} cannot be read: {error}")))
}

/// What is here of this image stays, and what is here of another goes.
fn begin(folder: &Path, text: &[u8]) -> Result<(), Fault> {
    let path = folder.join(DESCRIPTION);
    if fs::read(&path).is_ok_and(|here| here == text) {
        return Ok(());
    }
    forget(folder)?;
    fs::create_dir_all(folder).map_err(on_disk(folder))?;
    fs::write(&path, text).map_err(on_disk(&path))
}

pub(super) fn is_whole(folder: &Path) -> bool {
    folder.join(WHOLE).exists()
}

pub(super) fn forget(folder: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Fault::new(
            FaultReason::Internal,
            format_args!("cannot remove {}: {error}", folder.display()),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_sim::IMAGE;

    use super::*;

    const KEY: &str = include_str!("../../sim/src/system/image.pub");

    #[test]
    fn a_description_counts_only_with_the_signature_of_the_key() {
        let [(_, text), (_, signature), (_, squashfs)] = IMAGE;
        let description = verified("http://h", text, signature, KEY).unwrap();
        assert_eq!((&*description.version, description.bytes), ("99.0.0", squashfs.len() as u64));
        let other = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let changed = [text, b" "].concat();
        for (what, text, signature, key) in [
            ("another key", text, signature, other),
            ("another text", &*changed, signature, KEY),
            ("no signature", text, b"".as_slice(), KEY),
            ("no key", text, signature, ""),
        ] {
            let fault = verified("http://h", text, signature, key).unwrap_err();
            assert_eq!((fault.reason, fault.field.as_deref()), (FaultReason::Invalid, Some("url")), "{what}");
        }
    }

    #[test]
    fn what_is_here_of_another_image_is_not_taken_up() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("system-image");
        begin(&folder, b"one").unwrap();
        fs::write(folder.join(SQUASHFS), b"half").unwrap();
        begin(&folder, b"one").unwrap();
        assert!(folder.join(SQUASHFS).exists(), "the same image goes on where it was");
        begin(&folder, b"two").unwrap();
        assert!(!folder.join(SQUASHFS).exists());
        forget(&folder).unwrap();
        forget(&folder).unwrap();
        assert!(!folder.exists());
    }
}
