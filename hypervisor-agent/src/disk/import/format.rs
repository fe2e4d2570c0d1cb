//! What an image is, by its contents. Its name says nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xenith_hypervisor_agent_types::{Fault, FaultReason};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Also ISO 9660: what it holds is the guest's affair.
    Raw,
    Vmdk,
    /// A name that `qemu-img` takes.
    Qemu(&'static str),
}

/// Where a file begins or ends with what, and what it is then. `None`: known, and not taken.
const SIGNATURES: &[(&[u8], Option<Format>, &str)] = &[
    (b"QFI\xfb", Some(Format::Qemu("qcow2")), "qcow2"),
    (b"vhdxfile", Some(Format::Qemu("vhdx")), "VHDX"),
    (b"KDMV", Some(Format::Vmdk), "VMDK"),
    (b"COWD", Some(Format::Vmdk), "VMDK"),
    (
        b"# Disk DescriptorFile",
        None,
        "the descriptor of a VMDK without its disk; give the file that holds the data",
    ),
    (b"\x1f\x8b", None, "compressed with gzip; unpack it first"),
    (b"\xfd7zXZ\0", None, "compressed with xz; unpack it first"),
    (b"BZh", None, "compressed with bzip2; unpack it first"),
    (b"\x28\xb5\x2f\xfd", None, "compressed with zstd; unpack it first"),
    (b"PK\x03\x04", None, "a zip archive; unpack it first"),
    (b"<!DOCTYPE", None, "a web page, not an image; look at the address"),
    (b"<html", None, "a web page, not an image; look at the address"),
    (b"<?xml", None, "an XML document, not an image; look at the address"),
];

/// What the footer of a VHD begins with, and its copy at the beginning of one that grows.
const VHD: &[u8] = b"conectix";
/// At offset 60 of it (Virtual Hard Disk Image Format Specification, "Disk Type"). `qemu-img` does not look: it would give
/// zeros for all that the parent has.
const DIFFERENCE: [u8; 4] = 4_u32.to_be_bytes();

pub fn recognise(path: &Path) -> Result<Format, Fault> {
    let failed = |error: io::Error| {
        Fault::new(FaultReason::Internal, format_args!("cannot read {}: {error}", path.display()))
    };
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let mut head = vec![0; usize::try_from(len.min(512)).unwrap_or(512)];
    file.read_exact_at(&mut head, 0).map_err(failed)?;
    // A fixed VHD has its signature at the end only.
    let mut tail = [0; 8];
    if len >= 512 {
        file.read_exact_at(&mut tail, len - 512).map_err(failed)?;
    }
    of(&head, &tail, len)
}

fn of(head: &[u8], tail: &[u8; 8], len: u64) -> Result<Format, Fault> {
    if len == 0 {
        return Err(Fault::invalid("url", "the file is empty"));
    }
    for (signature, format, what) in SIGNATURES {
        if head.starts_with(signature) {
            let refused = || Fault::invalid("url", format_args!("this is {what}"));
            return format.ok_or_else(refused);
        }
    }
    if head.starts_with(VHD) || tail == VHD {
        if head.starts_with(VHD) && head.get(60..64) == Some(&DIFFERENCE[..]) {
            return Err(Fault::invalid(
                "url",
                "it is a difference to another VHD, which it does not hold; merge the two where they come from (in Hyper-V: \
                 Merge-VHD) and give the whole image",
            ));
        }
        return Ok(Format::Qemu("vpc"));
    }
    Ok(Format::Raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_decide() {
        for (head, tail, expected) in [
            (&b"QFI\xfb\0\0\0\x03"[..], *b"\0\0\0\0\0\0\0\0", Some(Format::Qemu("qcow2"))),
            (b"KDMV\x01", [0; 8], Some(Format::Vmdk)),
            (b"conectix", [0; 8], Some(Format::Qemu("vpc"))),
            (b"\xeb\x63\x90", *b"conectix", Some(Format::Qemu("vpc"))),
            (b"\xeb\x63\x90", [0; 8], Some(Format::Raw)),
            (b"\x1f\x8b\x08", [0; 8], None),
            (b"<!DOCTYPE html>", [0; 8], None),
            (b"# Disk DescriptorFile\nversion=1", [0; 8], None),
        ] {
            assert_eq!(of(head, &tail, 4096).ok(), expected, "{head:?}");
        }
        assert!(of(&[], &[0; 8], 0).is_err());
    }

    #[test]
    fn a_vhd_that_is_a_difference_is_refused() {
        let mut head = [0; 512];
        head[..8].copy_from_slice(VHD);
        for (kind, taken) in [(2, true), (3, true), (4, false)] {
            head[63] = kind;
            assert_eq!(of(&head, b"conectix", 4096).is_ok(), taken, "type {kind}");
        }
    }
}
