//! Files of guests: real filesystems made by their own tools, and damaged ones.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use xenith_backup::files::{self, Archive, Kind};
use xenith_common_block::{BlockSource, FileSource, MemorySource};

use crate::support::{MIB, noise};

fn run(program: &str, args: &[&str]) -> Option<Output> {
    // mkfs lies in sbin, which a user's PATH may lack.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match Command::new(program).args(args).env("PATH", path).output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{program} {args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(output)
        }
        Err(_) => {
            eprintln!("{program} is not installed: its filesystem is not tested");
            None
        }
    }
}

/// What the images hold: a deep file, a large one, many names.
fn tree() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    files.insert("etc/passwd".to_owned(), b"root:x:0:0".to_vec());
    files.insert("big".to_owned(), noise(1, 3 * MIB + 77));
    files.insert("a/b/c/deep".to_owned(), noise(2, 5000));
    for number in 0..300 {
        files.insert(format!("many/file-with-a-long-name-{number:04}"), vec![number as u8; 10]);
    }
    files
}

fn write_tree(root: &Path) {
    for (name, bytes) in tree() {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::os::unix::fs::symlink("etc/passwd", root.join("link")).unwrap();
}

fn ext4(dir: &Path) -> Option<Vec<u8>> {
    let (root, image) = (dir.join("root"), dir.join("ext4"));
    std::fs::create_dir(&root).unwrap();
    write_tree(&root);
    let (root, path) = (root.display().to_string(), image.display().to_string());
    run("mkfs.ext4", &["-q", "-d", &root, &path, "32M"])?;
    Some(std::fs::read(image).unwrap())
}

fn xfs(dir: &Path) -> Option<Vec<u8>> {
    use std::fmt::Write as _;
    let image = dir.join("xfs");
    let mut proto = "/stand\n0 0\nd--755 0 0\n".to_owned();
    let put = |bytes: &[u8], name: &str| {
        let path = dir.join(format!("p-{name}"));
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let files = tree();
    let line =
        |name: &str, path: &str, proto: &mut String| writeln!(proto, "{name} ---644 0 0 {path}").unwrap();
    line("big", &put(&files["big"], "big"), &mut proto);
    proto.push_str("link l--777 0 0 etc/passwd\netc d--755 0 0\n");
    line("passwd", &put(&files["etc/passwd"], "passwd"), &mut proto);
    proto.push_str("$\na d--755 0 0\nb d--755 0 0\nc d--755 0 0\n");
    line("deep", &put(&files["a/b/c/deep"], "deep"), &mut proto);
    proto.push_str("$\n$\n$\nmany d--755 0 0\n");
    for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("many/")) {
        let name = name.strip_prefix("many/").unwrap();
        line(name, &put(bytes, name), &mut proto);
    }
    proto.push_str("$\n$\n");
    std::fs::write(dir.join("proto"), proto).unwrap();
    let (proto, path) = (dir.join("proto").display().to_string(), image.display().to_string());
    std::fs::File::create(&image).unwrap().set_len(310 << 20).unwrap();
    run("mkfs.xfs", &["-q", "-p", &proto, &path])?;
    Some(std::fs::read(image).unwrap())
}

fn ntfs(dir: &Path) -> Option<Vec<u8>> {
    let image = dir.join("ntfs");
    let path = image.display().to_string();
    std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    run("mkntfs", &["-q", "-F", "-s", "512", "-p", "0", "-H", "255", "-S", "63", &path])?;
    for name in ["big", "deep"] {
        let (file, bytes) =
            (dir.join(format!("n-{name}")), tree()[if name == "big" { "big" } else { "a/b/c/deep" }].clone());
        std::fs::write(&file, bytes).unwrap();
        run("ntfscp", &["-q", &path, &file.display().to_string(), name])?;
    }
    Some(std::fs::read(image).unwrap())
}

fn open(bytes: Vec<u8>) -> files::FileSystem {
    files::open(Arc::new(MemorySource::new(bytes))).unwrap()
}

fn read(fs: &mut files::FileSystem, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    fs.read(path.as_bytes(), &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    bytes
}

#[test]
fn ext4_and_xfs_give_every_file_back() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, image) in [("ext4", ext4(dir.path())), ("xfs", xfs(dir.path()))] {
        let Some(image) = image else { continue };
        let mut fs = open(image);
        assert_eq!(fs.kind(), kind);
        for (name, bytes) in tree() {
            assert!(read(&mut fs, &format!("/{name}")) == bytes, "{kind} {name}");
        }
        assert_eq!(fs.link(b"/link").unwrap(), b"etc/passwd", "{kind}");
        let mut names: Vec<String> =
            fs.list(b"/many").unwrap().into_iter().map(|e| String::from_utf8(e.name).unwrap()).collect();
        names.sort();
        let wanted: Vec<String> =
            tree().keys().filter_map(|name| name.strip_prefix("many/").map(str::to_owned)).collect();
        assert_eq!(names, wanted, "{kind}");
        assert!(fs.entry(b"/nothing/here").is_err(), "{kind}");
    }
}

#[test]
fn ntfs_gives_its_files_back() {
    let dir = tempfile::tempdir().unwrap();
    let Some(image) = ntfs(dir.path()) else { return };
    let mut fs = open(image);
    let mut names: Vec<String> =
        fs.list(b"/").unwrap().into_iter().map(|e| String::from_utf8(e.name).unwrap()).collect();
    names.sort();
    assert_eq!(names, ["big", "deep"]);
    assert!(read(&mut fs, "/big") == tree()["big"]);
    assert!(read(&mut fs, "/DEEP") == tree()["a/b/c/deep"], "Windows does not mind the case");
    assert_eq!(fs.entry(b"/big").unwrap().size, tree()["big"].len() as u64);
}

#[test]
fn archives_hold_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let Some(image) = ext4(dir.path()) else { return };
    let mut fs = open(image);
    let mut packed = Archive::tar(Vec::new());
    let report = files::pack(&mut fs, b"/", &mut packed).unwrap();
    let Archive::Tar(builder) = packed else { unreachable!("it was made as a tar") };
    let bytes = builder.into_inner().unwrap();
    assert!(report.left_out.is_empty(), "{report:?}");
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.insert(entry.path().unwrap().display().to_string(), content);
        }
    }
    assert!(found == tree(), "{:?}", found.keys());
    let file = dir.path().join("etc.zip");
    let mut packed = Archive::zip(std::fs::File::create(&file).unwrap());
    files::pack(&mut fs, b"/etc", &mut packed).unwrap();
    packed.finish().unwrap();
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&file).unwrap()).unwrap();
    let mut text = String::new();
    zip.by_name("etc/passwd").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "root:x:0:0");
}

/// A disk with an MBR, one with a GPT, each with `content` as its second partition.
fn partitioned(content: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    let first = MIB / 512;
    let sectors = content.len().div_ceil(512);
    let mut mbr = vec![0; MIB];
    mbr.extend_from_slice(content);
    mbr.resize(mbr.len().next_multiple_of(512), 0);
    mbr[446 + 16 + 4] = 0x83;
    mbr[446 + 24..446 + 28].copy_from_slice(&(first as u32).to_le_bytes());
    mbr[446 + 28..446 + 32].copy_from_slice(&(sectors as u32).to_le_bytes());
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut gpt = mbr.clone();
    gpt[446 + 16..446 + 32].fill(0);
    gpt[446 + 4] = 0xee;
    gpt[512..520].copy_from_slice(b"EFI PART");
    gpt[512 + 72..512 + 80].copy_from_slice(&2u64.to_le_bytes());
    gpt[512 + 80..512 + 84].copy_from_slice(&u32::MAX.to_le_bytes());
    gpt[512 + 84..512 + 88].copy_from_slice(&128u32.to_le_bytes());
    let entry = 1024 + 128;
    gpt[entry..entry + 16].fill(1);
    gpt[entry + 32..entry + 40].copy_from_slice(&(first as u64).to_le_bytes());
    gpt[entry + 40..entry + 48].copy_from_slice(&((first + sectors - 1) as u64).to_le_bytes());
    [("mbr", mbr), ("gpt", gpt)]
}

/// A physical volume with one linear logical volume that holds `content`.
fn physical_volume(content: &[u8]) -> Vec<u8> {
    const CRC_START: u32 = 0xf597_a6cf;
    let crc = |bytes: &[u8]| -> u32 {
        bytes.iter().fold(CRC_START, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & (0u32.wrapping_sub(crc & 1)))
            })
        })
    };
    let id = "AAAAAABBBBCCCCDDDDEEEEFFFFGGGGGG";
    let extents = content.len().div_ceil(4 * MIB);
    let data_at = MIB;
    let total = data_at + extents * 4 * MIB;
    let text = format!(
        "group {{\nid = \"GGGGGG-BBBB-CCCC-DDDD-EEEE-FFFF-GGGGGG\"\nseqno = 1\nformat = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\nextent_size = 8192\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\
         physical_volumes {{\npv0 {{\nid = \"AAAAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGGGG\"\ndevice = \"/dev/sda\"\nstatus = [\"ALLOCATABLE\"]\nflags = []\ndev_size = {}\npe_start = {}\npe_count = {extents}\n}}\n}}\n\
         logical_volumes {{\nroot {{\nid = \"LLLLLL-BBBB-CCCC-DDDD-EEEE-FFFF-GGGGGG\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\ncreation_time = 1\ncreation_host = \"h\"\nsegment_count = 1\n\
         segment1 {{\nstart_extent = 0\nextent_count = {extents}\ntype = \"striped\"\nstripe_count = 1\nstripes = [\n\"pv0\", 0\n]\n}}\n}}\n}}\n}}\n\
         contents = \"Text Format Volume Group\"\nversion = 1\ndescription = \"\"\ncreation_host = \"h\"\ncreation_time = 1\n",
        total / 512,
        data_at / 512
    );
    let mut disk = vec![0; total];
    disk[data_at..data_at + content.len()].copy_from_slice(content);
    let label = 512;
    disk[label..label + 8].copy_from_slice(b"LABELONE");
    disk[label + 8..label + 16].copy_from_slice(&1u64.to_le_bytes());
    disk[label + 20..label + 24].copy_from_slice(&32u32.to_le_bytes());
    disk[label + 24..label + 32].copy_from_slice(b"LVM2 001");
    let pv = label + 32;
    disk[pv..pv + 32].copy_from_slice(id.as_bytes());
    let mut words = vec![total as u64, data_at as u64, 0, 0, 0, 4096, (MIB - 4096) as u64, 0, 0];
    for (at, word) in words.drain(..).enumerate() {
        disk[pv + 32 + at * 8..pv + 40 + at * 8].copy_from_slice(&word.to_le_bytes());
    }
    let sum = crc(&disk[label + 20..label + 512]);
    disk[label + 16..label + 20].copy_from_slice(&sum.to_le_bytes());
    let area = 4096;
    disk[area + 4..area + 20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    disk[area + 20..area + 24].copy_from_slice(&1u32.to_le_bytes());
    for (at, word) in [area as u64, (MIB - 4096) as u64, 512, text.len() as u64].iter().enumerate() {
        disk[area + 24 + at * 8..area + 32 + at * 8].copy_from_slice(&word.to_le_bytes());
    }
    let sum = crc(text.as_bytes());
    disk[area + 56..area + 60].copy_from_slice(&sum.to_le_bytes());
    let sum = crc(&disk[area + 4..area + 512]);
    disk[area..area + 4].copy_from_slice(&sum.to_le_bytes());
    disk[area + 512..area + 512 + text.len()].copy_from_slice(text.as_bytes());
    disk
}

#[test]
fn partitions_and_logical_volumes_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let Some(image) = ext4(dir.path()) else { return };
    for (kind, disk) in partitioned(&image).into_iter().chain(partitioned(&physical_volume(&image))) {
        let disk: Arc<dyn BlockSource> = Arc::new(MemorySource::new(disk));
        let volumes = files::volumes(&disk).unwrap();
        let names: Vec<(&str, Option<&str>)> =
            volumes.iter().map(|volume| (volume.name.as_str(), volume.filesystem)).collect();
        let wanted = [vec![("2", Some("ext4"))], vec![("group/root", Some("ext4"))]];
        assert!(wanted.contains(&names), "{kind}: {names:?} {:?}", volumes[0].unreadable);
        let mut fs = files::open(volumes[0].source.clone().unwrap()).unwrap();
        assert_eq!(read(&mut fs, "/etc/passwd"), b"root:x:0:0", "{kind}");
    }
}

/// Everything a reader can be asked, whatever the answer: no panic, no endless loop.
fn exercise(bytes: Vec<u8>) {
    let disk: Arc<dyn BlockSource> = Arc::new(MemorySource::new(bytes));
    let Ok(volumes) = files::volumes(&disk) else { return };
    for source in volumes.into_iter().filter_map(|volume| volume.source) {
        let Ok(mut fs) = files::open(source) else { continue };
        for path in [&b"/"[..], b"/many", b"/etc", b"/a/b/c"] {
            for entry in fs.list(path).unwrap_or_default().into_iter().take(20) {
                let below = [path, b"/", &entry.name].concat();
                let mut left = 8 * MIB;
                let _any = match entry.kind {
                    Kind::Link => fs.link(&below).map(|_| ()),
                    _ => fs.read(&below, &mut |piece| {
                        left = left.saturating_sub(piece.len());
                        if left == 0 { Err(xenith_backup::BackupError::Cancelled) } else { Ok(()) }
                    }),
                };
            }
        }
    }
}

#[test]
fn damaged_filesystems_end_in_errors() {
    let dir = tempfile::tempdir().unwrap();
    // The tools' own panics are caught, and would fill the output.
    std::panic::set_hook(Box::new(|_| ()));
    let mut images: Vec<Vec<u8>> = [ext4(dir.path()), ntfs(dir.path())].into_iter().flatten().collect();
    images.push(images[0][..].chunks(8 * MIB).next().map(physical_volume).unwrap_or_default());
    for (number, image) in images.iter().enumerate() {
        let used: Vec<usize> = (0..image.len() / 512)
            .filter(|at| image[at * 512..at * 512 + 512].iter().any(|&b| b != 0))
            .collect();
        for round in 0..40u64 {
            let mut bytes = image.clone();
            let random = noise(round * 7 + number as u64, 64);
            for pick in random.chunks_exact(8) {
                // Half of the hits go where the structures are: the first sectors in use.
                let span = if pick[0] % 2 == 0 { used.len().min(64) } else { used.len() };
                let sector = used[(u16::from_le_bytes([pick[1], pick[2]]) as usize) % span.max(1)];
                let at = sector * 512 + (u16::from_le_bytes([pick[3], pick[4]]) as usize % 512);
                bytes[at] = if pick[5] % 3 == 0 { 0xff } else { pick[6] };
            }
            exercise(bytes);
        }
    }
    let _hook = std::panic::take_hook();
}

#[test]
fn a_file_source_works_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let Some(image) = ext4(dir.path()) else { return };
    let path = dir.path().join("again");
    std::fs::write(&path, image).unwrap();
    let mut fs = files::open(Arc::new(FileSource::open(&path).unwrap())).unwrap();
    assert_eq!(read(&mut fs, "/etc/passwd"), b"root:x:0:0");
}
