//! The host's serial console: Xen's and dom0's messages of all its boots, in one file.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Enough for a panic with its call trace.
const TAIL_LINES: usize = 40;
const TAIL_BYTES: u64 = 16 * 1024;

/// The console log of one host.
#[derive(Debug, Clone)]
pub struct Console {
    path: PathBuf,
}

impl Console {
    /// Over the file that QEMU writes.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length now, to read only what comes later.
    #[must_use]
    pub fn position(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |meta| meta.len())
    }

    /// Everything since `position`, readable: no escape sequences, no carriage returns.
    #[must_use]
    pub fn since(&self, position: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = std::fs::File::open(&self.path)
            && file.seek(SeekFrom::Start(position)).is_ok()
        {
            // A file that cannot be read shows as empty: the tail only decorates an error.
            let _ = file.read_to_end(&mut bytes);
        }
        readable(&String::from_utf8_lossy(&bytes))
    }

    /// The last lines since `position`.
    #[must_use]
    pub fn tail(&self, position: u64) -> String {
        let from = position.max(self.position().saturating_sub(TAIL_BYTES));
        let text = self.since(from);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// Drops terminal escape sequences (ECMA-48 CSI) and control characters but the line feed and the tab.
#[must_use]
pub fn readable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                // Parameters, then one final byte.
                while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
            }
            chars.next();
        } else if c == '\n' || c == '\t' || !c.is_control() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_go_and_text_stays() {
        for (name, raw, expected) in [
            ("colour", "[\u{1b}[0;32m  OK  \u{1b}[0m] Started\r\n", "[  OK  ] Started\n"),
            ("two characters", "a\u{1b}7b", "ab"),
            ("cut off", "a\u{1b}[0;3", "a"),
            ("cut off at once", "a\u{1b}", "a"),
            ("tab", "a\tb\u{8}", "a\tb"),
        ] {
            assert_eq!(readable(raw), expected, "{name}");
        }
    }

    #[test]
    fn the_tail_is_of_this_boot_only() {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::new(dir.path().join("console.log"));
        assert_eq!(console.tail(0), "");
        std::fs::write(console.path(), "old\n").unwrap();
        let position = console.position();
        let new: String = (0..60).map(|n| format!("line {n}\n")).collect();
        std::fs::write(console.path(), format!("old\n{new}")).unwrap();
        let tail = console.tail(position);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 59") && !tail.contains("old"));
    }
}
