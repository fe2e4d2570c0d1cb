//! A disk of a snapshot by NFC export, into a target that may hold an older state of it.
//!
//! What always holds: the stream gives every grain that is not zero and no table, so each export tells the whole disk;
//! what it leaves out is made zero at the target. Repeated for the same snapshot, it writes the same: a transfer that
//! broke is simply begun again.

use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use xenith_common_block::{ByteRange, RangeSet, is_zero};

use super::areas::SnapshotDisk;
use super::client::{MoRef, Vim};
use super::nfc::{Lease, LeaseDisk};
use super::transfer::{Sums, TargetDisk, Tick, Work};
use crate::convert::block::store;
use crate::error::{ImportError, Result, Retry};
use crate::vmdk::grain::Inflater;
use crate::vmdk::stream::StreamReader;

const TICK: Duration = Duration::from_millis(200);
/// What is read of the target at once where the stream says nothing.
const GAP: u64 = 1024 * 1024;

/// Exports `snapshot` and copies `disk`, one of its `disks`, to `target`.
pub fn copy_disk(
    vim: &Vim,
    (snapshot, disks): (&MoRef, &[SnapshotDisk]),
    disk: &SnapshotDisk,
    (target, work): (&TargetDisk, Work),
    tick: &mut Tick<'_>,
) -> Result<Sums> {
    let mut lease = Lease::open(vim, snapshot)?;
    let offered = choose(vim, &lease.disks, disks, disk)?.clone();
    let result = lease.kept_alive(|lease, percent| {
        lease.read(&offered, &mut |stream| {
            copy(stream, disk.capacity, (target, work), &mut |at, sums| {
                percent.store(at.saturating_mul(100) / disk.capacity.max(1), Ordering::Relaxed);
                tick(at, sums)
            })
        })
    });
    if result.is_ok() {
        lease.complete();
    }
    result
}

/// By its place on its controller; where the lease does not tell places, by its turn.
fn choose<'a>(
    vim: &Vim,
    offered: &'a [LeaseDisk],
    disks: &[SnapshotDisk],
    disk: &SnapshotDisk,
) -> Result<&'a LeaseDisk> {
    let told =
        |lease: &LeaseDisk| disks.iter().any(|disk| !disk.slot.is_empty() && disk.slot == lease.slot());
    let found = if offered.iter().any(told) {
        offered.iter().find(|lease| lease.slot() == disk.slot)
    } else if offered.len() == disks.len() {
        disks.iter().position(|other| other.key == disk.key).and_then(|index| offered.get(index))
    } else {
        None
    };
    found.ok_or_else(|| {
        vim.error("an NFC export", format!("it does not offer the disk {}", disk.path), Retry::Never)
    })
}

fn copy<R: Read>(
    stream: &mut StreamReader<R>,
    capacity: u64,
    (target, work): (&TargetDisk, Work),
    tick: &mut Tick<'_>,
) -> Result<Sums> {
    let (found, name) = (stream.header.capacity, stream.name().to_owned());
    if found != capacity {
        let detail = format!("is {found} bytes, the VM says {capacity}");
        return Err(ImportError::damaged(&name, 12, "capacity", detail));
    }
    let grain = stream.header.grain;
    let (mut inflater, mut packed) = (Inflater::default(), Vec::new());
    let (mut theirs, mut ours) = (vec![0; grain as usize], vec![0; grain.max(GAP) as usize]);
    let (mut seen, mut sums, mut last) = (RangeSet::new(), Sums::default(), Instant::now());
    while let Some(next) = stream.next_grain(&mut packed)? {
        let data = &mut theirs[..next.len as usize];
        inflater.inflate((&name, next.at), &packed[..next.size], data, grain)?;
        packed.clear();
        let range = ByteRange::new(next.disk_offset, next.disk_offset + next.len);
        sums.read += next.len;
        sums.written += put(target, work, range, (data, &mut ours[..next.len as usize]))?;
        seen.insert(range);
        if last.elapsed() >= TICK {
            tick(range.end, sums)?;
            last = Instant::now();
        }
    }
    if work != Work::Fresh {
        let mut at = 0;
        let ends = seen.as_slice().iter().map(|range| (range.start, range.end)).chain([(capacity, capacity)]);
        for (start, end) in ends {
            clear(target, ByteRange::new(at, start), (&mut ours, &mut sums))?;
            at = end;
            tick(at, sums)?;
        }
    }
    tick(capacity, sums)?;
    Ok(sums)
}

/// Returns the bytes written.
fn put(target: &TargetDisk, work: Work, range: ByteRange, (theirs, ours): (&[u8], &mut [u8])) -> Result<u64> {
    if work == Work::Fresh {
        return Ok(store(&*target.sink, range.start, theirs, None)?);
    }
    target.source.read_at(range.start, ours)?;
    if theirs == ours {
        return Ok(0);
    }
    if is_zero(theirs) {
        target.sink.zero(range)?;
    } else {
        target.sink.write_at(range.start, theirs)?;
    }
    Ok(range.len())
}

/// Makes a range zero where it is not.
fn clear(target: &TargetDisk, gap: ByteRange, (ours, sums): (&mut [u8], &mut Sums)) -> Result<()> {
    let mut at = gap.start;
    while at < gap.end {
        let range = ByteRange::new(at, gap.end.min(at + GAP));
        let ours = &mut ours[..range.len() as usize];
        target.source.read_at(at, ours)?;
        if !is_zero(ours) {
            target.sink.zero(range)?;
            sums.written += range.len();
        }
        at = range.end;
    }
    Ok(())
}
