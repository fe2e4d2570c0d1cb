//! The one container every encrypted object uses: packs, index segments, manifests, plans, leases.
//!
//! ```text
//! header   128 bytes  magic, kind, cipher, wrapped object key
//! frames   each ciphertext + 16 byte tag, nonce = its offset in the object
//! footer   one frame: a 44 byte record per frame (id, kind, codec, lengths)
//! trailer   32 bytes  length of the footer, number of frames, magic; authenticated with the footer
//! ```
//!
//! What always holds: the object key is fresh per object and wrapped with its header, the repository's id and
//! its kind as associated data, so no object passes for another kind or another repository's. Frames cannot
//! be moved, swapped, cut or added: their offsets are their nonces, and the footer lists them all. Readers
//! allocate nothing before a length is checked against the object's real size and the limits below.
//! `docs/backup-format.md` has the bytes.

mod frame;
mod header;
mod reader;
mod writer;

pub use frame::{Codec, FrameKind, FrameRecord, RECORD_LEN};
pub use header::{HEADER_LEN, Header, ObjectKind, Secrecy, rewrap};
pub use reader::{Footer, FrameOpener, Sealed, TRAILER_LEN, Trailer};
pub use writer::{ObjectBuilder, Sealer};

/// Largest plain size of a frame. Chunks are at most 256 KiB, index frames 384 KiB.
pub const MAX_FRAME: usize = 1 << 20;
/// Most frames in one object: bounds the footer to 2.75 MiB.
pub const MAX_FRAMES: usize = 1 << 16;
/// Largest object. A pack is closed before it would pass this.
pub const MAX_OBJECT: u64 = 64 << 20;
