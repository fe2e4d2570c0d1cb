//! What a helper tells its host: two slots at the start of the work disk, written in turn.
//!
//! A slot is a magic, a sequence number, a length and a checksum, then JSON. The valid slot with the larger number
//! counts, so a helper that dies while it writes leaves the report before. The reader believes no length beyond the
//! slot, and whoever wrote is a stranger: texts are cut and only printed.

use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// Bytes at the start of the work disk.
pub const SIZE: u64 = 2 << 20;
const SLOT: usize = 1 << 20;
const HEAD: usize = 4096;
const MAGIC: &[u8; 8] = b"XNTHPREP";
/// Lines of the log that are kept, and letters of one.
const MAX_LINES: usize = 2000;
const MAX_LINE: usize = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing of the disks was written.
    #[default]
    Working,
    /// Everything is done; the changes are being written to the disks.
    Merging,
    Done,
    /// The disks are as they were.
    Failed,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    pub phase: Phase,
    /// What is being done now.
    pub doing: String,
    /// What the guest says it is; empty where no root was found.
    pub os: String,
    pub changes: Vec<String>,
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: String,
    pub log: Vec<String>,
}

impl Report {
    /// For people; the oldest lines go first.
    pub fn say(&mut self, line: &str) {
        self.log.push(shortened(line));
        let surplus = self.log.len().saturating_sub(MAX_LINES);
        self.log.drain(..surplus);
    }

    fn bounded(mut self) -> Self {
        let cut = |text: &mut String| *text = shortened(text);
        for text in [&mut self.doing, &mut self.os, &mut self.error] {
            cut(text);
        }
        for list in [&mut self.changes, &mut self.warnings, &mut self.log] {
            list.truncate(MAX_LINES);
            list.iter_mut().for_each(cut);
        }
        self
    }
}

/// Without control letters: it goes to terminals.
fn shortened(text: &str) -> String {
    text.chars().take(MAX_LINE).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn checksum(number: u64, json: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).update(json);
    u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("8 of 32 bytes"))
}

/// Writes the report that follows number `last`; returns its number. The file's data are durable afterwards.
pub fn write(disk: &std::fs::File, last: u64, report: &Report) -> io::Result<u64> {
    let number = last + 1;
    let mut report = report.clone().bounded();
    let json = loop {
        let json = serde_json::to_vec(&report).map_err(io::Error::other)?;
        if json.len() <= SLOT - HEAD {
            break json;
        }
        let half = report.log.len() / 2 + 1;
        report.log.drain(..half.min(report.log.len()));
        report.changes.truncate(report.changes.len() * 3 / 4);
        report.warnings.truncate(report.warnings.len() * 3 / 4);
    };
    let mut head = vec![0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&number.to_le_bytes());
    head[16..24].copy_from_slice(&(json.len() as u64).to_le_bytes());
    head[24..32].copy_from_slice(&checksum(number, &json).to_le_bytes());
    let at = (number % 2) * SLOT as u64;
    disk.write_all_at(&json, at + HEAD as u64)?;
    disk.write_all_at(&head, at)?;
    disk.sync_data()?;
    Ok(number)
}

/// The newest report and its number; `None` where none was written.
pub fn read(disk: &std::fs::File) -> io::Result<Option<(u64, Report)>> {
    let mut newest = None;
    for slot in 0..2 {
        let at = slot * SLOT as u64;
        let mut head = [0; 32];
        match disk.read_exact_at(&mut head, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            other => other?,
        }
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let (number, len) = (word(8), usize::try_from(word(16)).unwrap_or(usize::MAX));
        if head[..8] != MAGIC[..] || len > SLOT - HEAD || number % 2 != slot {
            continue;
        }
        let mut json = vec![0; len];
        disk.read_exact_at(&mut json, at + HEAD as u64)?;
        if checksum(number, &json) != word(24) {
            continue;
        }
        let Ok(report) = serde_json::from_slice::<Report>(&json) else { continue };
        if newest.as_ref().is_none_or(|(known, _)| *known < number) {
            newest = Some((number, report.bounded()));
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_report_counts() {
        let disk = tempfile::tempfile().unwrap();
        assert_eq!(read(&disk).unwrap(), None, "nothing was written");
        disk.set_len(SIZE).unwrap();
        assert_eq!(read(&disk).unwrap(), None, "zeros");
        let mut report = Report { doing: "first".to_owned(), ..Report::default() };
        let first = write(&disk, 0, &report).unwrap();
        report.doing = "second".to_owned();
        report.phase = Phase::Merging;
        let second = write(&disk, first, &report).unwrap();
        assert_eq!(read(&disk).unwrap(), Some((second, report.clone())));
        // Half of a third one: the second still counts.
        let at = (second + 1) % 2 * SLOT as u64;
        disk.write_all_at(b"{\"doing\":\"thi", at + HEAD as u64).unwrap();
        assert_eq!(read(&disk).unwrap(), Some((second, report)));
    }

    #[test]
    fn lies_are_no_reports() {
        let good = |disk: &std::fs::File| write(disk, 0, &Report::default()).unwrap();
        let at = SLOT as u64;
        for (name, offset, bytes) in [
            ("another magic", at, &b"XNTHPREQ"[..]),
            ("a length beyond the slot", at + 16, &[0xff; 8]),
            ("another number", at + 8, &[3, 0, 0, 0, 0, 0, 0, 0]),
            ("the other slot's number", at + 8, &[2, 0, 0, 0, 0, 0, 0, 0]),
            ("another letter", at + HEAD as u64 + 1, b"x"),
        ] {
            let disk = tempfile::tempfile().unwrap();
            good(&disk);
            assert!(read(&disk).unwrap().is_some());
            disk.write_all_at(bytes, offset).unwrap();
            assert_eq!(read(&disk).unwrap(), None, "{name}");
        }
    }

    #[test]
    fn a_long_log_is_cut_and_printable() {
        let disk = tempfile::tempfile().unwrap();
        let mut report = Report::default();
        for _ in 0..5000 {
            report.say(&"\u{1b}[2J\u{1f}ä".repeat(200));
        }
        report.changes = vec!["x".repeat(100_000); 3000];
        let number = write(&disk, 7, &report).unwrap();
        let (found, read) = read(&disk).unwrap().unwrap();
        assert_eq!(found, number);
        assert!(read.log.len() <= MAX_LINES && read.changes.iter().all(|text| text.len() <= MAX_LINE));
        assert!(!read.log.iter().any(|line| line.contains('\u{1b}')));
    }
}
