//! What is written is read again, and what is cut, changed or misplaced is refused.

use std::fs;

use xenith_common_block::MemorySource;

use super::*;

const MIB: usize = 1 << 20;

fn vm(size: usize) -> XvaVm {
    XvaVm {
        name: "web & <db>".into(),
        description: "two\nlines".into(),
        uuid: "0198c0de-0000-4000-8000-000000000001".into(),
        vcpus: 2,
        vcpus_max: 4,
        memory: 1 << 30,
        memory_max: 2 << 30,
        uefi: true,
        paravirtual: false,
        disks: vec![
            XvaDisk { name: "root".into(), size: size as u64, position: 0, bootable: true, read_only: false },
            XvaDisk {
                name: "data".into(),
                size: 3 * MIB as u64,
                position: 2,
                bootable: false,
                read_only: true,
            },
        ],
        nics: vec![XvaNic { mac: "00:16:3e:00:00:01".into(), network: "Pool-wide".into() }],
        tags: vec!["prod".into()],
    }
}

/// Data in the first MiB, across a border, and none at the end.
fn disk(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (at, byte) in bytes.iter_mut().enumerate() {
        if at < 5000 || (4 * MIB - 100..4 * MIB + 100).contains(&at) {
            *byte = (at % 251) as u8 + 1;
        }
    }
    bytes
}

fn written(vm: &XvaVm, contents: &[&[u8]]) -> Vec<u8> {
    let mut writer = XvaWriter::new(Vec::new(), "test", vm).unwrap();
    for bytes in contents {
        let sink = writer.disk().unwrap();
        let source = MemorySource::new(bytes.to_vec());
        xenith_common_block::copy(&source, &sink, |_| Ok(())).unwrap();
        sink.finish().unwrap();
    }
    writer.finish().unwrap()
}

fn reopened(bytes: &[u8]) -> Result<Xva, XvaError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm.xva");
    fs::write(&path, bytes).unwrap();
    assert!(Xva::is(&path).unwrap());
    Xva::open(&path)
}

fn all(source: &dyn BlockSource) -> Result<Vec<u8>, BlockError> {
    let mut bytes = vec![0xff; source.size() as usize];
    source.read_at(0, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn what_is_written_is_read_again() {
    for size in [9 * MIB, 9 * MIB + 4096, MIB, 512, 5 * MIB] {
        let (vm, root, data) = (vm(size), disk(size), vec![7; 3 * MIB]);
        let xva = reopened(&written(&vm, &[&root, &data])).unwrap();
        assert_eq!(xva.vm, vm);
        let disks = xva.disks();
        assert!(all(&*disks[0]).unwrap() == root && all(&*disks[1]).unwrap() == data, "{size}");
        let range = ByteRange::new(0, size as u64);
        let extents = disks[0].extents(range).unwrap();
        assert_eq!(extents.iter().map(|extent| extent.range.len()).sum::<u64>(), size as u64);
        if size > 5 * MIB {
            assert!(extents.iter().any(|extent| extent.kind == ExtentKind::Zero), "{extents:?}");
        }
    }
}

#[test]
fn zeros_are_left_out_but_first_and_last() {
    let size = 64 * MIB;
    let xva = written(&vm(size), &[&vec![0; size], &vec![0; 3 * MIB]]);
    assert!(xva.len() < 5 * MIB, "{}", xva.len());
    let xva = reopened(&xva).unwrap();
    assert!(all(&*xva.disks()[0]).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn writes_in_small_steps_and_again_are_the_same() {
    let (vm, root) = (vm(6 * MIB), disk(6 * MIB));
    let mut writer = XvaWriter::new(Vec::new(), "test", &vm).unwrap();
    let sink = writer.disk().unwrap();
    for (number, piece) in root.chunks(70_000).enumerate() {
        sink.write_at(number as u64 * 70_000, piece).unwrap();
        // As after a connection that broke.
        if number == 30 {
            sink.zero(ByteRange::new(0, 6 * MIB as u64)).unwrap();
            sink.write_at(0, &root[..2 * MIB]).unwrap();
        }
    }
    sink.finish().unwrap();
    writer.disk().unwrap().finish().unwrap();
    let xva = reopened(&writer.finish().unwrap()).unwrap();
    assert!(all(&*xva.disks()[0]).unwrap() == root);
}

#[test]
fn damage_is_found() {
    let (vm, root) = (vm(5 * MIB), disk(5 * MIB));
    let whole = written(&vm, &[&root, &vec![7; 3 * MIB]]);
    // A byte of the first piece: behind the description, in the piece's data.
    let at = whole.windows(4).position(|bytes| bytes == [1, 2, 3, 4]).unwrap();
    let mut changed = whole.clone();
    changed[at + 1] ^= 1;
    let error = all(&*reopened(&changed).unwrap().disks()[0]).unwrap_err();
    assert!(error.to_string().contains("read"), "{error}");
    // Cut off before the last disk's last piece.
    let cut = &whole[..whole.len() - 2 * MIB];
    let Err(error) = reopened(cut) else { panic!("a part is taken for the whole") };
    let told = format!("{error}: {:?}", std::error::Error::source(&error));
    assert!(matches!(error, XvaError::Damaged { .. } | XvaError::Io { .. }), "{told}");
    for foreign in [&b""[..], b"<value/>", b"<value><array>", b"<a><b/></a>"] {
        assert!(records::parse(&String::from_utf8_lossy(foreign)).is_err(), "{foreign:?}");
    }
    let deep = "<value><array><data>".repeat(1000);
    assert!(records::parse(&deep).unwrap_err().contains("deep"));
}

/// As another writer orders and spells it: references with leading zeros, numbers typed, a CD drive, a snapshot.
#[test]
fn descriptions_of_others_are_understood() {
    let text = "<?xml version=\"1.0\"?><value><struct><member><name>version</name><value><struct/></value></member>\
        <member><name>objects</name><value><array><data>\
        <value><struct><member><name>class</name><value>VM</value></member>\
        <member><name>id</name><value>Ref:000</value></member><member><name>snapshot</name><value><struct>\
        <member><name>name_label</name><value><string>a &amp; b</string></value></member>\
        <member><name>memory_dynamic_max</name><value>1073741824</value></member>\
        <member><name>memory_static_max</name><value>1073741824</value></member>\
        <member><name>VCPUs_at_startup</name><value><i4>2</i4></value></member>\
        <member><name>VCPUs_max</name><value>2</value></member>\
        <member><name>HVM_boot_policy</name><value>BIOS order</value></member>\
        </struct></value></member></struct></value>\
        <value><struct><member><name>class</name><value>VM</value></member>\
        <member><name>id</name><value>Ref:009</value></member><member><name>snapshot</name><value><struct>\
        <member><name>is_a_snapshot</name><value><boolean>1</boolean></value></member>\
        </struct></value></member></struct></value>\
        <value><struct><member><name>class</name><value>VBD</value></member>\
        <member><name>id</name><value>Ref:003</value></member><member><name>snapshot</name><value><struct>\
        <member><name>VM</name><value>Ref:000</value></member><member><name>VDI</name><value>Ref:002</value></member>\
        <member><name>type</name><value>Disk</value></member><member><name>userdevice</name><value>xvda</value></member>\
        <member><name>mode</name><value>RW</value></member>\
        <member><name>bootable</name><value><boolean>1</boolean></value></member></struct></value></member></struct></value>\
        <value><struct><member><name>class</name><value>VBD</value></member>\
        <member><name>id</name><value>Ref:004</value></member><member><name>snapshot</name><value><struct>\
        <member><name>VM</name><value>Ref:000</value></member><member><name>type</name><value>CD</value></member>\
        </struct></value></member></struct></value>\
        <value><struct><member><name>class</name><value>VDI</value></member>\
        <member><name>id</name><value>Ref:002</value></member><member><name>snapshot</name><value><struct>\
        <member><name>name_label</name><value>root</value></member>\
        <member><name>virtual_size</name><value>1048576</value></member></struct></value></member></struct></value>\
        </data></array></value></member></struct></value>";
    let (vm, references) = records::parse(text).unwrap();
    assert_eq!((vm.name.as_str(), vm.vcpus, vm.paravirtual), ("a & b", 2, false));
    assert_eq!(references, ["Ref:002"]);
    assert_eq!(vm.disks.len(), 1);
    assert!(vm.disks[0].bootable && vm.disks[0].position == 0);
}

#[test]
fn digests_of_both_kinds_are_known() {
    assert!(matches!(check_of("xxhash", "0123456789ABCDEF"), Some(Check::Xxh64(_))));
    assert!(matches!(check_of("checksum", &"0a".repeat(20)), Some(Check::Sha1(_))));
    for (ending, text) in [("xxhash", "xyz"), ("checksum", "0a"), ("md5", "00"), ("xxhash", "é")] {
        assert_eq!(check_of(ending, text), None, "{ending} {text}");
    }
}
