//! Small reads of a source that is far away, gathered into blocks.
//!
//! A large read, such as a stretch of a copy or an area that changed, is asked for as it is: nothing beside it travels.
//! Small ones, of tables and scattered grains, are gathered into blocks that grow while the reading goes on behind the
//! block before, up to the engine's stretch of 2 MiB; as many blocks are kept as there may be workers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;

/// From this size on a read is its own request.
pub const LARGE: u64 = 64 * 1024;
const MOST: u64 = 2 * 1024 * 1024;
const KEPT: usize = 8;

/// Fills a buffer from an offset; all of it lies in the source.
pub type Fetch<'a> = dyn Fn(u64, &mut [u8]) -> Result<()> + 'a;

/// Bytes of the source, from `start` on.
struct Block {
    start: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The blocks of one source, the newest last.
#[derive(Default)]
pub struct Gathered(Mutex<VecDeque<Arc<Block>>>);

impl Gathered {
    /// Remembers what was read for another reason.
    pub fn keep(&self, start: u64, bytes: Vec<u8>) {
        self.insert(Block { start, bytes });
    }

    fn insert(&self, block: Block) -> Arc<Block> {
        let block = Arc::new(block);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&block));
        block
    }

    /// Fills `buf` from `offset` of a source of `len` bytes, which must hold it.
    pub fn read(&self, len: u64, (offset, buf): (u64, &mut [u8]), fetch: &Fetch<'_>) -> Result<()> {
        if buf.len() as u64 >= LARGE {
            return fetch(offset, buf);
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let block = self.block(len, at, fetch)?;
            let from = (at - block.start) as usize;
            let count = (block.bytes.len() - from).min(buf.len() - done);
            buf[done..done + count].copy_from_slice(&block.bytes[from..from + count]);
            done += count;
        }
        Ok(())
    }

    /// The block with the byte at `at`. Two readers of one place may ask for it twice; that costs less than waiting for
    /// each other.
    fn block(&self, len: u64, at: u64, fetch: &Fetch<'_>) -> Result<Arc<Block>> {
        let start = at - at % LARGE;
        let before = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(block) = kept.iter().find(|block| (block.start..block.end()).contains(&at)) {
                return Ok(Arc::clone(block));
            }
            kept.iter().find(|block| block.end() == start).map(|block| block.bytes.len() as u64)
        };
        let size = before.map_or(LARGE, |size| (size * 2).min(MOST)).min(len - start);
        let mut bytes = vec![0; size as usize];
        fetch(start, &mut bytes)?;
        Ok(self.insert(Block { start, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_reads_in_order_become_few_and_large_requests() {
        let source: Vec<u8> = (0..5 << 20).map(|at: usize| (at / 977) as u8).collect();
        let asked = Mutex::new(Vec::new());
        let fetch = |start: u64, buf: &mut [u8]| {
            buf.copy_from_slice(&source[start as usize..start as usize + buf.len()]);
            asked.lock().unwrap().push((start, buf.len()));
            Ok(())
        };
        let (gathered, mut at) = (Gathered::default(), 0);
        let mut buf = vec![0; 30_001];
        while at < source.len() {
            let count = 30_001.min(source.len() - at);
            gathered.read(source.len() as u64, (at as u64, &mut buf[..count]), &fetch).unwrap();
            assert!(buf[..count] == source[at..at + count], "at {at}");
            at += count;
        }
        let requests = asked.lock().unwrap().len();
        assert!(requests <= 8, "{requests} requests for 5 MiB");
        let mut large = vec![0; 100_000];
        gathered.read(source.len() as u64, (12_345, &mut large), &fetch).unwrap();
        assert_eq!(asked.lock().unwrap().last(), Some(&(12_345, 100_000)), "nothing beside it travels");
    }
}
