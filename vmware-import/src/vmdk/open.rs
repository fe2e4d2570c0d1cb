//! From a name to an [`Image`]: what kind of file is it, which files belong to it, which disk is its parent.
//!
//! Everything found in a file is looked up in one [`Folder`] and nowhere else; a parent's name may be replaced
//! by the user, who may name any file. Depth and loops are limited: a chain is at most [`MAX_DEPTH`] deep and
//! never meets a file twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use xenith_common_block::ByteRange;

use super::Salvage;
use super::cowd::{self, CowdExtent, CowdHeader};
use super::descriptor::{Access, Descriptor, ExtentKind, ExtentLine, MAX_DESCRIPTOR};
use super::flat::FlatExtent;
use super::header;
use super::image::{Image, Layer, Part, Reader};
use super::sesparse::{self, SeSparseExtent};
use super::sparse::SparseExtent;
use super::tables::{PageCache, Tables, u64_at};
use crate::bytes::{ByteSource, Folder, read_vec};
use crate::error::{ImportError, Result};
use crate::target::{qcow2::Qcow2Extent, vhd::VhdExtent};

/// The vendor allows 32 snapshots; linked clones of linked clones reach a little further.
pub const MAX_DEPTH: usize = 64;

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Descriptor,
    Sparse,
    Cowd,
    SeSparse,
    Qcow2,
    Vhd,
    Tar,
    Gzip,
    Ovf,
    Unknown,
}

impl FileKind {
    /// Tells by up to the first 512 bytes.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        let starts = |magic: &[u8]| head.starts_with(magic);
        if starts(header::MAGIC) {
            Self::Sparse
        } else if starts(cowd::MAGIC) {
            Self::Cowd
        } else if head.len() >= 8 && u64_at(head, 0) == sesparse::MAGIC {
            Self::SeSparse
        } else if Descriptor::is_descriptor(head) {
            Self::Descriptor
        } else if starts(b"QFI\xfb") {
            Self::Qcow2
        } else if starts(b"conectix") {
            Self::Vhd
        } else if head.len() > 262 && &head[257..262] == b"ustar" {
            Self::Tar
        } else if starts(b"\x1f\x8b") {
            Self::Gzip
        } else if head.windows(9).any(|w| w == b"<Envelope") || head.windows(9).any(|w| w == b":Envelope") {
            Self::Ovf
        } else {
            Self::Unknown
        }
    }

    /// Reads the head of `bytes` and tells.
    pub fn detect(bytes: &dyn ByteSource) -> Result<Self> {
        let head = read_vec(bytes, "the first bytes", 0, bytes.len().min(512))?;
        Ok(Self::of(&head))
    }
}

/// Whether bytes that no format claims may be taken as a plain disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plain {
    /// Only when the name says so (`-flat.vmdk`, `.raw`, `.img`) or it is a block device.
    #[default]
    ByName,
    Yes,
}

/// A file and the folder where the names in it are looked up.
pub type Located = (Arc<dyn ByteSource>, Arc<dyn Folder>);

/// How a disk is opened.
#[derive(Default)]
pub struct OpenOptions {
    pub plain: Plain,
    pub salvage: Salvage,
    /// The parent the user named, with the folder it lies in: used for the first parent of the chain.
    pub parent: Option<Located>,
}

struct Opener {
    cache: Arc<PageCache>,
    extents: Vec<Reader>,
    layers: Vec<Layer>,
    seen: HashSet<String>,
    /// Which parts of which files are extents already.
    taken: HashMap<String, Vec<ByteRange>>,
    salvage: Salvage,
}

/// Opens `bytes`, whose neighbours are in `folder`.
pub fn open_image(
    bytes: Arc<dyn ByteSource>,
    folder: Arc<dyn Folder>,
    options: OpenOptions,
) -> Result<Image> {
    let mut opener = Opener {
        cache: Arc::default(),
        extents: Vec::new(),
        layers: Vec::new(),
        seen: HashSet::new(),
        taken: HashMap::new(),
        salvage: options.salvage,
    };
    let format = match FileKind::detect(&*bytes)? {
        FileKind::Qcow2 => "qcow2",
        FileKind::Vhd => "vhd",
        FileKind::Unknown => "raw",
        _ => "vmdk",
    };
    let mut next = Some((bytes, folder));
    let mut named_parent = options.parent;
    while let Some((bytes, folder)) = next {
        let name = bytes.name().to_owned();
        if opener.layers.len() == MAX_DEPTH {
            let detail = format!("is deeper than {MAX_DEPTH} disks");
            return Err(ImportError::damaged(&name, 0, "snapshot chain", detail));
        }
        if !opener.seen.insert(bytes.identity()) {
            return Err(ImportError::damaged(
                &name,
                0,
                "snapshot chain",
                "comes back to a file it had before",
            ));
        }
        let layer = opener.layer(bytes, &*folder, options.plain)?;
        check_parent(opener.layers.last(), &layer)?;
        next = parent_of(&layer, folder, named_parent.take())?;
        opener.layers.push(layer);
    }
    Ok(Image::new(opener.layers, opener.extents, format))
}

fn parent_of(layer: &Layer, folder: Arc<dyn Folder>, named: Option<Located>) -> Result<Option<Located>> {
    let Some(descriptor) = layer.descriptor.as_ref().filter(|d| d.parent_cid.is_some()) else {
        return match named {
            None => Ok(None),
            Some(_) => Err(ImportError::Usage(format!("{} is not a snapshot and has no parent", layer.name))),
        };
    };
    if named.is_some() {
        return Ok(named);
    }
    let Some(hint) = descriptor.parent_hint.as_deref().filter(|hint| !hint.is_empty()) else {
        let detail = "has a parent's content id but not its name; give it with --parent";
        return Err(ImportError::damaged(&layer.name, 0, "parentFileNameHint", detail));
    };
    let parent = folder.open(&layer.name, "parentFileNameHint", hint)?;
    Ok(Some((parent, folder)))
}

fn check_parent(child: Option<&Layer>, parent: &Layer) -> Result<()> {
    let Some(child) = child else { return Ok(()) };
    let expected = child.descriptor.as_ref().and_then(|d| d.parent_cid);
    if expected != parent.cid() {
        let word =
            |cid: Option<_>| cid.map_or_else(|| "none".to_owned(), |c: super::ContentId| c.to_string());
        return Err(ImportError::ParentMismatch {
            child: child.name.clone(),
            parent: parent.name.clone(),
            expected: word(expected),
            found: word(parent.cid()),
        });
    }
    if parent.size() != child.size() {
        let detail = format!("is {} bytes, its child's {} bytes", parent.size(), child.size());
        return Err(ImportError::damaged(&parent.name, 0, "size", detail));
    }
    Ok(())
}

impl Opener {
    fn layer(&mut self, bytes: Arc<dyn ByteSource>, folder: &dyn Folder, plain: Plain) -> Result<Layer> {
        let name = bytes.name().to_owned();
        match FileKind::detect(&*bytes)? {
            FileKind::Descriptor => {
                let text = read_vec(&*bytes, "descriptor", 0, bytes.len().min(MAX_DESCRIPTOR + 1))?;
                let descriptor = Descriptor::parse(&name, 0, &text)?;
                self.described(&name, descriptor, folder)
            }
            FileKind::Sparse => self.monolithic(bytes, folder),
            FileKind::Cowd => self.bare_cowd(bytes),
            FileKind::SeSparse => Err(ImportError::unsupported(
                &name,
                "a seSparse extent on its own",
                "give the small descriptor file that names it",
            )),
            FileKind::Qcow2 => {
                let tables = self.tables(bytes);
                let extent = Qcow2Extent::open(tables, self.index())?;
                let size = extent.size();
                Ok(self.single(&name, Reader::Qcow2(extent), size, None))
            }
            FileKind::Vhd => self.vhd(bytes),
            FileKind::Tar | FileKind::Gzip | FileKind::Ovf => Err(ImportError::unsupported(
                &name,
                "an archive or OVF in the place of a disk",
                "give it as the source itself",
            )),
            FileKind::Unknown => self.plain(bytes, plain),
        }
    }

    fn vhd(&mut self, bytes: Arc<dyn ByteSource>) -> Result<Layer> {
        let name = bytes.name().to_owned();
        let extent = VhdExtent::open(self.tables(bytes), self.index())?;
        let size = extent.size();
        Ok(self.single(&name, Reader::Vhd(extent), size, None))
    }

    fn plain(&mut self, bytes: Arc<dyn ByteSource>, plain: Plain) -> Result<Layer> {
        let name = bytes.name().to_owned();
        let lower = name.to_ascii_lowercase();
        let says_so = ["-flat.vmdk", ".raw", ".img", ".bin", ".iso"].iter().any(|end| lower.ends_with(end));
        if plain == Plain::ByName && !says_so && !lower.starts_with("/dev/") {
            return Err(ImportError::unsupported(
                &name,
                "a file that is no VMDK, qcow2, VHD, OVF or OVA",
                "if it is a plain disk image, say that it is raw (--raw; xenith-import: --from raw)",
            ));
        }
        let len = bytes.len();
        if len == 0 || !len.is_multiple_of(512) {
            let detail = format!("is {len} bytes, not a whole number of sectors");
            return Err(ImportError::damaged(&name, 0, "size of a plain disk", detail));
        }
        let flat = FlatExtent::open(bytes, 0, len, self.index())?;
        Ok(self.single(&name, Reader::Flat(flat), len, None))
    }

    fn bare_cowd(&mut self, bytes: Arc<dyn ByteSource>) -> Result<Layer> {
        let name = bytes.name().to_owned();
        let head = read_vec(&*bytes, "COWD header", 0, 2048)?;
        if !CowdHeader::parse(&name, &head)?.is_root {
            return Err(ImportError::unsupported(
                &name,
                "a snapshot extent on its own",
                "give the small descriptor file that names it, so that its parent is found",
            ));
        }
        let extent = CowdExtent::open(self.tables(bytes), self.index(), self.salvage)?;
        let size = extent.header.capacity;
        Ok(self.single(&name, Reader::Cowd(extent), size, None))
    }

    /// A sparse file with its descriptor inside.
    fn monolithic(&mut self, bytes: Arc<dyn ByteSource>, folder: &dyn Folder) -> Result<Layer> {
        let name = bytes.name().to_owned();
        let head = SparseExtent::read_header(&*bytes)?;
        let Some((at, len)) = head.descriptor else {
            return Err(ImportError::unsupported(
                &name,
                "one extent of a split disk",
                "give the small descriptor file that names all of them",
            ));
        };
        let text = read_vec(&*bytes, "embedded descriptor", at, len)?;
        let descriptor = Descriptor::parse(&name, at, &text)?;
        if descriptor.extents.len() > 1 {
            // A custom disk whose first extent carries the descriptor.
            return self.described(&name, descriptor, folder);
        }
        let line = &descriptor.extents[0];
        if line.kind != ExtentKind::Sparse {
            let detail = "is of another type than the file it lies in";
            return Err(ImportError::damaged(&name, at, "extent", detail));
        }
        let (stated, capacity) = (line.len, head.capacity);
        // Streams made before the size was known state a smaller sum; the header decides what is there.
        if stated > capacity {
            let detail = format!("states {stated} bytes, the header {capacity}");
            return Err(ImportError::damaged(&name, at, "extent size", detail));
        }
        let extent = SparseExtent::open(self.tables(bytes), head, self.index(), self.salvage)?;
        Ok(self.single(&name, Reader::Sparse(extent), capacity, Some(descriptor)))
    }

    fn described(&mut self, name: &str, descriptor: Descriptor, folder: &dyn Folder) -> Result<Layer> {
        let mut parts = Vec::with_capacity(descriptor.extents.len());
        let mut at = 0;
        for line in &descriptor.extents {
            let range = ByteRange::with_len(at, line.len);
            let extent = match line.kind {
                ExtentKind::Zero => None,
                _ => {
                    let reader = self.extent(name, line, folder)?;
                    self.extents.push(reader);
                    Some(self.extents.len() as u32 - 1)
                }
            };
            parts.push(Part { range, extent });
            at = range.end;
        }
        Ok(Layer { name: name.to_owned(), parts, descriptor: Some(descriptor) })
    }

    fn extent(&mut self, name: &str, line: &ExtentLine, folder: &dyn Folder) -> Result<Reader> {
        if line.access == Access::NoAccess {
            return Err(ImportError::unsupported(
                name,
                format!("the extent {:?}, marked NOACCESS", line.name),
                "the disk was made without the bytes of this part",
            ));
        }
        if line.kind == ExtentKind::Rdm {
            return Err(ImportError::unsupported(
                name,
                "a raw device mapping",
                "its data is on a LUN: attach the LUN to the new host, or copy it from inside the guest",
            ));
        }
        let bytes = folder.open(name, "extent", &line.name)?;
        self.take(name, &*bytes, line)?;
        let index = self.index();
        let reader = match line.kind {
            ExtentKind::Flat | ExtentKind::Vmfs => {
                Reader::Flat(FlatExtent::open(bytes, line.offset, line.len, index)?)
            }
            ExtentKind::Sparse => {
                let head = SparseExtent::read_header(&*bytes)?;
                Reader::Sparse(SparseExtent::open(self.tables(bytes), head, index, self.salvage)?)
            }
            ExtentKind::VmfsSparse => {
                Reader::Cowd(CowdExtent::open(self.tables(bytes), index, self.salvage)?)
            }
            ExtentKind::SeSparse => {
                Reader::SeSparse(SeSparseExtent::open(self.tables(bytes), index, self.salvage)?)
            }
            ExtentKind::Zero | ExtentKind::Rdm => unreachable_kind(name)?,
        };
        check_capacity(name, &reader, line.len)?;
        Ok(reader)
    }

    /// One file may hold several extents, but no byte of it may be in two: a few lines could otherwise
    /// make petabytes of a small file.
    fn take(&mut self, name: &str, bytes: &dyn ByteSource, line: &ExtentLine) -> Result<()> {
        let range = match line.kind {
            ExtentKind::Flat | ExtentKind::Vmfs => ByteRange::with_len(line.offset, line.len),
            _ => ByteRange::new(0, bytes.len()),
        };
        let taken = self.taken.entry(bytes.identity()).or_default();
        if taken.iter().any(|other| other.intersect(&range).is_some()) {
            let detail = format!("uses {:?} for two stretches of the disk", line.name);
            return Err(ImportError::damaged(name, 0, "extent", detail));
        }
        taken.push(range);
        Ok(())
    }

    fn tables(&self, bytes: Arc<dyn ByteSource>) -> Tables {
        Tables::new(bytes, self.index(), Arc::clone(&self.cache))
    }

    fn index(&self) -> u32 {
        self.extents.len() as u32
    }

    fn single(&mut self, name: &str, reader: Reader, size: u64, descriptor: Option<Descriptor>) -> Layer {
        self.extents.push(reader);
        let extent = Some(self.extents.len() as u32 - 1);
        let parts = vec![Part { range: ByteRange::new(0, size), extent }];
        Layer { name: name.to_owned(), parts, descriptor }
    }
}

fn unreachable_kind(name: &str) -> Result<Reader> {
    Err(ImportError::damaged(name, 0, "extent", "has no file"))
}

/// The extent's own header has to hold what the descriptor promises of it.
fn check_capacity(name: &str, reader: &Reader, stated: u64) -> Result<()> {
    let own = match reader {
        Reader::Sparse(extent) => extent.header.capacity,
        Reader::Cowd(extent) => extent.header.capacity,
        Reader::SeSparse(extent) => extent.header.capacity,
        Reader::Flat(_) | Reader::Qcow2(_) | Reader::Vhd(_) => return Ok(()),
    };
    if own < stated {
        let detail = format!("states {stated} bytes, the extent's own header {own}");
        return Err(ImportError::damaged(name, 0, "extent size", detail));
    }
    Ok(())
}
