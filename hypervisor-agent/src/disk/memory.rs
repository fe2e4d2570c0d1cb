//! The memory of a VM in a VDI of its own, beside the disks that it belongs to.
//!
//! ```text
//! byte 0       magic "XENMEM01"
//! byte 8       length of the header, u32, little endian
//! byte 12      header, JSON ([`MemoryHeader`])
//! after it     BLAKE3 of all before it, 32 bytes
//! byte 64 KiB  what the hypervisor wrote, `kept.bytes` long; after it nothing counts
//! ```
//!
//! What always holds: the header is written last, after the rest is durable. That is the commit point: a VDI without one
//! is memory that was never whole, and is made anew by the same call made again, or deleted by who asked for it.
//!
//! It is a VDI like any other for its SR: found, counted as used and deleted like one, made as large as what it holds, and
//! read as zeros where nothing was written. No disk of a VM names it, because the orchestrator has no VDI of that id.

use std::io::{self, Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_block::{BlockError, BlockSink, BlockSource};
use xenith_common_ids::{VdiId, VmId};
use xenith_hypervisor_agent_storage::{StorageDriver, StorageError};
use xenith_hypervisor_agent_types::{
    Fault, FaultReason, KeptMemory, MemoryOf, SnapshotOf, VdiFacts, VdiSize, VmSpec,
};

use super::busy::Hold;
use super::storage::{Result, Storage};

const MAGIC: &[u8; 8] = b"XENMEM01";
/// Where the stream begins; the header lies before it.
const START: u64 = 64 << 10;
/// What the header is framed by: magic, length, hash.
const FRAME: usize = 8 + 4 + blake3::OUT_LEN;
/// Read and written at a time.
const CHUNK: usize = 1 << 20;
/// A new one; it grows as it is filled.
const FIRST: u64 = 1 << 20;
/// It grows by this or by a quarter: few calls for much memory, and little promised that is not used.
const STEP: u64 = 64 << 20;
/// Left to the disks that are in the SR already: half a percent, and not more than this.
const MOST_RESERVE: u64 = 1 << 30;

/// What is written down with the memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryHeader {
    pub vm: VmId,
    /// The snapshots of the disks of the same instant: with others, this memory would ruin them.
    pub disks: Vec<SnapshotOf>,
    /// What the domain was.
    pub applied: VmSpec,
    pub kept: KeptMemory,
    /// How long the VM stood.
    pub paused_ms: u64,
    /// BLAKE3 of the stream, in hexadecimal.
    #[serde(default)]
    pub digest: String,
}

/// Memory that is being written. Others are kept away as long as it lives.
pub struct MemoryWriter {
    driver: Arc<dyn StorageDriver>,
    vdi: VdiId,
    sink: Box<dyn BlockSink>,
    at: u64,
    hasher: blake3::Hasher,
    _hold: Hold,
}

/// Memory that is there as a whole.
pub struct MemoryImage {
    pub header: MemoryHeader,
    source: Arc<dyn BlockSource>,
}

fn damaged(vdi: VdiId, detail: &str) -> Fault {
    StorageError::Damaged { vdi, detail: detail.to_owned() }.into()
}

fn block(error: BlockError) -> Fault {
    match error {
        BlockError::Cancelled => Fault::new(FaultReason::WrongState, "it was cancelled"),
        other => StorageError::from(other).into(),
    }
}

/// Refuses what would leave the disks of this SR without room.
fn has_room(driver: &dyn StorageDriver, more: u64) -> Result<()> {
    let (free, total) = driver.room()?;
    let needed = more.saturating_add((total / 200).min(MOST_RESERVE));
    if free >= needed {
        return Ok(());
    }
    let message = format!(
        "the memory does not fit into SR {}: {} MiB are needed beside its disks, {} MiB are free; free space in it, or \
         snapshot the disks only",
        driver.sr(),
        (needed >> 20) + 1,
        free >> 20
    );
    Err(Fault::new(FaultReason::StorageFull, message))
}

impl Storage {
    /// A new VDI for about `expected` bytes of memory, in place of what an earlier try has left.
    pub fn create_memory(&self, of: MemoryOf, expected: u64) -> Result<MemoryWriter> {
        let hold = self.busy.make(of.vdi, of.sr, "memory that is being written")?;
        let driver = self.driver(of.sr)?;
        // Whoever was told a wrong id loses no disk by it.
        self.closed(of.vdi)?;
        driver.delete(of.vdi)?;
        has_room(&*driver, expected)?;
        let first = VdiSize::holding(FIRST).map_err(|error| Fault::new(FaultReason::Internal, error))?;
        driver.ensure(of.vdi, first)?;
        let sink = driver.open_sink(of.vdi)?;
        Ok(MemoryWriter { driver, vdi: of.vdi, sink, at: START, hasher: blake3::Hasher::new(), _hold: hold })
    }

    /// `None`: it is not there, or was never whole.
    pub fn open_memory(&self, of: MemoryOf) -> Result<Option<MemoryImage>> {
        let source = match self.open_source(of.vdi) {
            Ok(source) => source,
            Err(fault) if fault.reason == FaultReason::NotFound => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let Some(header) = read_header(&*source, of.vdi)? else { return Ok(None) };
        Ok(Some(MemoryImage { header, source }))
    }

    /// Gives a disk of `vm`, which is off and whose owner lets nobody open it, the contents of a snapshot.
    pub fn revert_of(&self, vm: VmId, of: SnapshotOf) -> Result<VdiFacts> {
        if let Some(other) = self.in_use.by(of.vdi).filter(|by| *by != vm) {
            let message = format_args!("VDI {} is a disk of VM {other} too; stop that one first", of.vdi);
            return Err(Fault::new(FaultReason::WrongState, message));
        }
        let hold = self.busy.change(of.vdi, "being reverted to a snapshot")?;
        let _snapshot = self.busy.read(of.snapshot, "being reverted to")?;
        let driver = self.find(of.vdi)?;
        let _writing = self.writing(hold, &*driver, of.vdi)?;
        self.forget_mark(of.vdi)?;
        Ok(driver.revert(of.vdi, of.snapshot)?)
    }
}

impl MemoryWriter {
    /// Takes what comes until its end, and tells how much that is. `told` may stop it.
    pub fn take_in(
        &mut self,
        mut from: impl Read,
        mut told: impl FnMut(u64) -> Result<(), BlockError>,
    ) -> Result<()> {
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            chunk.clear();
            let read = from.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
            read.map_err(|error| Fault::new(FaultReason::Internal, error))?;
            if chunk.is_empty() {
                return Ok(());
            }
            self.append(&chunk)?;
            told(self.at - START).map_err(block)?;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.at + bytes.len() as u64;
        if end > self.sink.size() {
            self.grow(end)?;
        }
        self.sink.write_at(self.at, bytes).map_err(block)?;
        self.hasher.update(bytes);
        self.at = end;
        Ok(())
    }

    fn grow(&mut self, needed: u64) -> Result<()> {
        let now = self.sink.size();
        let wanted = needed.max(now + STEP.max(now / 4));
        has_room(&*self.driver, wanted - now)?;
        let size = VdiSize::holding(wanted).map_err(|error| Fault::new(FaultReason::StorageFull, error))?;
        self.driver.grow(self.vdi, size)?;
        // One that is open goes by the size that was.
        self.sink = self.driver.open_sink(self.vdi)?;
        Ok(())
    }

    /// Forgets what was taken in.
    pub fn begin_again(&mut self) {
        self.at = START;
        self.hasher = blake3::Hasher::new();
    }

    /// Of what was taken in.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.at - START
    }

    /// Makes it count: when this returns, it is whole and durable.
    pub fn commit(self, header: MemoryHeader) -> Result<()> {
        let digest = self.hasher.finalize().to_hex().to_string();
        let header = encode(&MemoryHeader { digest, ..header })?;
        self.sink.flush().map_err(block)?;
        self.sink.write_at(0, &header).map_err(block)?;
        self.sink.flush().map_err(block)
    }
}

impl MemoryImage {
    /// Reads all of it and compares. `told` hears how much was read, and may stop it.
    pub fn verify(&self, vdi: VdiId, mut told: impl FnMut(u64) -> Result<(), BlockError>) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut done = 0;
        self.each(|chunk| {
            hasher.update(chunk);
            done += chunk.len() as u64;
            told(done).map_err(block)
        })?;
        if hasher.finalize().to_hex().as_str() == self.header.digest {
            return Ok(());
        }
        Err(damaged(vdi, "the memory in it is not what was written; revert the disks only"))
    }

    /// Writes all of it to `to`. A reader that closes its end has what it needs, or says itself what is wrong.
    pub fn pour(&self, mut to: impl Write) -> Result<()> {
        let mut closed = false;
        let poured = self.each(|chunk| match to.write_all(chunk) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                closed = true;
                Err(Fault::new(FaultReason::Internal, error))
            }
            written => written.map_err(|error| Fault::new(FaultReason::Internal, error)),
        });
        if closed { Ok(()) } else { poured }
    }

    fn each(&self, mut chunk: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        let (mut at, end) = (START, START + self.header.kept.bytes);
        while at < end {
            let part = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            self.source.read_at(at, &mut buffer[..part]).map_err(block)?;
            chunk(&buffer[..part])?;
            at += part as u64;
        }
        Ok(())
    }
}

fn encode(header: &MemoryHeader) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(header).map_err(|error| Fault::new(FaultReason::Internal, error))?;
    let length = u32::try_from(json.len()).ok().filter(|_| (json.len() + FRAME) as u64 <= START);
    let Some(length) = length else {
        let message = "the VM has too many devices for its memory to be kept; snapshot its disks only";
        return Err(Fault::new(FaultReason::Unsupported, message));
    };
    let mut bytes = MAGIC.to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(json);
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    Ok(bytes)
}

/// `None`: none was ever written.
fn read_header(source: &dyn BlockSource, vdi: VdiId) -> Result<Option<MemoryHeader>> {
    if source.size() < START {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(START).unwrap_or(CHUNK)];
    source.read_at(0, &mut bytes).map_err(block)?;
    let Some(framed) = bytes.strip_prefix(MAGIC) else { return Ok(None) };
    let wrong =
        || damaged(vdi, "what is written down about the memory in it cannot be read; revert the disks only");
    let (length, rest) = framed.split_first_chunk::<4>().ok_or_else(wrong)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let json = rest.get(..length).ok_or_else(wrong)?;
    let hash = rest.get(length..).and_then(|after| after.get(..blake3::OUT_LEN)).ok_or_else(wrong)?;
    let header_end = MAGIC.len() + 4 + length;
    if blake3::hash(&bytes[..header_end]).as_bytes() != hash {
        return Err(wrong());
    }
    let header: MemoryHeader = serde_json::from_slice(json).map_err(|_| wrong())?;
    let end = START.checked_add(header.kept.bytes);
    if end.is_none_or(|end| end > source.size()) {
        return Err(damaged(vdi, "the memory in it was cut off; revert the disks only"));
    }
    Ok(Some(header))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use xenith_common_ids::SrId;
    use xenith_hypervisor_agent_storage::file::FileDriver;
    use xenith_hypervisor_agent_types::WrittenWhile;
    use xenith_hypervisor_agent_types::test_support::small;

    use super::*;
    use crate::disk::InUse;

    fn header(bytes: u64) -> MemoryHeader {
        let kept = KeptMemory {
            bytes,
            written_while: WrittenWhile::Running,
            cpu_model: "Xeon".into(),
            xen_major: 4,
            xen_minor: 17,
        };
        MemoryHeader {
            vm: VmId::new(),
            disks: vec![],
            applied: small("v"),
            kept,
            paused_ms: 3,
            digest: String::new(),
        }
    }

    fn storage() -> (tempfile::TempDir, Storage, MemoryOf) {
        let folder = tempfile::tempdir().unwrap();
        let sr = SrId::new();
        let driver = FileDriver::open(sr, folder.path().to_owned());
        let storage = Storage::new(Arc::new(driver), InUse::default());
        (folder, storage, MemoryOf { vdi: VdiId::new(), sr })
    }

    #[test]
    fn what_was_written_is_read_and_nothing_counts_before_the_end() {
        let (_folder, storage, of) = storage();
        assert!(storage.open_memory(of).unwrap().is_none(), "not there");
        // Larger than a new one, so that it grows.
        let stream: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        let mut writer = storage.create_memory(of, 1).unwrap();
        writer.take_in(&stream[..], |_| Ok(())).unwrap();
        assert!(storage.open_memory(of).is_err(), "it is being written");
        drop(writer);
        assert!(storage.open_memory(of).unwrap().is_none(), "it was never whole");

        let mut writer = storage.create_memory(of, 1).unwrap();
        writer.take_in(&b"the beginning of another stream"[..], |_| Ok(())).unwrap();
        writer.begin_again();
        let mut told = 0;
        writer
            .take_in(&stream[..], |done| {
                told = done;
                Ok(())
            })
            .unwrap();
        assert_eq!((told, writer.bytes()), (3_000_000, 3_000_000));
        let written = header(writer.bytes());
        writer.commit(written.clone()).unwrap();
        let image = storage.open_memory(of).unwrap().unwrap();
        assert_eq!(MemoryHeader { digest: String::new(), ..image.header.clone() }, written);
        image.verify(of.vdi, |_| Ok(())).unwrap();
        let mut poured = Vec::new();
        image.pour(&mut poured).unwrap();
        assert!(poured == stream, "another stream");
        assert!(storage.delete(of.sr, of.vdi).is_err(), "it is being read");
        drop(image);
        storage.delete(of.sr, of.vdi).unwrap();
        assert!(storage.open_memory(of).unwrap().is_none());
    }

    #[test]
    fn a_disk_of_a_vm_does_not_become_memory() {
        let (folder, sr, in_use) = (tempfile::tempdir().unwrap(), SrId::new(), InUse::default());
        let driver = FileDriver::open(sr, folder.path().to_owned());
        let storage = Storage::new(Arc::new(driver), in_use.clone());
        let of = MemoryOf { vdi: VdiId::new(), sr };
        storage.ensure(sr, of.vdi, VdiSize::from_bytes(1 << 20).unwrap()).unwrap();
        in_use.set(VmId::new(), vec![of.vdi]);
        assert!(storage.create_memory(of, 1).is_err());
        assert!(storage.driver(sr).unwrap().facts(of.vdi).is_ok(), "it was deleted");
    }

    #[test]
    fn who_is_told_to_stop_stops() {
        let (_folder, storage, of) = storage();
        let mut writer = storage.create_memory(of, 1).unwrap();
        let stopped = writer.take_in(&[7; 4096][..], |_| Err(BlockError::Cancelled)).unwrap_err();
        assert_eq!(stopped.reason, FaultReason::WrongState);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        let (folder, storage, of) = storage();
        let Err(full) = storage.create_memory(of, 1 << 60) else { panic!("it fits") };
        assert_eq!(full.reason, FaultReason::StorageFull);
        assert!(full.message.contains("snapshot the disks only"), "{full}");
        assert!(!folder.path().join(format!("{}.raw", of.vdi)).exists());
    }

    #[test]
    fn damage_is_noticed() {
        for (case, at, says) in [
            ("in the header", 20, "cannot be read"),
            ("in its length", 10, "cannot be read"),
            ("in the memory", START + 100, "not what was written"),
        ] {
            let (folder, storage, of) = storage();
            let mut writer = storage.create_memory(of, 1).unwrap();
            writer.take_in(&[7; 100_000][..], |_| Ok(())).unwrap();
            let bytes = writer.bytes();
            writer.commit(header(bytes)).unwrap();
            let path = folder.path().join(format!("{}.raw", of.vdi));
            File::options().write(true).open(path).unwrap().write_all_at(&[0xa5], at).unwrap();
            let found = storage.open_memory(of).and_then(|image| image.unwrap().verify(of.vdi, |_| Ok(())));
            let fault = found.unwrap_err();
            assert!(fault.message.contains(says), "{case}: {fault}");
        }
    }
}
