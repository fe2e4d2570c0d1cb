//! How a disk is divided. The same on BIOS and UEFI, so that a disk boots in either kind of machine.
//!
//! ```text
//!  1  xenith-bios    1 MiB    where GRUB lives on a BIOS
//!  2  xenith-esp     512 MiB  EFI system partition: boot loader, its menu, which slot is booted
//!  3  xenith-a       4 GiB    a whole system
//!  4  xenith-b       4 GiB    room for the next one; empty after an installation
//!  5  xenith-state   5 % of the disk, 4 to 64 GiB: /var/lib/xenith and the logs, which upgrades do not touch
//!  6  xenith-sr      the rest: the local SR
//! ```
//!
//! A mirror has the same table on both disks; 3, 5 and 6 are arrays, 2 is written twice. docs/adr/0050 has the reasons.

use std::fmt::Write as _;

const MIB: u64 = 1 << 20;
/// GPT and alignment at either end.
const EDGE_MIB: u64 = 1;
const BIOS_MIB: u64 = 1;
const ESP_MIB: u64 = 512;
/// The system takes 0.7 GiB; four leave room for years of growth, which cannot be added later.
pub const SLOT_MIB: u64 = 4096;
const STATE_LEAST_MIB: u64 = 4096;
const STATE_MOST_MIB: u64 = 65_536;
const SR_LEAST_MIB: u64 = 4096;

/// Smaller disks are refused.
pub const LEAST_DISK_MIB: u64 =
    2 * EDGE_MIB + BIOS_MIB + ESP_MIB + 2 * SLOT_MIB + STATE_LEAST_MIB + SR_LEAST_MIB;

/// Numbers of the partitions.
pub mod number {
    pub const ESP: u32 = 2;
    pub const SLOT_A: u32 = 3;
    pub const SLOT_B: u32 = 4;
    pub const STATE: u32 = 5;
    pub const SR: u32 = 6;
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub name: &'static str,
    pub mib: u64,
    /// GUID of the type (UEFI specification 5.3.3, Discoverable Partitions Specification, GRUB's manual).
    kind: &'static str,
}

/// The table of one disk, or of both disks of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    partitions: Vec<Partition>,
}

const BIOS_BOOT: &str = "21686148-6449-6E6F-744E-656564454649";
const ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
/// Generic Linux data. Not the root types of the discoverable specification: nothing but our menu may choose a slot.
const LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

impl Layout {
    /// For a disk of `bytes` (of a mirror: the smaller one). The error says what is needed.
    pub fn for_size(bytes: u64) -> Result<Self, String> {
        let total = bytes / MIB;
        if total < LEAST_DISK_MIB {
            let gib = |mib: u64| mib as f64 / 1024.0;
            return Err(format!(
                "{:.1} GiB are too few; {:.1} GiB are needed",
                gib(total),
                gib(LEAST_DISK_MIB)
            ));
        }
        let state = (total / 20).clamp(STATE_LEAST_MIB, STATE_MOST_MIB);
        let row = |name, mib, kind| Partition { name, mib, kind };
        let mut partitions = vec![
            row("xenith-bios", BIOS_MIB, BIOS_BOOT),
            row("xenith-esp", ESP_MIB, ESP),
            row("xenith-a", SLOT_MIB, LINUX),
            row("xenith-b", SLOT_MIB, LINUX),
            row("xenith-state", state, LINUX),
        ];
        let used: u64 = partitions.iter().map(|partition| partition.mib).sum();
        partitions.push(row("xenith-sr", total - used - 2 * EDGE_MIB, LINUX));
        Ok(Self { partitions })
    }

    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// What `sfdisk` reads.
    #[must_use]
    pub fn sfdisk(&self) -> String {
        let mut script = "label: gpt\nfirst-lba: 2048\n".to_owned();
        for Partition { name, mib, kind } in &self.partitions {
            writeln!(script, "size={mib}MiB, type={kind}, name=\"{name}\"")
                .expect("writing to a String cannot fail");
        }
        script
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn every_disk_that_is_large_enough_is_used_up_and_no_more() {
        for bytes in [LEAST_DISK_MIB * MIB, 24 * GIB, 480_103_981_056, 4000 * GIB, 24 * GIB + 12345] {
            let layout = Layout::for_size(bytes).unwrap();
            let sum: u64 = layout.partitions().iter().map(|partition| partition.mib).sum();
            assert_eq!((sum + 2) * MIB, bytes / MIB * MIB, "{bytes}");
            assert!(layout.partitions()[5].mib >= SR_LEAST_MIB, "{bytes}");
        }
    }

    #[test]
    fn the_state_grows_with_the_disk_within_limits() {
        for (gib, state) in [(24, 4096), (500, 25_600), (4000, 65_536)] {
            assert_eq!(Layout::for_size(gib * GIB).unwrap().partitions()[4].mib, state, "{gib}");
        }
    }

    #[test]
    fn a_disk_that_is_too_small_is_told_what_is_needed() {
        let error = Layout::for_size(LEAST_DISK_MIB * MIB - 1).unwrap_err();
        assert!(error.contains("16.5 GiB are needed"), "{error}");
    }

    #[test]
    fn the_script_has_a_row_for_each_partition_in_order() {
        let script = Layout::for_size(24 * GIB).unwrap().sfdisk();
        let names: Vec<_> = script.lines().filter_map(|line| line.split("name=").nth(1)).collect();
        assert_eq!(names[number::ESP as usize - 1], "\"xenith-esp\"");
        assert_eq!(names[number::SLOT_A as usize - 1], "\"xenith-a\"");
        assert_eq!(names[number::SLOT_B as usize - 1], "\"xenith-b\"");
        assert_eq!(names[number::STATE as usize - 1], "\"xenith-state\"");
        assert_eq!(names[number::SR as usize - 1], "\"xenith-sr\"");
        assert!(script.starts_with("label: gpt\n"));
    }
}
