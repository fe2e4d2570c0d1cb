//! The pool of an SR: made of empty disks, or one that is there.
//!
//! | made of disks | |
//! |---|---|
//! | group | `xenith_<SR>`, extents of 1 MiB, because disks of VMs are whole MiB |
//! | pool | `pool` in it: nearly all of it, its metadata twice (the second to repair with), and a hundredth for more of these |
//!
//! What always holds: a pool is an SR by its tag, which is set last and names it; one that is another SR's, or of
//! which volumes would read what was somebody else's, is refused. Nothing that is on a disk is wiped: LVM asks before
//! it does, and is not answered.
//!
//! A pool that is full lets writes wait, for ever: guests are paused before that ([`crate`]'s users see to it) and the
//! last ones to write stand until there is room. LVM's other way, and the kernel's after a minute, is an error, by which a
//! guest's file system breaks.
//!
//! A crash leaves a group without a pool, which the call made again completes, or an SR that nobody was told of, which
//! [`unmake`] takes away.

use std::fmt;
use std::fs;

use xenith_common_ids::SrId;

use super::names::{dm_name, sr_of, sr_tag};
use super::programs::{Call, Machine};
use super::report::{self, GROUP_COLUMNS, Group, Listed, PoolTable, VOLUME_COLUMNS};
use crate::{Result, StorageError};

const MIB: u64 = 1 << 20;
/// Of an answer, in bytes: a quarter of one for each of a hundred thousand volumes.
const ANSWER: usize = 64 << 20;

/// Which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub(super) group: String,
    pub(super) name: String,
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.name)
    }
}

impl Pool {
    /// That of an SR which was made of disks.
    #[must_use]
    pub fn of(sr: SrId) -> Self {
        Self { group: format!("xenith_{sr}"), name: "pool".to_owned() }
    }

    /// One that is there, as `GROUP/POOL`.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let (group, name) = text.split_once('/')?;
        Some(Self { group: group.to_owned(), name: name.to_owned() })
    }

    pub(super) fn volume(&self, name: &str) -> String {
        format!("{}/{name}", self.group)
    }

    /// The device that is the pool. With the first volume LVM puts it behind a layer (lvmthin(7)): it is called `-tpool` then,
    /// and the one of the pool's own name only keeps it active.
    pub(super) fn target(&self, machine: &Machine) -> String {
        let own = dm_name(&self.group, &self.name);
        let behind = format!("{own}-tpool");
        if machine.devices.join("mapper").join(&behind).exists() { behind } else { own }
    }

    /// Without writing the pool's metadata out, which may wait for its disk.
    pub(super) fn status_call(&self, machine: &Machine) -> Call {
        Call::new("dmsetup status --noflush").and(self.target(machine))
    }
}

/// What LVM lists of the group, where `which` (lvmreport(7), Selection) holds.
pub fn volumes(machine: &Machine, pool: &Pool, which: &str) -> std::io::Result<Vec<Listed>> {
    let call = Call::new(
        "lvs --reportformat json --units b --nosuffix --config report/time_format=\"%s\" --options",
    )
    .and(VOLUME_COLUMNS)
    .and("--select")
    .and(format!("vg_name=\"{}\" && ({which})", pool.group));
    report::volumes(&machine.ask(&call, ANSWER)?)
}

fn find(machine: &Machine, pool: &Pool) -> std::io::Result<Option<Listed>> {
    let listed = volumes(machine, pool, &format!("lv_name=\"{}\"", pool.name))?;
    Ok(listed.into_iter().find(|one| one.volume.name == pool.name))
}

fn group(machine: &Machine, pool: &Pool) -> std::io::Result<Option<Group>> {
    let call = Call::new("vgs --reportformat json --units b --nosuffix --options")
        .and(GROUP_COLUMNS)
        .and("--select")
        .and(format!("vg_name=\"{}\"", pool.group));
    report::group(&machine.ask(&call, ANSWER)?)
}

/// Sizes of a pool's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    data_mib: u64,
    metadata_mib: u64,
    block_kib: u64,
}

/// A block is what a snapshot copies for each write into it, and what a backup reads for it: as small as the metadata
/// can bear, which end at 15.8 GiB (lvmthin(7)) and take 64 bytes for a block (thin_metadata_size(8)). Twice that, for
/// snapshots have maps of their own where they differ.
fn layout(free: u64) -> Option<Layout> {
    const MOST_METADATA: u64 = 15 << 30;
    let block = [64 << 10, 256 << 10, MIB].into_iter().find(|block| free / block * 128 <= MOST_METADATA);
    let block = block.unwrap_or(4 * MIB);
    let metadata_mib = (free / block * 128).div_ceil(MIB).clamp(8, MOST_METADATA / MIB);
    let free_mib = free / MIB;
    let data_mib = free_mib.checked_sub(2 * metadata_mib + free_mib / 100)?;
    (data_mib >= 64).then_some(Layout { data_mib, metadata_mib, block_kib: block >> 10 })
}

fn sr_error(action: &'static str, sr: SrId) -> impl Fn(std::io::Error) -> StorageError {
    move |source| StorageError::Sr { action, sr, source }
}

/// Makes the SR of `disks`, or of a pool that is there where there are none.
pub fn make(machine: &Machine, sr: SrId, pool: &Pool, disks: &[String]) -> Result<()> {
    let error = sr_error("make", sr);
    let found = find(machine, pool).map_err(&error)?;
    let Some(found) = found else {
        if disks.is_empty() {
            let problem = format!(
                "this host has no {pool}; give a thin pool that `lvs` lists, or empty disks to make one of"
            );
            return Err(StorageError::Unsupported(problem));
        }
        return make_of(machine, sr, pool, disks);
    };
    match sr_of(&found.volume.tags) {
        Some(other) if *other == sr.to_string() => return Ok(()),
        Some(other) => {
            return Err(StorageError::Unsupported(format!(
                "{pool} is SR {other} already; attach that one, or give another pool. If that SR was forgotten, run \
                 `lvchange --deltag xenith.sr.{other} {pool}`: the SR that is made then finds its VDIs as orphans, to be \
                 adopted"
            )));
        }
        None => {}
    }
    check_group(machine, sr, pool)?;
    check_pool(machine, sr, pool, &found)?;
    machine.run(&Call::new("lvchange --addtag").and(sr_tag(sr)).and(pool.to_string())).map_err(&error)
}

fn make_of(machine: &Machine, sr: SrId, pool: &Pool, disks: &[String]) -> Result<()> {
    let error = sr_error("make", sr);
    if group(machine, pool).map_err(&error)?.is_none() {
        let call = Call::new("vgcreate --physicalextentsize 1m").and(&pool.group);
        let call = disks.iter().fold(call, |call, disk| call.and(disk));
        machine.run(&call).map_err(|source| {
            let disks = disks.join(" ");
            StorageError::Unsupported(format!(
                "{disks} cannot be made an SR: {source}. Give disks that are empty and that nobody uses; `wipefs --all \
                 DISK` empties one, and what is on it is lost"
            ))
        })?;
    }
    make_in_group(machine, sr, pool).inspect_err(|_| {
        // Its disks are free for another try; where that fails too, an administrator sees the group.
        if let Err(error) = unmake(machine, sr, pool, disks) {
            tracing::warn!(%error, %pool, "the group of an SR that cannot be made is left");
        }
    })
}

fn make_in_group(machine: &Machine, sr: SrId, pool: &Pool) -> Result<()> {
    let error = sr_error("make", sr);
    let free = group(machine, pool).map_err(&error)?.map_or(0, |group| group.free);
    let Some(Layout { data_mib, metadata_mib, block_kib }) = layout(free) else {
        let problem = format!("{} MiB are too little for an SR; give disks of 256 MiB at least", free / MIB);
        return Err(StorageError::Unsupported(problem));
    };
    // The group was made of empty disks: what old signatures it finds in them stand for nothing. What a write into a full pool
    // gets, lvcreate does not take (LVM 2.03.16: "--errorwhenfull is unsupported with thin pools"): `activate` sees to it.
    let call = Call::long("lvcreate --yes --type thin-pool --zero y --discards passdown")
        .and("--size")
        .and(format!("{data_mib}m"))
        .and("--poolmetadatasize")
        .and(format!("{metadata_mib}m"))
        .and("--chunksize")
        .and(format!("{block_kib}k"))
        .and("--addtag")
        .and(sr_tag(sr))
        .and("--name")
        .and(&pool.name)
        .and(&pool.group);
    machine.run(&call).map_err(&error)
}

fn check_group(machine: &Machine, sr: SrId, pool: &Pool) -> Result<()> {
    match group(machine, pool).map_err(sr_error("make", sr))? {
        Some(group) if group.extent > 0 && MIB.is_multiple_of(group.extent) => Ok(()),
        _ => Err(StorageError::Unsupported(format!(
            "the extents of {} are larger than a MiB, of which disks of VMs are made; run `vgchange --physicalextentsize \
             1m {}` first",
            pool.group, pool.group
        ))),
    }
}

fn check_pool(machine: &Machine, sr: SrId, pool: &Pool, found: &Listed) -> Result<()> {
    if found.kind != "thin-pool" {
        return Err(StorageError::Unsupported(format!(
            "{pool} is no thin pool, but {}; give one",
            found.kind
        )));
    }
    if !activate(machine, sr, pool)?.zeroes {
        return Err(StorageError::Unsupported(format!(
            "{pool} does not zero new blocks, so that one VM could read what another has deleted; run `lvchange --zero y \
             {pool}` first"
        )));
    }
    Ok(())
}

/// Makes the pool usable, and let writes wait where it is full.
pub fn activate(machine: &Machine, sr: SrId, pool: &Pool) -> Result<PoolTable> {
    let error = sr_error("attach", sr);
    machine
        .run(&Call::new("lvchange --activate y --ignoreactivationskip").and(pool.to_string()))
        .map_err(&error)?;
    let said = machine.ask(&Call::new("dmsetup table").and(pool.target(machine)), 4096).map_err(&error)?;
    let table = report::pool_table(said.trim()).map_err(&error)?;
    if table.fails_when_full {
        machine.run(&Call::new("lvchange --errorwhenfull n").and(pool.to_string())).map_err(&error)?;
    }
    let patience = machine.modules.join("dm_thin_pool/parameters/no_space_timeout");
    if let Err(error) = fs::write(&patience, "0") {
        tracing::warn!(%error, path = %patience.display(), "the writes into a full pool fail after a minute");
    }
    Ok(table)
}

/// The pool's tags say that it is the SR.
pub fn is_sr(sr: SrId, pool: &Pool, listed: &[Listed]) -> Result<()> {
    let found = listed.iter().find(|one| one.volume.name == pool.name);
    let problem = match found.map(|found| sr_of(&found.volume.tags)) {
        Some(Some(tag)) if *tag == sr.to_string() => return Ok(()),
        Some(Some(other)) => format!("{pool} is another SR: {other}"),
        Some(None) => format!("{pool} is not SR {sr} (it has no tag {})", sr_tag(sr)),
        None => format!("{pool} of SR {sr} is not on this host; are its disks there?"),
    };
    Err(StorageError::Unsupported(problem))
}

pub fn find_sr(machine: &Machine, sr: SrId, pool: &Pool) -> Result<()> {
    let found = find(machine, pool).map_err(sr_error("attach", sr))?;
    is_sr(sr, pool, found.as_slice())
}

/// Takes [`make`] back. The SR is empty; where others have volumes in its group, that stays.
pub fn unmake(machine: &Machine, sr: SrId, pool: &Pool, disks: &[String]) -> Result<()> {
    let error = sr_error("unmake", sr);
    let listed = volumes(machine, pool, &format!("vg_name=\"{}\"", pool.group)).map_err(&error)?;
    let ours = is_sr(sr, pool, &listed).is_ok();
    let alone = listed.iter().all(|one| one.volume.name == pool.name);
    if disks.is_empty() || !alone {
        if ours {
            let call = Call::new("lvchange --deltag").and(sr_tag(sr)).and(pool.to_string());
            machine.run(&call).map_err(&error)?;
        }
        return Ok(());
    }
    if group(machine, pool).map_err(&error)?.is_some() {
        machine.run(&Call::new("vgremove --yes").and(&pool.group)).map_err(&error)?;
    }
    for disk in disks {
        let call = Call::new("pvs --reportformat json --options vg_name").and(disk);
        // One that is no disk of LVM any more was given back before.
        let Ok(said) = machine.ask(&call, ANSWER) else { continue };
        if report::belongs_to_none(&said).map_err(&error)? {
            machine.run(&Call::new("pvremove").and(disk)).map_err(&error)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn layouts() {
        for (free, expected) in [
            (100 * MIB, Some((64 << 10, 8, 83))),
            (1023 * MIB, Some((64 << 10, 8, 1023 - 16 - 10))),
            (1024 * GIB, Some((64 << 10, 2048, (1 << 20) - 4096 - 10485))),
            (16 << 40, Some((256 << 10, 8192, (16 << 20) - 16384 - 167_772))),
            (100 << 40, Some((MIB, 12800, (100 << 20) - 25600 - 1_048_576))),
            (64 * MIB, None),
            (0, None),
        ] {
            let expected = expected.map(|(block, metadata_mib, data_mib)| Layout {
                data_mib,
                metadata_mib,
                block_kib: block >> 10,
            });
            assert_eq!(layout(free), expected, "{free}");
        }
        // Metadata have an end; blocks grow instead.
        let huge = layout(2000 << 40).unwrap();
        assert_eq!((huge.block_kib, huge.metadata_mib), (4096, 15 << 10));
    }

    #[test]
    fn names_of_devices() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine { devices: folder.path().to_owned(), ..Machine::host() };
        let sr = SrId::new();
        let pool = Pool::of(sr);
        // Before the first volume, and with it.
        let own = format!("xenith_{}-pool", sr.to_string().replace('-', "--"));
        assert_eq!(pool.target(&machine), own);
        fs::create_dir(folder.path().join("mapper")).unwrap();
        fs::write(folder.path().join(format!("mapper/{own}-tpool")), "").unwrap();
        assert_eq!(pool.target(&machine), format!("{own}-tpool"));
        assert!(pool.target(&machine).len() <= 127, "device-mapper takes no longer names");
        assert_eq!(Pool::named("vg-1/data").unwrap().target(&machine), "vg--1-data");
        assert_eq!(Pool::named("data"), None);
    }
}
