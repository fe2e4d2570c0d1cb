//! Every format, read and converted, against the raw image it was made from.

use std::path::Path;

use xenith_vmware_import::convert::verify::compare;
use xenith_vmware_import::source::open_target;
use xenith_vmware_import_generator::{self as generate, Options, Order, ParentRef, RawImage, StreamStyle};

use crate::support::{Lab, contents, convert, convert_piped, open, qemu_img, qemu_img_ok};
use crate::tool::tool;

type Make = fn(&Lab, &Path);

fn options() -> Options {
    Options { cid: 0x0a0b_0c0d, ..Options::default() }
}

fn shuffled() -> Options {
    Options { order: Order::Shuffled(3), ..options() }
}

const OURS: &[(&str, Make)] = &[
    ("cowd", |lab, path| generate::vmfs_sparse(path, &lab.content(), &options()).unwrap()),
    ("cowd shuffled", |lab, path| generate::vmfs_sparse(path, &lab.content(), &shuffled()).unwrap()),
    ("sesparse", |lab, path| generate::se_sparse(path, &lab.content(), &options()).unwrap()),
    ("sesparse shuffled", |lab, path| generate::se_sparse(path, &lab.content(), &shuffled()).unwrap()),
    ("sparse", |lab, path| generate::monolithic_sparse(path, &lab.content(), &options()).unwrap()),
    ("sparse shuffled", |lab, path| generate::monolithic_sparse(path, &lab.content(), &shuffled()).unwrap()),
    ("stream", |lab, path| stream(lab, path, &options())),
    ("stream shuffled", |lab, path| stream(lab, path, &shuffled())),
];

fn stream(lab: &Lab, path: &Path, options: &Options) {
    generate::stream_optimized(path, &lab.content(), options, StreamStyle::VMware).unwrap();
}

const QEMU: &[&str] =
    &["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized"];

#[test]
fn what_the_generator_makes_reads_back() {
    let lab = Lab::new(1);
    let reference = lab.reference();
    for (index, (name, make)) in OURS.iter().enumerate() {
        let path = lab.path(&format!("disk{index}.vmdk"));
        make(&lab, &path);
        let image = open(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(contents(&image) == reference, "{name}: contents differ");
        for ending in ["raw", "qcow2", "vhd"] {
            let target = lab.path(&format!("disk{index}.{ending}"));
            let report = convert(&path, &target).unwrap_or_else(|e| panic!("{name} to {ending}: {e}"));
            assert!(report.written < 16 << 20, "{name} to {ending}: zeros were written");
            check_target(&lab, &target, ending, name);
        }
        // Our own reading of our own file proves little: qemu reads it too.
        let (disk, raw) = (path.to_str().unwrap(), lab.raw.to_str().unwrap());
        qemu_img_ok(&["compare", "-f", "vmdk", "-F", "raw", disk, raw]);
    }
}

fn check_target(lab: &Lab, target: &Path, ending: &str, name: &str) {
    let (source, copy) = (open(&lab.raw).unwrap(), open_target(target, None, 0).unwrap());
    let found = compare(&source, &copy, &mut |_| ()).unwrap();
    // qcow2 and VHD keep the size; the comparison says if not.
    assert!(found.identical, "{name} to {ending}: {}", found.detail);
    let format = if ending == "vhd" { "vpc" } else { ending };
    let (raw, target) = (lab.raw.to_str().unwrap(), target.to_str().unwrap());
    qemu_img_ok(&["compare", "-f", "raw", "-F", format, raw, target]);
    if ending == "qcow2" {
        qemu_img_ok(&["check", "-f", "qcow2", target]);
    }
}

#[test]
fn what_qemu_makes_reads_back() {
    let lab = Lab::new(2);
    let reference = lab.reference();
    for subformat in QEMU {
        let path = lab.path(&format!("{subformat}.vmdk"));
        let (raw, disk) = (lab.raw.to_str().unwrap(), path.to_str().unwrap());
        let choice = format!("subformat={subformat}");
        if !qemu_img_ok(&["convert", "-f", "raw", "-O", "vmdk", "-o", &choice, raw, disk]) {
            return;
        }
        let image = open(&path).unwrap_or_else(|e| panic!("{subformat}: {e}"));
        let bytes = contents(&image);
        // Flat extents of qemu may be rounded up to 64 KiB.
        assert!(bytes[..reference.len()] == reference[..], "{subformat}: contents differ");
        assert!(bytes[reference.len()..].iter().all(|&b| b == 0), "{subformat}: the tail has data");
        convert(&path, &lab.path(&format!("{subformat}.raw"))).unwrap();
    }
}

#[test]
fn streams_read_once_from_a_pipe() {
    let lab = Lab::new(3);
    let reference = lab.reference();
    let make: &[(&str, Make)] = &[
        ("as ovftool makes it", |lab, path| stream(lab, path, &options())),
        ("grains in any order", |lab, path| stream(lab, path, &shuffled())),
        ("no tables at all", |lab, path| {
            generate::stream_optimized(path, &lab.content(), &options(), StreamStyle::NoTables).unwrap();
        }),
        ("as qemu makes it, tables in front and no end marker", |lab, path| {
            let (raw, disk) = (lab.raw.to_str().unwrap(), path.to_str().unwrap());
            qemu_img(&["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, disk]);
        }),
    ];
    for (index, (name, make)) in make.iter().enumerate() {
        let (path, target) = (lab.path(&format!("{index}.vmdk")), lab.path(&format!("{index}.raw")));
        make(&lab, &path);
        if !path.exists() {
            continue;
        }
        let report = convert_piped(&path, &target).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = std::fs::read(&target).unwrap();
        assert!(found == reference, "{name}: contents differ");
        let by_tables = convert(&lab.raw, &lab.path("again.raw")).unwrap();
        assert_eq!(report.digest, by_tables.digest, "{name}: the digest depends on the way");
    }
}

/// base (one format) <- child (another) <- grandchild (a third), all mixtures.
#[test]
fn chains_of_mixed_formats_resolve() {
    type MakeLayer = fn(&Path, &RawImage, &Options);
    let kinds: [(&str, MakeLayer); 3] = [
        ("cowd", |path, content, options| generate::vmfs_sparse(path, content, options).unwrap()),
        ("sesparse", |path, content, options| generate::se_sparse(path, content, options).unwrap()),
        ("sparse", |path, content, options| generate::monolithic_sparse(path, content, options).unwrap()),
    ];
    let lab = Lab::new(4);
    let states = [lab.raw.clone(), lab.path("state1.raw"), lab.path("state2.raw")];
    change(&states[0], &states[1], 11);
    change(&states[1], &states[2], 12);
    for (round, order) in
        [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 0, 0], [1, 1, 1], [2, 2, 2]].iter().enumerate()
    {
        let mut parent = None;
        for (depth, kind) in order.iter().enumerate() {
            let path = lab.path(&format!("chain{round}-{depth}.vmdk"));
            let content = match depth {
                0 => RawImage::open(&states[0]).unwrap(),
                _ => RawImage::changes(&states[depth], &states[depth - 1]).unwrap(),
            };
            let cid = 0x100 + depth as u32;
            let order = if round % 2 == 0 { Order::AsOnDisk } else { Order::Shuffled(5) };
            kinds[*kind].1(&path, &content, &Options { cid, parent: parent.take(), order });
            parent = Some(ParentRef { cid, hint: format!("chain{round}-{depth}.vmdk") });
            let names: Vec<&str> = order_names(&kinds, &round);
            let image = open(&path).unwrap_or_else(|e| panic!("round {round} {names:?}: {e}"));
            let expected = std::fs::read(&states[depth]).unwrap();
            assert!(contents(&image) == expected, "round {round}, depth {depth}: contents differ");
        }
        let target = lab.path(&format!("chain{round}.qcow2"));
        convert(&lab.path(&format!("chain{round}-2.vmdk")), &target).unwrap();
        let (raw, target) = (states[2].to_str().unwrap(), target.to_str().unwrap());
        qemu_img_ok(&["compare", "-f", "raw", "-F", "qcow2", raw, target]);
    }
}

fn order_names<'a, T>(kinds: &[(&'a str, T); 3], round: &usize) -> Vec<&'a str> {
    kinds.iter().map(|kind| kind.0).cycle().skip(*round).take(3).collect()
}

/// Copies a raw image and rewrites some of it: data over data, data over holes, zeros over data.
fn change(from: &Path, to: &Path, seed: u64) {
    use std::os::unix::fs::FileExt;
    std::fs::copy(from, to).unwrap();
    let file = std::fs::File::options().write(true).open(to).unwrap();
    let size = file.metadata().unwrap().len();
    let mut random = generate::Random(seed);
    for index in 0..120 {
        let len = 512 << (random.draw() % 9);
        let at = random.draw() % (size - len) / 512 * 512;
        let byte = if index % 4 == 0 { 0 } else { random.draw() as u8 };
        file.write_all_at(&vec![byte; len as usize], at).unwrap();
    }
}

/// Stretches of several kinds and files make one disk: zeros, a file from an offset on, a sparse extent, another file.
#[test]
fn extents_of_all_kinds_make_one_disk() {
    let lab = Lab::new(6);
    let reference = lab.reference();
    generate::monolithic_sparse(&lab.path("sparse.vmdk"), &lab.content(), &options()).unwrap();
    std::fs::write(lab.path("tail.bin"), vec![0x5a; 64 * 512]).unwrap();
    let sectors = reference.len() / 512;
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"custom\"\n\
         RW 100 ZERO\nRW 64 FLAT \"reference.raw\" 8\nRW {sectors} SPARSE \"sparse.vmdk\"\n\
         RDONLY 64 FLAT \"tail.bin\" 0\nRW 7 ZERO\n"
    );
    std::fs::write(lab.path("custom.vmdk"), text).unwrap();
    let expected =
        [&[0; 100 * 512][..], &reference[8 * 512..72 * 512], &reference, &[0x5a; 64 * 512], &[0; 7 * 512]]
            .concat();
    assert!(contents(&open(&lab.path("custom.vmdk")).unwrap()) == expected);
    let target = lab.path("custom.raw");
    convert(&lab.path("custom.vmdk"), &target).unwrap();
    assert!(std::fs::read(target).unwrap() == expected);
}

/// As VMware Workstation, ESXi, Fusion, VirtualBox and editors on Windows leave them.
#[test]
fn descriptors_come_in_dialects_and_encodings() {
    let lab = Lab::new(7);
    let size = 64 * 512;
    for name in ["disk-flat.vmdk", "Gr\u{f6}\u{df}e 1-flat.vmdk", "\u{30c7}-flat.vmdk"] {
        std::fs::write(lab.path(name), vec![3; size]).unwrap();
    }
    let text = |head: &str, line: &str| format!("# Disk DescriptorFile\n{head}\n{line}\n");
    let plain = "RW 64 FLAT \"disk-flat.vmdk\" 0";
    let german = "RW 64 VMFS \"Gr\u{f6}\u{df}e 1-flat.vmdk\"";
    let common = "version=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"";
    let labelled = |label: &str, line: &str| text(&format!("encoding=\"{label}\"\n{common}"), line);
    let bytes = |label: &str, line: &str, encoding: &'static encoding_rs::Encoding| {
        encoding.encode(&labelled(label, line)).0.into_owned()
    };
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("plain", text(common, plain).into_bytes()),
        ("line ends of Windows", text(common, plain).replace('\n', "\r\n").into_bytes()),
        ("a byte order mark", [b"\xef\xbb\xbf", text(common, plain).as_bytes()].concat()),
        ("zeros behind it", [text(common, plain).as_bytes(), &[0; 700]].concat()),
        ("no line end at its end", text(common, plain).trim_end().as_bytes().to_vec()),
        (
            "spaces and capitals",
            text(
                "VERSION = 1\ncid = 0x1\nParentCID = -1\nCREATETYPE = \"vmfs\"",
                "rw 64 flat \"disk-flat.vmdk\" 0",
            )
            .into_bytes(),
        ),
        ("UTF-8 said and written", labelled("UTF-8", german).into_bytes()),
        ("windows-1252", bytes("windows-1252", german, encoding_rs::WINDOWS_1252)),
        ("no label, not UTF-8", encoding_rs::WINDOWS_1252.encode(&text(common, german)).0.into_owned()),
        ("a label that lies", labelled("windows-1252", german).into_bytes()),
        ("Shift_JIS", bytes("Shift_JIS", "RW 64 FLAT \"\u{30c7}-flat.vmdk\" 0", encoding_rs::SHIFT_JIS)),
        (
            "keys of others",
            text(&format!("{common}\nisNativeSnapshot=\"no\"\nddb.uuid.image=\"x\"\n#DDB"), plain)
                .into_bytes(),
        ),
    ];
    for (name, bytes) in table {
        std::fs::write(lab.path("d.vmdk"), bytes).unwrap();
        let image = open(&lab.path("d.vmdk")).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(contents(&image) == vec![3; size], "{name}");
    }
}

/// A parent that lies elsewhere is named, and a `.vmx` leads to its disks.
#[test]
fn folders_as_people_have_them() {
    let lab = Lab::new(8);
    let child = lab.path("child.raw");
    change(&lab.raw, &child, 13);
    std::fs::create_dir(lab.path("templates")).unwrap();
    generate::monolithic_sparse(&lab.path("templates/base.vmdk"), &lab.content(), &options()).unwrap();
    let parent = Some(ParentRef { cid: options().cid, hint: "/vmfs/volumes/x/base.vmdk".to_owned() });
    let changes = RawImage::changes(&child, &lab.raw).unwrap();
    generate::se_sparse(&lab.path("web.vmdk"), &changes, &Options { cid: 2, parent, ..options() }).unwrap();
    let (disk, base, out) = (lab.path("web.vmdk"), lab.path("templates/base.vmdk"), lab.path("out.raw"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    assert_eq!(tool(&["convert", &text(&disk), &text(&out)]).status.code(), Some(3), "it is not beside it");
    let done = tool(&["convert", &text(&disk), &text(&out), "--parent", &text(&base)]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&child).unwrap());

    std::fs::copy(&base, lab.path("base.vmdk")).unwrap();
    let vmx = ".encoding = \"UTF-8\"\nconfig.version = \"8\"\ndisplayName = \"web\"\nscsi0.present = \"TRUE\"\nscsi0:0.present = \"TRUE\"\n\
        scsi0:0.fileName = \"base.vmdk\"\nscsi0:1.present = \"TRUE\"\nscsi0:1.fileName = \"two.vmdk\"\n";
    generate::vmfs_sparse(&lab.path("two.vmdk"), &RawImage::open(&child).unwrap(), &options()).unwrap();
    std::fs::write(lab.path("web.vmx"), vmx).unwrap();
    let vmx = text(&lab.path("web.vmx"));
    assert_eq!(tool(&["convert", &vmx, &text(&out)]).status.code(), Some(2), "which of two is not said");
    for (index, expected) in [("0", &lab.raw), ("1", &child)] {
        let done = tool(&["convert", &vmx, &text(&out), "--disk", index]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(std::fs::read(&out).unwrap() == std::fs::read(expected).unwrap(), "disk {index}");
    }
    let said: serde_json::Value =
        serde_json::from_slice(&tool(&["info", &vmx, "-o", "json"]).stdout).unwrap();
    assert_eq!((said["name"].as_str(), said["disks"].as_array().map(Vec::len)), (Some("web"), Some(2)));
}
