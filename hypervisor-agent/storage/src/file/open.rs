//! How files in an SR's folder are opened.
//!
//! Others may write there: a server and whoever else has its export. What always holds: no name that they made leads us to
//! another file of this host (a link is an error), and nothing that we read whole fills memory or never ends.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A mark or a note is a hundred bytes.
const SMALL: u64 = 64 * 1024;

/// Follows no link, and waits for nobody at a pipe's other end.
pub fn plain() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// The whole of a small file.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    plain().read(true).open(path)?.take(SMALL + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SMALL {
        let problem = format!("{} is too large for what should be in it", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(bytes)
}

/// The same as text.
pub fn read_small_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_small(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
