//! OVA and OVF: dialects, manifests, streams; and `.vmx`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512, digest};
use xenith_vmware_import::ovf::Envelope;
use xenith_vmware_import::vmx::{VmxVm, parse_vmsd};
use xenith_vmware_import_generator::{self as generate, Options, StreamStyle};

use crate::support::Lab;
use crate::tool::tool;

fn stream_disk(lab: &Lab) -> Vec<u8> {
    let path = lab.path("made.vmdk");
    generate::stream_optimized(&path, &lab.content(), &Options::default(), StreamStyle::VMware).unwrap();
    fs::read(&path).unwrap()
}

fn manifest_line(name: &str, bytes: &[u8], kind: &str) -> String {
    let algorithm: &'static Algorithm = match kind {
        "SHA1" => &SHA1_FOR_LEGACY_USE_ONLY,
        "SHA256" => &SHA256,
        _ => &SHA512,
    };
    let sum: String = digest(algorithm, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kind}({name})= {sum}\n")
}

/// Runs `cat source | xenith-import ARGUMENTS`.
fn piped(source: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xenith-import"))
        .args(arguments)
        .stdin(fs::File::open(source).unwrap())
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.code().unwrap()
}

type Make = fn(&Path, &[u8], &str, &str);

/// Members in the orders that writers use.
const ORDERS: &[(&str, Make)] = &[
    ("manifest before the disk", |path, disk, ovf, mf| {
        generate::tar(path, &[("vm.ovf", ovf.as_bytes()), ("vm.mf", mf.as_bytes()), ("d.vmdk", disk)])
            .unwrap();
    }),
    ("manifest behind the disk", |path, disk, ovf, mf| {
        generate::tar(path, &[("vm.ovf", ovf.as_bytes()), ("d.vmdk", disk), ("vm.mf", mf.as_bytes())])
            .unwrap();
    }),
    ("with a certificate", |path, disk, ovf, mf| {
        let members: [(&str, &[u8]); 4] =
            [("vm.ovf", ovf.as_bytes()), ("vm.mf", mf.as_bytes()), ("vm.cert", b"x"), ("d.vmdk", disk)];
        generate::tar(path, &members).unwrap();
    }),
];

#[test]
fn packages_convert_from_files_and_pipes() {
    let lab = Lab::new(30);
    let (disk, reference) = (stream_disk(&lab), lab.reference());
    let ovf = generate::ovf_text(&["d.vmdk"], reference.len() as u64, "");
    for (index, (name, make)) in ORDERS.iter().enumerate() {
        let kind = ["SHA1", "SHA256", "SHA512"][index];
        let mf = manifest_line("vm.ovf", ovf.as_bytes(), kind) + &manifest_line("d.vmdk", &disk, kind);
        let path = lab.path("vm.ova");
        make(&path, &disk, &ovf, &mf);
        let (source, target) = (path.to_str().unwrap(), lab.path("out.raw"));
        for way in ["file", "pipe"] {
            let _ = fs::remove_file(&target);
            let output = match way {
                "file" => tool(&["convert", source, target.to_str().unwrap()]),
                _ => piped(&path, &["convert", "-", target.to_str().unwrap(), "-o", "json"]),
            };
            assert_eq!(code(&output), 0, "{name} from a {way}");
            assert!(fs::read(&target).unwrap() == reference, "{name} from a {way}: contents differ");
            // The forms that scripts use, on the same pipe.
            assert_eq!(code(&piped(&path, &["verify", "-", target.to_str().unwrap()])), 0, "{name}");
            if way == "pipe" {
                let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(value["checked"].as_array().unwrap().len(), 2, "{name}: {value}");
            }
        }
        let said = |output: Output| -> serde_json::Value { serde_json::from_slice(&output.stdout).unwrap() };
        let (here, there) =
            (said(tool(&["info", source, "-o", "json"])), said(piped(&path, &["info", "-", "-o", "json"])));
        assert_eq!(here["vms"][0]["disks"][0]["capacity"], reference.len() as u64, "{name}: {here}");
        assert_eq!(here["vms"], there["vms"], "{name}: a pipe tells what the file tells");
        fs::write(lab.path("other.raw"), vec![1; reference.len()]).unwrap();
        let other = lab.path("other.raw");
        let differs = piped(&path, &["verify", "-", other.to_str().unwrap(), "-o", "json"]);
        assert_eq!(code(&differs), 6, "{name}");
        assert_eq!(said(differs)["disk"], "d.vmdk", "{name}");
        // One bit of the promise wrong: nothing may be left standing.
        let wrong = mf.replace("= ", "= 0").replace("= 0", "= ").replacen("= ", "= f", 2);
        let wrong: String = wrong.lines().map(|l| format!("{}\n", &l[..l.len() - 1])).collect();
        make(&path, &disk, &ovf, &wrong);
        let _ = fs::remove_file(&target);
        assert_eq!(code(&piped(&path, &["convert", "-", target.to_str().unwrap()])), 6, "{name}: wrong sum");
        assert!(!target.exists(), "{name}: a disk with a wrong sum was left");
        assert_eq!(code(&tool(&["convert", source, target.to_str().unwrap()])), 6, "{name}: from the file");
        assert!(!target.exists(), "{name}: a disk with a wrong sum was left");
        let folder = lab.path("folder");
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(
            code(&tool(&["ova", source, folder.to_str().unwrap()])),
            6,
            "{name}: wrong sum in the file"
        );
    }
}

#[test]
fn a_disk_that_the_manifest_leaves_out_is_told() {
    let lab = Lab::new(37);
    let disk = stream_disk(&lab);
    let ovf = generate::ovf_text(&["d.vmdk"], lab.reference().len() as u64, "");
    let mf = manifest_line("vm.ovf", ovf.as_bytes(), "SHA256");
    let path = lab.path("vm.ova");
    generate::tar(&path, &[("vm.ovf", ovf.as_bytes()), ("vm.mf", mf.as_bytes()), ("d.vmdk", &disk)]).unwrap();
    let folder = lab.path("out");
    fs::create_dir(&folder).unwrap();
    let (source, out) = (path.to_str().unwrap(), folder.to_str().unwrap());
    let ways = [tool(&["ova", source, out, "-o", "json"]), piped(&path, &["ova", "-", out, "-o", "json"])];
    for output in ways {
        assert_eq!(code(&output), 0);
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let warnings = said["warnings"].to_string();
        assert!(warnings.contains("does not name d.vmdk"), "{said}");
    }
}

#[test]
fn several_disks_gzip_and_pieces() {
    let lab = Lab::new(31);
    let (disk, reference) = (stream_disk(&lab), lab.reference());
    let folder = lab.path("out");
    fs::create_dir(&folder).unwrap();
    let out = folder.to_str().unwrap();
    let ovf = generate::ovf_text(&["a.vmdk", "b.vmdk"], reference.len() as u64, "");
    let path = lab.path("two.ova");
    generate::tar(&path, &[("vm.ovf", ovf.as_bytes()), ("a.vmdk", &disk), ("b.vmdk", &disk)]).unwrap();
    let source = path.to_str().unwrap();
    assert_eq!(code(&tool(&["convert", source, "/nonexistent/x"])), 2, "which disk is not said");
    assert_eq!(code(&tool(&["ova", source, out])), 0);
    assert_eq!(code(&piped(&path, &["ova", "-", out])), 0);
    assert_eq!(code(&piped(&path, &["verify", "-", out])), 0, "each with its own");
    assert_eq!(code(&piped(&path, &["verify", "-", &format!("{out}/a.raw")])), 2, "two disks, one image");
    let second = lab.path("second.raw");
    assert_eq!(code(&tool(&["convert", source, second.to_str().unwrap(), "--disk", "1"])), 0);
    for name in [folder.join("a.raw"), folder.join("b.raw"), second] {
        assert!(fs::read(&name).unwrap() == reference, "{}", name.display());
    }

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&disk).unwrap();
    let packed = packed.finish().unwrap();
    let ovf = generate::ovf_text(&["d.vmdk"], reference.len() as u64, "ovf:compression=\"gzip\"");
    generate::tar(&path, &[("vm.ovf", ovf.as_bytes()), ("d.vmdk", &packed)]).unwrap();
    let target = lab.path("gz.raw");
    let out = target.to_str().unwrap();
    for way in ["file", "pipe"] {
        let done = if way == "file" {
            tool(&["convert", source, out])
        } else {
            piped(&path, &["convert", "-", out])
        };
        assert_eq!(code(&done), 0, "gzip from a {way}");
        assert!(fs::read(&target).unwrap() == reference, "gzip from a {way}");
        fs::remove_file(&target).unwrap();
    }

    let chunk = disk.len() / 3 / 512 * 512 + 100;
    let ovf = generate::ovf_text(&["p.vmdk"], reference.len() as u64, &format!("ovf:chunkSize=\"{chunk}\""));
    fs::write(lab.path("pieces.ovf"), &ovf).unwrap();
    for (index, piece) in disk.chunks(chunk).enumerate() {
        fs::write(lab.path(&format!("p.vmdk.{index:09}")), piece).unwrap();
    }
    let pieces = lab.path("pieces.ovf");
    assert_eq!(code(&tool(&["convert", pieces.to_str().unwrap(), target.to_str().unwrap()])), 0);
    assert!(fs::read(&target).unwrap() == reference);
}

#[test]
fn what_an_ovf_says() {
    let package = Envelope::parse("vm.ovf", generate::ovf_text(&["d.vmdk"], 1 << 30, "").as_bytes()).unwrap();
    let vm = &package.vms[0];
    assert_eq!((vm.name.as_str(), vm.os.as_str(), vm.hardware.as_str()), ("web & mail", "Debian", "vmx-19"));
    assert_eq!((vm.vcpus, vm.memory_mib, vm.efi), (4, 8192, true));
    assert_eq!(vm.disks[0].capacity, 1 << 30);
    assert_eq!(vm.controllers[vm.disks[0].controller.unwrap()].kind, "scsi");
    assert_eq!((vm.nics[0].network.as_str(), vm.nics[0].subtype.as_str()), ("VM Network", "VmxNet3"));
    assert_eq!(vm.left_out, ["CD/DVD drive 1"]);
    // The items in another order: the machine still boots from address 0 of its controller.
    let turned = generate::ovf_text(&["data.vmdk", "system.vmdk"], 1 << 30, "")
        .replace("AddressOnParent>0<", "AddressOnParent>first<")
        .replace("AddressOnParent>1<", "AddressOnParent>0<")
        .replace("AddressOnParent>first<", "AddressOnParent>1<");
    let package = Envelope::parse("vm.ovf", turned.as_bytes()).unwrap();
    let order: Vec<&str> = package.disk_files().map(|(_, _, file)| file.href.as_str()).collect();
    assert_eq!(order, ["system.vmdk", "data.vmdk"]);
    // VirtualBox: other prefixes, StorageItem, capacity without a unit, `/disk/` without `ovf:`.
    let virtualbox = r#"<?xml version="1.0"?><Envelope ovf:version="2.0" xmlns:ovf="o" xmlns:sasd="s" xmlns:epasd="e">
      <References><File ovf:id="file1" ovf:href="box-disk001.vmdk"/></References>
      <DiskSection><Disk ovf:capacity="21474836480" ovf:diskId="vmdisk1" ovf:fileRef="file1"/></DiskSection>
      <VirtualSystem ovf:id="box"><VirtualHardwareSection>
        <Item><InstanceID>3</InstanceID><ResourceType>20</ResourceType><ResourceSubType>AHCI</ResourceSubType></Item>
        <StorageItem><sasd:AddressOnParent>0</sasd:AddressOnParent><sasd:HostResource>/disk/vmdisk1</sasd:HostResource>
          <sasd:InstanceID>6</sasd:InstanceID><sasd:Parent>3</sasd:Parent><sasd:ResourceType>17</sasd:ResourceType></StorageItem>
        <EthernetPortItem><epasd:Connection>NAT</epasd:Connection><epasd:ResourceType>10</epasd:ResourceType>
          <epasd:Address>080027aabbcc</epasd:Address></EthernetPortItem>
      </VirtualHardwareSection></VirtualSystem></Envelope>"#;
    let package = Envelope::parse("box.ovf", virtualbox.as_bytes()).unwrap();
    let vm = &package.vms[0];
    assert_eq!(vm.disks[0].capacity, 20 << 30);
    assert_eq!(vm.controllers[0].kind, "sata");
    assert_eq!(vm.nics[0].mac.as_deref(), Some("080027aabbcc"));
}

#[test]
fn hostile_packages_are_refused() {
    let good = generate::ovf_text(&["d.vmdk"], 1 << 20, "");
    let cases: &[(&str, String)] = &[
        ("document type", good.replacen("<Envelope", "<!DOCTYPE x [<!ENTITY a \"b\">]><Envelope", 1)),
        ("not closed", good.replacen("</Envelope>", "", 1)),
        ("closes too much", format!("{good}</x>")),
        ("no XML", "\0\u{1}garbage".to_owned()),
        ("deep", "<a>".repeat(10_000)),
        ("no machine", "<Envelope/>".to_owned()),
        ("unknown file", good.replace("fileRef=\"file0\"", "fileRef=\"other\"")),
        ("unknown disk", good.replace("/disk/vmdisk0", "/disk/none")),
        ("capacity overflows", good.replace("Units=\"byte\"", "Units=\"byte * 2^63\"")),
        ("unknown unit", good.replace("Units=\"byte\"", "Units=\"furlongs\"")),
        ("chunks of 0", generate::ovf_text(&["d.vmdk"], 1, "ovf:chunkSize=\"0\"")),
        ("odd compression", generate::ovf_text(&["d.vmdk"], 1, "ovf:compression=\"rot13\"")),
        ("difference disk", good.replace("ovf:diskId", "ovf:parentRef=\"p\" ovf:diskId")),
    ];
    for (name, text) in cases {
        assert!(Envelope::parse("x.ovf", text.as_bytes()).is_err(), "{name} was accepted");
    }
    let lab = Lab::new(32);
    let secret = lab.path("secret.vmdk");
    fs::write(&secret, stream_disk(&lab)).unwrap();
    let sub: PathBuf = lab.path("sub");
    fs::create_dir(&sub).unwrap();
    for (index, href) in
        ["../secret.vmdk", secret.to_str().unwrap(), "a/../../secret.vmdk"].iter().enumerate()
    {
        let ovf = sub.join(format!("{index}.ovf"));
        fs::write(&ovf, generate::ovf_text(&[href], 1 << 20, "")).unwrap();
        let target = lab.path("leak.raw");
        assert_eq!(code(&tool(&["convert", ovf.to_str().unwrap(), target.to_str().unwrap()])), 3, "{href}");
        assert!(!target.exists());
    }
    let ova = lab.path("x.ova");
    let (target, ova_name) = (lab.path("x.raw"), ova.to_str().unwrap());
    let disk = stream_disk(&lab);
    generate::tar(&ova, &[("vm.ovf", good.as_bytes()), ("d.vmdk", &disk)]).unwrap();
    let whole = fs::read(&ova).unwrap();
    let len = whole.len();
    for (name, bytes) in [
        ("cut in the disk", whole[..len / 2].to_vec()),
        ("cut in a header", whole[..100].to_vec()),
        ("checksum", [&whole[..10], b"X", &whole[11..]].concat()),
    ] {
        fs::write(&ova, bytes).unwrap();
        for output in [
            tool(&["convert", ova_name, target.to_str().unwrap(), "--from", "raw"]).status.code().map(|_| 3),
            piped(&ova, &["convert", "-", target.to_str().unwrap()]).status.code(),
        ] {
            assert!(matches!(output, Some(3..=5)), "{name}: {output:?}");
        }
        let _ = fs::remove_file(&target);
    }
}

#[test]
fn vmx_lists_every_disk_and_nic() {
    let vmx = "\u{feff}.encoding = \"UTF-8\"\nconfig.version = \"8\"\nvirtualHW.version = \"19\"\n\
        displayName = \"a |22quoted|22 name\"\nguestOS = \"debian12-64\"\nmemsize = \"4096\"\nnumvcpus = \"2\"\n\
        firmware = \"efi\"\nuefi.secureBoot.enabled = \"TRUE\"\nscsi0.present = \"TRUE\"\n\
        scsi0:0.present = \"TRUE\"\nscsi0:0.fileName = \"a.vmdk\"\nscsi0:1.present = \"FALSE\"\n\
        scsi0:1.fileName = \"gone.vmdk\"\nnvme0:0.present = \"TRUE\"\nnvme0:0.fileName = \"n.vmdk\"\n\
        nvme0:0.mode = \"independent-persistent\"\nsata0:0.present = \"TRUE\"\nsata0:0.fileName = \"x.iso\"\n\
        sata0:0.deviceType = \"cdrom-image\"\nethernet0.present = \"TRUE\"\nethernet0.addressType = \"static\"\n\
        ethernet0.address = \"00:50:56:AA:BB:CC\"\nethernet0.networkName = \"prod\"\n\
        ethernet1.present = \"TRUE\"\nethernet1.generatedAddress = \"00:0c:29:01:02:03\"\nusb.present = \"TRUE\"\n";
    let vm = VmxVm::parse("a.vmx", vmx.as_bytes()).unwrap();
    assert_eq!(vm.name, "a \"quoted\" name");
    assert!(vm.efi && vm.secure_boot && !vm.encrypted);
    let disks: Vec<_> = vm.disks.iter().map(|d| (d.slot.as_str(), d.bus, d.file.as_str())).collect();
    assert_eq!(disks, [("scsi0:0", "scsi", "a.vmdk"), ("nvme0:0", "nvme", "n.vmdk")]);
    assert_eq!(vm.disks[1].mode, "independent-persistent");
    assert_eq!(vm.nics[0].mac.as_deref(), Some("00:50:56:aa:bb:cc"));
    assert!(vm.nics[0].static_mac && !vm.nics[1].static_mac);
    assert_eq!(vm.left_out, ["sata0:0: CD-ROM x.iso", "usb"]);
    let vmsd = "snapshot.numSnapshots = \"2\"\nsnapshot.current = \"3\"\nsnapshot0.uid = \"1\"\n\
        snapshot0.displayName = \"first\"\nsnapshot0.numDisks = \"1\"\nsnapshot0.disk0.fileName = \"a.vmdk\"\n\
        snapshot1.uid = \"3\"\nsnapshot1.parent = \"1\"\n";
    let snapshots = parse_vmsd("a.vmsd", vmsd.as_bytes()).unwrap();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(snapshots[0].disks, ["a.vmdk"]);
    assert!(snapshots[1].current && snapshots[1].parent.as_deref() == Some("1"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.vmx");
    fs::write(&path, vmx).unwrap();
    let info = || {
        let output = tool(&["info", path.to_str().unwrap(), "-o", "json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let said = info();
    assert_eq!(said["disks"][0]["file"], "a.vmdk");
    assert_eq!(said["snapshots"], serde_json::json!([]));
    fs::write(folder.path().join("a.vmsd"), vmsd).unwrap();
    assert_eq!(info()["snapshots"][0]["name"], "first");
}
