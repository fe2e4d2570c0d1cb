//! What other chunk sizes would give on the corpus: the numbers behind `docs/adr/0010-chunk-sizes.md`.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use xenith_backup::chunk::rechunk::{self, PieceSink};
use xenith_backup::chunk::{Chunking, Cutter, LeafWindow, ReadAhead, leaf_count, zeros_of};
use xenith_backup::crypto::Secret32;
use xenith_backup::id::{ChunkId, IdKeys};
use xenith_common_block::{BlockSource, FileSource};

struct Count {
    keys: IdKeys,
    seen: HashSet<ChunkId>,
    zstd: [u64; 2],
    new: u64,
}

impl PieceSink for Count {
    fn data(&mut self, bytes: &[u8]) -> xenith_backup::Result<ChunkId> {
        let id = self.keys.chunk(bytes);
        if self.seen.insert(id) {
            self.new += 1;
            self.zstd[0] += bytes.len() as u64;
            // The format keeps what does not shrink as it is.
            let packed = xenith_backup::ingest::packed_len(bytes, 3);
            self.zstd[1] += packed as u64;
        }
        Ok(id)
    }
}

/// Prints a row per chunking: chunks, and stored MiB of each image after those before it.
pub fn print(images: &[(&str, &Path)]) -> Result<()> {
    let content = |min_blocks, max_blocks, one_in| Chunking::Content { min_blocks, max_blocks, one_in };
    let candidates = [
        ("16/32/128 KiB", content(4, 32, 5)),
        ("16/64/256 KiB", content(4, 64, 13)),
        ("16/64/128 KiB", content(4, 32, 16)),
        ("32/128/256 KiB", content(8, 64, 28)),
        ("fixed 64 KiB", Chunking::Fixed { blocks: 16 }),
        ("fixed 128 KiB", Chunking::FIXED),
        ("fixed 256 KiB", Chunking::Fixed { blocks: 64 }),
    ];
    let names: Vec<&str> = images.iter().map(|(name, _)| *name).collect();
    println!("| chunks | mean KiB | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (label, chunking) in candidates {
        let secret = Secret32::new([7; 32]);
        let cutter = Cutter::new(chunking, &secret);
        let mut count = Count { keys: IdKeys::new(&secret), seen: HashSet::new(), zstd: [0; 2], new: 0 };
        let mut stored = Vec::new();
        for (_, path) in images {
            let before = count.zstd[1];
            let source = FileSource::open(path)?;
            let mut buf = Vec::new();
            for number in 0..leaf_count(source.size()) {
                let zeros = zeros_of(&source, number)?;
                let mut window = LeafWindow::new(&source, number, zeros, ReadAhead::Blocks(256), buf);
                rechunk::chunk(&cutter, &mut window, &mut count)?;
                buf = window.into_buf();
            }
            stored.push(format!("{:.1}", (count.zstd[1] - before) as f64 / 1048576.0));
        }
        let mean = count.zstd[0] / count.new.max(1) / 1024;
        println!("| {label} | {mean} | {} |", stored.join(" | "));
    }
    Ok(())
}
