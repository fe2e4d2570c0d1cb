//! Files made by somebody who wants something: each is decided in a second and 64 MiB, with a message that names
//! the field, the exit code of its class, and no target left behind.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xenith_vmware_import_generator::{self as generate, Options, ParentRef, RawImage, StreamStyle};

const SIZE: u64 = 4 << 20;
const DAMAGED: i32 = 3;
const CUT: i32 = 4;
const UNSUPPORTED: i32 = 5;

/// The folder of one case: `d.vmdk` is the source, `raw` what it was made from.
struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn disk(&self) -> PathBuf {
        self.path("d.vmdk")
    }

    fn put(&self, name: &str, at: u64, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(self.path(name)).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    fn put32(&self, name: &str, at: u64, value: u32) {
        self.put(name, at, &value.to_le_bytes());
    }

    fn put64(&self, name: &str, at: u64, value: u64) {
        self.put(name, at, &value.to_le_bytes());
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn get64(&self, name: &str, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(name)[at..at + 8].try_into().unwrap())
    }

    fn get32(&self, name: &str, at: u64) -> u32 {
        let at = at as usize;
        u32::from_le_bytes(self.bytes(name)[at..at + 4].try_into().unwrap())
    }

    fn cut(&self, name: &str, len: u64) {
        fs::OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(len).unwrap();
    }

    fn len(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).unwrap().len()
    }

    /// Replaces text of the descriptor, in a sparse file without moving anything behind it.
    fn edit(&self, from: &str, to: &str) {
        let bytes = self.bytes("d.vmdk");
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("the text is there");
        if bytes.starts_with(b"KDMV") {
            assert!(to.len() <= from.len());
            self.put("d.vmdk", at as u64, format!("{to:<width$}", width = from.len()).as_bytes());
            return;
        }
        let mut new = bytes[..at].to_vec();
        new.extend_from_slice(to.as_bytes());
        new.extend_from_slice(&bytes[at + from.len()..]);
        fs::write(self.disk(), new).unwrap();
    }

    /// A descriptor with these extent lines and header lines.
    fn describe(&self, name: &str, header: &str, extents: &str) {
        let text = format!("# Disk DescriptorFile\nversion=1\n{header}\ncreateType=\"custom\"\n{extents}\n");
        fs::write(self.path(name), text).unwrap();
    }

    /// Byte offset of the first grain table entry that is in use, by the directory at header offset 56.
    fn first_gte(&self) -> u64 {
        let gd = self.get64("d.vmdk", 56) * 512;
        let table = u64::from(self.get32("d.vmdk", gd)) * 512;
        (0..512).map(|i| table + i * 4).find(|&at| self.get32("d.vmdk", at) > 1).unwrap()
    }

    fn sparse(&self, options: &Options) {
        generate::monolithic_sparse(&self.disk(), &self.raw(), options).unwrap();
    }

    fn raw(&self) -> RawImage {
        RawImage::open(&self.path("raw")).unwrap()
    }

    /// Offset of the first grain marker of a stream.
    fn first_grain(&self) -> u64 {
        128 * 512
    }

    fn second_grain(&self) -> u64 {
        let first = self.first_grain();
        first + (12 + u64::from(self.get32("d.vmdk", first + 8))).next_multiple_of(512)
    }

    /// Repeats the first grain behind itself.
    fn repeat_first_grain(&self) {
        let (first, second) = (self.first_grain() as usize, self.second_grain() as usize);
        let bytes = self.bytes("d.vmdk");
        let mut new = bytes[..second].to_vec();
        new.extend_from_slice(&bytes[first..second]);
        new.extend_from_slice(&bytes[second..]);
        fs::write(self.disk(), new).unwrap();
    }

    /// Gives the first grain other contents.
    fn replace_first_grain(&self, contents: &[u8]) {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
        let mut packed = vec![0; compressor.zlib_compress_bound(contents.len())];
        let size = compressor.zlib_compress(contents, &mut packed).unwrap();
        let first = self.first_grain();
        assert!(12 + size as u64 <= self.second_grain() - first, "the new grain has to fit");
        self.put32("d.vmdk", first + 8, size as u32);
        self.put("d.vmdk", first + 12, &packed[..size]);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Sparse,
    /// A stream as a file with tables.
    Stream,
    /// The same through standard input.
    Pipe,
    Cowd,
    SeSparse,
    /// A descriptor that names `raw`.
    Flat,
    Qcow2,
    Vhd,
}

type Case = (&'static str, Base, fn(&Scratch), i32, &'static str);

const D: &str = "d.vmdk";
const COWD: &str = "d-delta.vmdk";
const SE: &str = "d-sesparse.vmdk";

const HEADER: &[Case] = &[
    ("no magic", Base::Sparse, |s| s.put(D, 0, b"KDMX"), UNSUPPORTED, "is no VMDK"),
    ("version 0", Base::Sparse, |s| s.put32(D, 4, 0), DAMAGED, "version is 0"),
    ("version 4", Base::Sparse, |s| s.put32(D, 4, 4), DAMAGED, "version is 4"),
    ("line ends translated", Base::Sparse, |s| s.put(D, 73, b"\r\n\r\n"), DAMAGED, "binary mode"),
    ("capacity 0", Base::Sparse, |s| s.put64(D, 12, 0), DAMAGED, "capacity"),
    ("capacity overflows", Base::Sparse, |s| s.put64(D, 12, 1 << 55), DAMAGED, "capacity"),
    ("capacity all ones", Base::Sparse, |s| s.put64(D, 12, u64::MAX), DAMAGED, "capacity"),
    ("capacity of 64 TiB", Base::Sparse, |s| s.put64(D, 12, 1 << 37), CUT, "grain directory"),
    ("grain 0", Base::Sparse, |s| s.put64(D, 20, 0), DAMAGED, "grain size"),
    ("grain 3", Base::Sparse, |s| s.put64(D, 20, 3), DAMAGED, "grain size"),
    ("grain of 2 MiB", Base::Sparse, |s| s.put64(D, 20, 4096), DAMAGED, "grain size"),
    ("grain all ones", Base::Sparse, |s| s.put64(D, 20, u64::MAX), DAMAGED, "grain size"),
    ("table of 0 entries", Base::Sparse, |s| s.put32(D, 44, 0), DAMAGED, "entries per grain table"),
    ("table of 2^32 entries", Base::Sparse, |s| s.put32(D, 44, u32::MAX), DAMAGED, "entries per grain table"),
    ("descriptor of 512 GiB", Base::Sparse, |s| s.put64(D, 36, 1 << 30), DAMAGED, "descriptor size"),
    ("descriptor past the end", Base::Sparse, |s| s.put64(D, 28, 1 << 40), CUT, "descriptor"),
    ("descriptor offset overflows", Base::Sparse, |s| s.put64(D, 28, 1 << 60), DAMAGED, "descriptor offset"),
    ("descriptor empty", Base::Sparse, |s| s.put(D, 512, &[0; 512]), DAMAGED, "Disk DescriptorFile"),
    ("descriptor of another type", Base::Sparse, |s| s.edit("SPARSE", "FLAT"), DAMAGED, "another type"),
    ("unknown compression", Base::Stream, |s| s.put(D, 77, &[9, 0]), DAMAGED, "compression"),
    ("header cut", Base::Sparse, |s| s.cut(D, 300), CUT, "header"),
    ("empty file", Base::Sparse, |s| s.cut(D, 0), UNSUPPORTED, "no VMDK"),
];

const TABLES: &[Case] = &[
    ("directory past the end", Base::Sparse, |s| both_gds(s, 1 << 40), CUT, "grain directory"),
    ("directory at 0", Base::Sparse, |s| both_gds(s, 0), DAMAGED, "grain directory"),
    ("directory overflows", Base::Sparse, |s| both_gds(s, u64::MAX - 1), DAMAGED, "grain directory offset"),
    ("directory entry past the end", Base::Sparse, |s| gdes(s, 0x00ff_ffff), CUT, "grain table"),
    ("directory entry into the header", Base::Sparse, |s| gdes(s, 1), DAMAGED, "grain directory entry"),
    ("entry past the end", Base::Sparse, |s| gte(s, 0x7fff_ffff), DAMAGED, "table entry"),
    ("entry just past the end", Base::Sparse, |s| gte(s, (s.len(D) / 512) as u32), CUT, "table entry"),
    ("entry into the header", Base::Sparse, |s| gte(s, 2), DAMAGED, "table entry"),
    ("entry 1 without the zero flag", Base::Sparse, |s| gte(s, 1), DAMAGED, "table entry"),
    ("entry onto the directory", Base::Sparse, |s| gte(s, s.get64(D, 56) as u32), DAMAGED, "table entry"),
    ("one grain twice", Base::Sparse, |s| repeat_gte(s, 2), DAMAGED, "twice"),
    ("one grain everywhere", Base::Sparse, |s| repeat_gte(s, 64), DAMAGED, "twice"),
    ("file cut in its grains", Base::Sparse, |s| s.cut(D, s.len(D) / 2), CUT, "table entry"),
    ("file cut in its tables", Base::Sparse, |s| s.cut(D, s.get64(D, 56) * 512 + 4), DAMAGED, "table entry"),
];

fn both_gds(s: &Scratch, sector: u64) {
    s.put64(D, 48, sector);
    s.put64(D, 56, sector);
}

fn gdes(s: &Scratch, sector: u32) {
    for header_field in [48, 56] {
        let gd = s.get64(D, header_field) * 512;
        s.put32(D, gd, sector);
    }
}

fn gte(s: &Scratch, sector: u32) {
    let at = s.first_gte();
    s.put32(D, at, sector);
}

fn repeat_gte(s: &Scratch, times: u64) {
    let gd = s.get64(D, 56) * 512;
    let table = u64::from(s.get32(D, gd)) * 512;
    let sector = s.get32(D, s.first_gte());
    for index in 0..times {
        s.put32(D, table + index * 4, sector);
    }
}

const STREAM: &[Case] = &[
    (
        "footer of another capacity",
        Base::Stream,
        |s| s.put64(D, s.len(D) - 1024 + 12, 8),
        DAMAGED,
        "capacity",
    ),
    (
        "footer points to itself",
        Base::Stream,
        |s| s.put64(D, s.len(D) - 1024 + 56, u64::MAX),
        DAMAGED,
        "itself",
    ),
    ("cut before the footer", Base::Stream, |s| s.cut(D, s.len(D) - 4096), CUT, "end"),
    ("cut in half", Base::Stream, |s| s.cut(D, s.len(D) / 2 / 512 * 512), CUT, ""),
    ("grain of another place", Base::Stream, |s| s.put64(D, s.first_grain(), 128 * 60), DAMAGED, "grain LBA"),
    ("compressed size 0 in a table", Base::Stream, |s| s.put32(D, s.first_grain() + 8, 0), DAMAGED, "size"),
    ("compressed size 4 GiB", Base::Stream, |s| s.put32(D, s.first_grain() + 8, u32::MAX), DAMAGED, "size"),
    ("deflate damaged", Base::Stream, |s| s.put(D, s.first_grain() + 40, &[0xff; 99]), DAMAGED, "zlib"),
    ("zip bomb", Base::Stream, |s| s.replace_first_grain(&vec![0; 8 << 20]), DAMAGED, "more than 65536"),
    ("grain too short", Base::Stream, |s| s.replace_first_grain(&[7; 4096]), DAMAGED, "4096 bytes instead"),
    ("no end marker", Base::Pipe, |s| s.cut(D, s.len(D) - 512), CUT, "end-of-stream"),
    ("cut in a grain", Base::Pipe, |s| s.cut(D, s.first_grain() + 700), CUT, "grain"),
    ("cut in a marker", Base::Pipe, |s| s.cut(D, s.second_grain() + 5), CUT, "marker"),
    ("cut in front", Base::Pipe, |s| s.cut(D, 4000), CUT, "before the grains"),
    ("grain twice", Base::Pipe, Scratch::repeat_first_grain, DAMAGED, "second time"),
    ("LBA past the end", Base::Pipe, |s| s.put64(D, s.first_grain(), 1 << 30), DAMAGED, "grain LBA"),
    ("LBA overflows", Base::Pipe, |s| s.put64(D, s.first_grain(), u64::MAX), DAMAGED, "grain LBA"),
    ("LBA between grains", Base::Pipe, |s| s.put64(D, s.first_grain(), 5), DAMAGED, "grain boundary"),
    ("size beyond any grain", Base::Pipe, |s| s.put32(D, s.first_grain() + 8, 1 << 30), DAMAGED, "size"),
    ("unknown marker", Base::Pipe, |s| marker(s, 1, 77), DAMAGED, "marker type"),
    ("marker covers all", Base::Pipe, |s| marker(s, u64::MAX, 2), DAMAGED, "metadata marker"),
    ("zip bomb in a pipe", Base::Pipe, |s| s.replace_first_grain(&vec![0; 8 << 20]), DAMAGED, "more than"),
    ("deflate damaged in a pipe", Base::Pipe, |s| s.put(D, s.first_grain() + 40, &[0; 99]), DAMAGED, "zlib"),
    ("overhead past the end", Base::Pipe, |s| s.put64(D, 64, 1 << 50), CUT, "before the grains"),
    ("not a stream", Base::Pipe, |s| s.sparse(&Options::default()), UNSUPPORTED, "save it to a file"),
    (
        "a snapshot in a pipe",
        Base::Pipe,
        |s| s.edit("parentCID=ffffffff", "parentCID=00000001"),
        5,
        "snapshot",
    ),
];

fn marker(s: &Scratch, sectors: u64, kind: u32) {
    let at = s.first_grain();
    s.put64(D, at, sectors);
    s.put32(D, at + 8, 0);
    s.put32(D, at + 12, kind);
}

const ESX: &[Case] = &[
    ("COWD version 2", Base::Cowd, |s| s.put32(COWD, 4, 2), DAMAGED, "version"),
    ("COWD capacity 0", Base::Cowd, |s| s.put32(COWD, 12, 0), DAMAGED, "capacity"),
    ("COWD grain 0", Base::Cowd, |s| s.put32(COWD, 16, 0), DAMAGED, "grain size"),
    ("COWD grain 3", Base::Cowd, |s| s.put32(COWD, 16, 3), DAMAGED, "grain size"),
    ("COWD directory too small", Base::Cowd, |s| s.put32(COWD, 24, 1), DAMAGED, "grain directory entries"),
    ("COWD directory in the header", Base::Cowd, |s| s.put32(COWD, 20, 1), DAMAGED, "grain directory offset"),
    ("COWD directory past the end", Base::Cowd, |s| s.put32(COWD, 20, u32::MAX), CUT, "grain directory"),
    ("COWD table past the end", Base::Cowd, |s| s.put32(COWD, 2048, u32::MAX), CUT, "grain table"),
    ("COWD table in the header", Base::Cowd, |s| s.put32(COWD, 2048, 1), DAMAGED, "grain directory entry"),
    (
        "COWD tables overlap",
        Base::Cowd,
        |s| s.put32(COWD, 2052, s.get32(COWD, 2048) + 1),
        DAMAGED,
        "overlapping",
    ),
    ("COWD entry past the end", Base::Cowd, |s| cowd_entry(s, u32::MAX), DAMAGED, "table entry"),
    ("COWD entry in the header", Base::Cowd, |s| cowd_entry(s, 2), DAMAGED, "table entry"),
    ("COWD cut", Base::Cowd, |s| s.cut(COWD, s.len(COWD) - 512), CUT, "table entry"),
    ("COWD smaller than stated", Base::Cowd, |s| s.put32(COWD, 12, 4096), DAMAGED, "extent size"),
    ("seSparse version", Base::SeSparse, |s| s.put64(SE, 8, 1), DAMAGED, "version"),
    ("seSparse capacity 0", Base::SeSparse, |s| s.put64(SE, 16, 0), DAMAGED, "capacity"),
    ("seSparse capacity overflows", Base::SeSparse, |s| s.put64(SE, 16, u64::MAX), DAMAGED, "capacity"),
    ("seSparse grain", Base::SeSparse, |s| s.put64(SE, 24, 16), DAMAGED, "grain size"),
    ("seSparse table size", Base::SeSparse, |s| s.put64(SE, 32, 1 << 40), DAMAGED, "grain table size"),
    ("seSparse flags", Base::SeSparse, |s| s.put64(SE, 40, 1), DAMAGED, "flags"),
    ("seSparse volatile magic", Base::SeSparse, |s| s.put64(SE, 512, 7), DAMAGED, "volatile header"),
    ("seSparse journal open", Base::SeSparse, |s| s.put64(SE, 512 + 24, 1), UNSUPPORTED, "journal"),
    ("seSparse directory small", Base::SeSparse, |s| s.put64(SE, 17 * 8, 0), DAMAGED, "grain directory"),
    ("seSparse directory outside", Base::SeSparse, |s| s.put64(SE, 16 * 8, 1 << 40), CUT, "grain directory"),
    (
        "seSparse directory overflows",
        Base::SeSparse,
        |s| s.put64(SE, 128, 1 << 62),
        DAMAGED,
        "grain directory",
    ),
    ("seSparse directory kind", Base::SeSparse, |s| s.put64(SE, 8 * 512, 0x2000_0000 << 32), DAMAGED, "kind"),
    (
        "seSparse table index",
        Base::SeSparse,
        |s| s.put64(SE, 8 * 512, 0x1000_0000 << 32 | 9),
        DAMAGED,
        "area",
    ),
    ("seSparse entry kind", Base::SeSparse, |s| se_entry(s, 7 << 60), DAMAGED, "table entry"),
    (
        "seSparse entry outside",
        Base::SeSparse,
        |s| se_entry(s, 3 << 60 | 0xffff_ffff),
        DAMAGED,
        "table entry",
    ),
    ("seSparse grain twice", Base::SeSparse, |s| se_entry(s, 3 << 60 | 1 << 48), DAMAGED, "twice"),
    ("seSparse cut", Base::SeSparse, |s| s.cut(SE, s.len(SE) - 4096), CUT, "table entry"),
];

fn cowd_entry(s: &Scratch, sector: u32) {
    let table = u64::from(s.get32(COWD, 2048)) * 512;
    let at = (0..4096).map(|i| table + i * 4).find(|&at| s.get32(COWD, at) > 1).unwrap();
    s.put32(COWD, at, sector);
}

fn se_entry(s: &Scratch, value: u64) {
    let table = s.get64(SE, 18 * 8) * 512;
    let bytes = s.bytes(SE);
    let at = |i: u64| (table + i * 8) as usize;
    let index = (0..4096).find(|&i| bytes[at(i) + 7] >> 4 == 3).unwrap();
    s.put64(SE, table + index * 8, value);
}

const TEXT: &[Case] = &[
    ("absolute path", Base::Flat, |s| s.edit("\"raw\"", "\"/etc/passwd\""), DAMAGED, "not a plain file"),
    ("parent folder", Base::Flat, |s| s.edit("\"raw\"", "\"../raw\""), DAMAGED, "not a plain file"),
    (
        "hidden parent folder",
        Base::Flat,
        |s| s.edit("\"raw\"", "\"x/../../raw\""),
        DAMAGED,
        "not a plain file",
    ),
    ("backslashes", Base::Flat, |s| s.edit("\"raw\"", "\"..\\raw\""), DAMAGED, "not a plain file"),
    ("a device", Base::Flat, |s| s.edit("\"raw\"", "\"/dev/zero\""), DAMAGED, "not a plain file"),
    ("dot", Base::Flat, |s| s.edit("\"raw\"", "\".\""), DAMAGED, "not a plain file"),
    (
        "a very long name",
        Base::Flat,
        |s| s.edit("\"raw\"", &format!("\"{}\"", "a".repeat(999))),
        DAMAGED,
        "plain",
    ),
    ("a symbolic link", Base::Flat, link_to_passwd, 1, "cannot open"),
    ("a FIFO", Base::Flat, fifo, UNSUPPORTED, "not a regular file"),
    ("a folder", Base::Flat, |s| folder(s), UNSUPPORTED, "not a regular file"),
    ("extent missing", Base::Flat, |s| s.edit("\"raw\"", "\"other\""), CUT, "not beside it"),
    ("flat shorter than stated", Base::Flat, |s| s.cut("raw", SIZE / 2), CUT, "flat extent"),
    ("flat offset past the end", Base::Flat, |s| s.edit("\"raw\" 0", "\"raw\" 99999999"), CUT, "flat extent"),
    ("negative size", Base::Flat, |s| s.edit("RW 8192", "RW -1"), DAMAGED, "extent size"),
    ("size overflows", Base::Flat, |s| s.edit("RW 8192", "RW 36028797018963968"), DAMAGED, "extent size"),
    (
        "size too long to be a number",
        Base::Flat,
        |s| s.edit("RW 8192", "RW 99999999999999999999"),
        3,
        "number",
    ),
    ("size 0", Base::Flat, |s| s.edit("RW 8192", "RW 0"), DAMAGED, "extent size is zero"),
    (
        "sum overflows",
        Base::Flat,
        |s| s.describe(D, "CID=1", &"RW 274877906944 ZERO\n".repeat(4)),
        3,
        "sum to",
    ),
    ("5000 extents", Base::Flat, |s| s.describe(D, "CID=1", &"RW 1 ZERO\n".repeat(5000)), DAMAGED, "4096"),
    ("no extents", Base::Flat, |s| s.describe(D, "CID=1", ""), DAMAGED, "names no extent"),
    ("unknown type", Base::Flat, |s| s.edit("FLAT", "NBD"), DAMAGED, "type that is not known"),
    ("quote not closed", Base::Flat, |s| s.edit("\"raw\" 0", "\"raw"), DAMAGED, "closing quote"),
    ("name not quoted", Base::Flat, |s| s.edit("\"raw\" 0", "raw"), DAMAGED, "quoted name"),
    ("raw device mapping", Base::Flat, |s| s.edit("FLAT", "VMFSRDM"), UNSUPPORTED, "raw device mapping"),
    ("no access", Base::Flat, |s| s.edit("RW 8192", "NOACCESS 8192"), UNSUPPORTED, "NOACCESS"),
    ("descriptor of 2 MiB", Base::Flat, |s| s.describe(D, &"#\n".repeat(1 << 20), ""), DAMAGED, "1 MiB"),
    ("content id is no number", Base::Flat, |s| s.edit("CID=1", "CID=xyz"), DAMAGED, "CID"),
    ("two content ids", Base::Flat, |s| s.edit("CID=1", "CID=1\nCID=2"), DAMAGED, "given twice"),
    ("one file for two stretches", Base::Flat, |s| twice(s), DAMAGED, "two stretches"),
    (
        "the descriptor as its own extent",
        Base::Flat,
        |s| s.edit("FLAT \"raw\" 0", "SPARSE \"d.vmdk\""),
        4,
        "header",
    ),
];

fn link_to_passwd(s: &Scratch) {
    symlink("/etc/passwd", s.path("link")).unwrap();
    s.edit("\"raw\"", "\"link\"");
}

fn fifo(s: &Scratch) {
    let made = Command::new("mkfifo").arg(s.path("pipe")).status().unwrap();
    assert!(made.success());
    s.edit("\"raw\"", "\"pipe\"");
}

fn folder(s: &Scratch) {
    fs::create_dir(s.path("sub")).unwrap();
    s.edit("\"raw\"", "\"sub\"");
}

fn twice(s: &Scratch) {
    s.describe(D, "CID=1", "RW 8192 FLAT \"raw\" 0\nRW 8192 FLAT \"raw\" 0");
}

const CHAINS: &[Case] = &[
    ("parent missing", Base::Flat, |s| child(s, "parentFileNameHint=\"gone.vmdk\""), CUT, "not beside it"),
    ("parent elsewhere", Base::Flat, |s| child(s, "parentFileNameHint=\"/etc/passwd\""), DAMAGED, "--parent"),
    ("parent above", Base::Flat, |s| child(s, "parentFileNameHint=\"../d.vmdk\""), DAMAGED, "--parent"),
    ("parent without a name", Base::Flat, |s| child(s, ""), DAMAGED, "parentFileNameHint"),
    ("its own parent", Base::Flat, |s| child(s, "parentFileNameHint=\"d.vmdk\""), DAMAGED, "comes back"),
    ("a loop of two", Base::Sparse, loop_of_two, DAMAGED, "comes back"),
    ("70 deep", Base::Sparse, deep, DAMAGED, "deeper than 64"),
    ("parent with another id", Base::Sparse, |s| chain(s, 5, SIZE), DAMAGED, "content id"),
    ("parent of another size", Base::Sparse, |s| chain(s, 9, SIZE / 2), DAMAGED, "its child's"),
    ("a snapshot extent alone", Base::Cowd, cowd_child_alone, UNSUPPORTED, "descriptor"),
    (
        "a seSparse extent alone",
        Base::SeSparse,
        |s| fs::copy(s.path(SE), s.disk()).map(drop).unwrap(),
        5,
        "descriptor",
    ),
];

fn child(s: &Scratch, hint: &str) {
    let header = format!("CID=1\nparentCID=00000001\n{hint}");
    s.describe(D, &header, "RW 8192 FLAT \"raw\" 0");
}

fn snapshot(cid: u32, parent: u32, hint: &str) -> Options {
    Options { cid, parent: Some(ParentRef { cid: parent, hint: hint.to_owned() }), ..Options::default() }
}

fn loop_of_two(s: &Scratch) {
    generate::monolithic_sparse(&s.path("p.vmdk"), &s.raw(), &snapshot(9, 9, "d.vmdk")).unwrap();
    s.sparse(&snapshot(9, 9, "p.vmdk"));
}

fn deep(s: &Scratch) {
    for depth in 0..70 {
        let name = if depth == 0 { D.to_owned() } else { format!("d{depth}.vmdk") };
        let options = snapshot(9, 9, &format!("d{}.vmdk", depth + 1));
        generate::monolithic_sparse(
            &s.path(&name),
            &RawImage::changes(&s.path("raw"), &s.path("raw")).unwrap(),
            &options,
        )
        .unwrap();
    }
}

fn chain(s: &Scratch, cid: u32, size: u64) {
    generate::sample(&s.path("p"), size, 20, 8).unwrap();
    let parent = RawImage::open(&s.path("p")).unwrap();
    generate::monolithic_sparse(&s.path("p.vmdk"), &parent, &Options { cid, ..Options::default() }).unwrap();
    s.sparse(&snapshot(1, 9, "p.vmdk"));
}

fn cowd_child_alone(s: &Scratch) {
    s.put32(COWD, 8, 3);
    fs::copy(s.path(COWD), s.disk()).unwrap();
}

const OTHERS: &[Case] = &[
    (
        "qcow2 with a backing file",
        Base::Qcow2,
        |s| s.put(D, 8, &512u64.to_be_bytes()),
        UNSUPPORTED,
        "backing",
    ),
    ("qcow2 encrypted", Base::Qcow2, |s| s.put(D, 32, &1u32.to_be_bytes()), UNSUPPORTED, "encryption"),
    ("qcow2 with a data file", Base::Qcow2, |s| s.put(D, 72, &4u64.to_be_bytes()), UNSUPPORTED, "feature"),
    ("qcow2 version", Base::Qcow2, |s| s.put(D, 4, &9u32.to_be_bytes()), DAMAGED, "version"),
    ("qcow2 cluster bits", Base::Qcow2, |s| s.put(D, 20, &63u32.to_be_bytes()), DAMAGED, "cluster bits"),
    ("qcow2 size", Base::Qcow2, |s| s.put(D, 24, &u64::MAX.to_be_bytes()), DAMAGED, "size"),
    ("qcow2 L1 outside", Base::Qcow2, |s| s.put(D, 40, &(1u64 << 40).to_be_bytes()), CUT, "L1"),
    (
        "qcow2 L2 outside",
        Base::Qcow2,
        |s| s.put(D, 65_536, &(1u64 << 40).to_be_bytes()),
        DAMAGED,
        "table entry",
    ),
    ("VHD checksum", Base::Vhd, |s| s.put(D, 48, &[9]), DAMAGED, "checksum"),
    (
        "VHD table outside",
        Base::Vhd,
        |s| s.put(D, 1536, &0x7000_0000u32.to_be_bytes()),
        DAMAGED,
        "table entry",
    ),
    (
        "not a disk at all",
        Base::Flat,
        |s| fs::write(s.disk(), "hello\n".repeat(99)).unwrap(),
        UNSUPPORTED,
        "--from",
    ),
];

fn make_bases(dir: &Path) {
    let raw = dir.join("raw");
    generate::sample(&raw, SIZE, 20, 5).unwrap();
    let content = RawImage::open(&raw).unwrap();
    let options = Options { cid: 1, ..Options::default() };
    for name in ["sparse", "stream", "cowd", "se", "qcow2", "vhd"] {
        fs::create_dir(dir.join(name)).unwrap();
        fs::copy(&raw, dir.join(name).join("raw")).unwrap();
    }
    generate::monolithic_sparse(&dir.join("sparse/d.vmdk"), &content, &options).unwrap();
    generate::stream_optimized(&dir.join("stream/d.vmdk"), &content, &options, StreamStyle::VMware).unwrap();
    generate::vmfs_sparse(&dir.join("cowd/d.vmdk"), &content, &options).unwrap();
    generate::se_sparse(&dir.join("se/d.vmdk"), &content, &options).unwrap();
    for format in ["qcow2", "vhd"] {
        let made = dir.join(format).join("made");
        let (raw, target) = (raw.to_str().unwrap(), made.to_str().unwrap());
        let run = crate::tool::tool(&["convert", "--from", "raw", raw, target, "--to", format]);
        assert!(run.status.success());
        fs::rename(&made, dir.join(format).join("d.vmdk")).unwrap();
    }
}

fn prepare(bases: &Path, base: Base, dir: &Path) -> Scratch {
    let name = match base {
        Base::Sparse | Base::Flat => "sparse",
        Base::Stream | Base::Pipe => "stream",
        Base::Cowd => "cowd",
        Base::SeSparse => "se",
        Base::Qcow2 => "qcow2",
        Base::Vhd => "vhd",
    };
    for entry in fs::read_dir(bases.join(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    let scratch = Scratch { dir: dir.to_owned() };
    if base == Base::Flat {
        scratch.describe(D, "CID=1", "RW 8192 FLAT \"raw\" 0");
    }
    scratch
}

fn run_case(bases: &Path, case: &Case) -> Result<(), String> {
    let (_, base, hurt, code, word) = case;
    let dir = tempfile::tempdir().unwrap();
    let scratch = prepare(bases, *base, dir.path());
    hurt(&scratch);
    let target = scratch.path("target");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenith-import"));
    let source = if *base == Base::Pipe { PathBuf::from("-") } else { scratch.disk() };
    command.arg("convert").arg(source).arg(&target).stdin(Stdio::null());
    if *base == Base::Pipe {
        command.stdin(fs::File::open(scratch.disk()).unwrap());
    }
    let started = Instant::now();
    let output = command.output().unwrap();
    let took = started.elapsed();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(*code) || !text.contains(word) {
        return Err(format!("expected {code} and {word:?}, got {:?}: {text}", output.status.code()));
    }
    if target.exists() {
        return Err("left a target behind".to_owned());
    }
    // It takes a second at most on an idle machine; this one may be slow, and running ten tests at once. What is hostile to
    // the time it takes would take hours.
    if took > Duration::from_secs(60) {
        return Err(format!("took {took:?}"));
    }
    Ok(())
}

#[test]
fn every_hostile_file_is_refused() {
    let bases = tempfile::tempdir().unwrap();
    make_bases(bases.path());
    let groups = [HEADER, TABLES, STREAM, ESX, TEXT, CHAINS, OTHERS];
    let mut failures = Vec::new();
    for case in groups.iter().copied().flatten() {
        if let Err(why) = run_case(bases.path(), case) {
            failures.push(format!("{}: {why}", case.0));
        }
    }
    let count: usize = groups.iter().map(|group| group.len()).sum();
    assert!(count >= 60, "only {count} cases");
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    assert!(usage.max_rss() < 64 * 1024, "{} KiB of memory", usage.max_rss());
}
