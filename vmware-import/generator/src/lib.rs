//! Makes VMware disks out of a raw image, in the formats and dialects that no free tool writes: what ESXi and
//! ovftool make (streamOptimized with tables at the end, `vmfsSparse`, `seSparse`), and sparse files with
//! shuffled tables. qemu-img makes the others.
//!
//! Used by tests and benches only. Written from the formats' descriptions and shares no code with the reader,
//! so that a mistake of one does not hide in the other; qemu-img reads most of the results as a third opinion.

mod cowd;
mod ova;
mod raw;
mod sesparse;
mod sparse;
mod stream;

pub use cowd::vmfs_sparse;
pub use ova::{ovf_text, tar};
pub use raw::{Content, RawImage, sample};
pub use sesparse::se_sparse;
pub use sparse::monolithic_sparse;
pub use stream::{StreamStyle, stream_optimized};

use std::path::Path;

pub const SECTOR: u64 = 512;

/// In which order grains lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    AsOnDisk,
    /// By a random permutation from this seed, as after years of random writes.
    Shuffled(u64),
}

/// What the descriptor says about the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRef {
    pub cid: u32,
    pub hint: String,
}

/// What is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub cid: u32,
    pub parent: Option<ParentRef>,
    pub order: Order,
}

impl Options {
    fn grains(&self, mut grains: Vec<u64>) -> Vec<u64> {
        if let Order::Shuffled(seed) = self.order {
            let mut random = Random(seed);
            for index in (1..grains.len()).rev() {
                grains.swap(index, (random.draw() % (index as u64 + 1)) as usize);
            }
        }
        grains
    }

    /// The text of a descriptor with one extent.
    fn descriptor(&self, create_type: &str, sectors: u64, extent: &str) -> String {
        let (parent, hint) = match &self.parent {
            Some(parent) => {
                (format!("{:08x}", parent.cid), format!("parentFileNameHint=\"{}\"\n", parent.hint))
            }
            None => ("ffffffff".to_owned(), String::new()),
        };
        format!(
            "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID={:08x}\nparentCID={parent}\n{hint}\
             createType=\"{create_type}\"\n\n# Extent description\nRW {sectors} {extent}\n\n\
             # The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"{}\"\n\
             ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\nddb.virtualHWVersion = \"13\"\n",
            self.cid,
            sectors / (255 * 63)
        )
    }
}

/// xorshift64*: the same content from the same seed, on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = if self.0 == 0 { 0x9e37_79b9_7f4a_7c15 } else { self.0 };
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
