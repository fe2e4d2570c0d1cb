//! Headers of a tar's members: the same bytes for the same name and size, whoever writes it and when.

use std::io;

/// Of a plain file. A size over 8 GiB is written as GNU tar does, which readers of OVA and XVA know.
pub(crate) fn header(name: &str, size: u64) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}
