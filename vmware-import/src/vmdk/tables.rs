//! Reading grain directories and tables through a small shared cache.
//!
//! A chain asks the same table page once per run of its child; without the cache that is a system call
//! each. Pages are 16 KiB, the cache is direct-mapped and bounded (4 MiB for a whole chain), so that a file
//! with many extents cannot make it grow.

use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::{ByteSource, check};
use crate::error::Result;

const PAGE: u64 = 16 * 1024;
const SLOTS: usize = 256;

type Slot = Mutex<Option<(u32, u64, Arc<Vec<u8>>)>>;

/// Shared by all extents of a chain.
pub struct PageCache {
    slots: Vec<Slot>,
}

impl Default for PageCache {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::new(None)).collect() }
    }
}

/// One extent's view of the cache.
#[derive(Clone)]
pub struct Tables {
    pub bytes: Arc<dyn ByteSource>,
    id: u32,
    cache: Arc<PageCache>,
}

impl Tables {
    #[must_use]
    pub fn new(bytes: Arc<dyn ByteSource>, id: u32, cache: Arc<PageCache>) -> Self {
        Self { bytes, id, cache }
    }

    /// Fills `out` from `offset`.
    pub fn read(&self, field: &'static str, offset: u64, out: &mut [u8]) -> Result<()> {
        check(&*self.bytes, field, offset, out.len() as u64)?;
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let page = self.page(field, at / PAGE)?;
            let from = (at % PAGE) as usize;
            let len = (page.len() - from).min(out.len() - done);
            out[done..done + len].copy_from_slice(&page[from..from + len]);
            done += len;
        }
        Ok(())
    }

    fn page(&self, field: &'static str, number: u64) -> Result<Arc<Vec<u8>>> {
        let slot = (number.wrapping_mul(31).wrapping_add(u64::from(self.id) * 97)) as usize % SLOTS;
        let slot = &self.cache.slots[slot];
        if let Some((id, page, bytes)) = &*slot.lock().unwrap_or_else(PoisonError::into_inner)
            && (*id, *page) == (self.id, number)
        {
            return Ok(Arc::clone(bytes));
        }
        let start = number * PAGE;
        let mut bytes = vec![0; PAGE.min(self.bytes.len() - start) as usize];
        self.bytes.read_at(field, start, &mut bytes)?;
        let bytes = Arc::new(bytes);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.id, number, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
