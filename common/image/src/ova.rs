//! OVA: a whole VM in a tar, as VMware, VirtualBox and others take it: an OVF description, a stream-optimised VMDK for
//! each disk ([`crate::vmdk`]), and their digests at the end.
//!
//! The size of a stream is known only when it is written, so its tar header is filled in afterwards: the file is one
//! that can be seeked in. Digests go last, which OVF 1.1 allows. A crash leaves a file without them and without the
//! tar's end.

use std::fmt::Write as _;
use std::io::{self, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use crate::member::header;

/// What an OVA says of its VM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OvaVm {
    pub name: String,
    pub description: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub uefi: bool,
    /// Bytes of each disk.
    pub disks: Vec<u64>,
    /// The network of each NIC, with its MAC address where that is to be kept.
    pub nics: Vec<(String, String)>,
}

/// Writes an OVA. Disks come in the order of the VM's.
pub struct OvaWriter<F> {
    out: F,
    digests: String,
    next: usize,
    disks: usize,
}

fn file_name(number: usize) -> String {
    format!("disk{}.vmdk", number + 1)
}

impl<F: Write + Seek> OvaWriter<F> {
    pub fn new(out: F, vm: &OvaVm) -> io::Result<Self> {
        let mut writer = Self { out, digests: String::new(), next: 0, disks: vm.disks.len() };
        let text = describe(vm);
        writer.member("machine.ovf", text.as_bytes())?;
        writer.note("machine.ovf", &Sha256::digest(text.as_bytes()));
        Ok(writer)
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(header(name, bytes.len() as u64)?.as_bytes())?;
        self.out.write_all(bytes)?;
        self.fill_up(bytes.len() as u64)
    }

    fn fill_up(&mut self, len: u64) -> io::Result<()> {
        let padding = usize::try_from(len.next_multiple_of(512) - len).unwrap_or(0);
        self.out.write_all(&[0; 512][..padding])
    }

    fn note(&mut self, file: &str, digest: &[u8]) {
        let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let _infallible = writeln!(self.digests, "SHA256({file})= {hex}");
    }

    /// The next disk; `fill` writes its VMDK stream.
    pub fn disk<E: From<io::Error>>(
        &mut self,
        fill: impl FnOnce(&str, &mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        let file = file_name(self.next);
        self.next += 1;
        let head_at = self.out.stream_position()?;
        self.out.write_all(header(&file, 0)?.as_bytes())?;
        let mut hashed = Hashed { out: &mut self.out, sha: Sha256::new(), len: 0 };
        fill(&file, &mut hashed)?;
        let (len, digest) = (hashed.len, hashed.sha.finalize());
        self.note(&file, &digest);
        self.fill_up(len)?;
        let end = self.out.stream_position()?;
        self.out.seek(SeekFrom::Start(head_at))?;
        self.out.write_all(header(&file, len)?.as_bytes())?;
        self.out.seek(SeekFrom::Start(end))?;
        Ok(())
    }

    /// Digests, and the end of the tar. Every disk has been written.
    pub fn finish(mut self) -> io::Result<F> {
        if self.next != self.disks {
            return Err(io::Error::other("a disk was not written"));
        }
        let digests = std::mem::take(&mut self.digests);
        self.member("machine.mf", digests.as_bytes())?;
        self.out.write_all(&[0; 1024])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

struct Hashed<'a, F> {
    out: &'a mut F,
    sha: Sha256,
    len: u64,
}

impl<F: Write> Write for Hashed<'_, F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = self.out.write(buf)?;
        self.sha.update(&buf[..len]);
        self.len += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control() || *c == '\n') {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// An `Item` of the virtual hardware: its elements in the order of their names, as the schema wants them.
fn item(elements: &[(&str, &str)]) -> String {
    let element = |(name, text): &(&str, &str)| format!("<rasd:{name}>{}</rasd:{name}>", escape(text));
    format!("      <Item>{}</Item>\n", elements.iter().map(element).collect::<String>())
}

/// The networks that its cards are in, and the cards.
fn describe_nics(vm: &OvaVm) -> (String, String) {
    let (mut networks, mut items) = (String::new(), String::new());
    let mut named: Vec<&str> = vm.nics.iter().map(|(network, _)| network.as_str()).collect();
    named.sort_unstable();
    named.dedup();
    for network in named {
        let network = escape(network);
        let _infallible = writeln!(
            networks,
            "    <Network ovf:name=\"{network}\"><Description>{network}</Description></Network>"
        );
    }
    for (number, (network, mac)) in vm.nics.iter().enumerate() {
        let mut elements = vec![];
        if !mac.is_empty() {
            elements.push(("Address", mac.as_str()));
        }
        let (place, id, name) =
            (number.to_string(), (300 + number).to_string(), format!("NIC {}", number + 1));
        elements.extend([("AddressOnParent", place.as_str()), ("AutomaticAllocation", "true")]);
        elements.extend([("Connection", network.as_str()), ("ElementName", &name), ("InstanceID", &id)]);
        elements.extend([("ResourceSubType", "E1000"), ("ResourceType", "10")]);
        items.push_str(&item(&elements));
    }
    (networks, items)
}

fn describe(vm: &OvaVm) -> String {
    const STREAM: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
    let (mut references, mut disks, mut items) = (String::new(), String::new(), String::new());
    for (number, size) in vm.disks.iter().enumerate() {
        let file = file_name(number);
        let _infallible = writeln!(references, "    <File ovf:href=\"{file}\" ovf:id=\"file{number}\"/>");
        let _infallible = writeln!(
            disks,
            "    <Disk ovf:capacity=\"{size}\" ovf:capacityAllocationUnits=\"byte\" ovf:diskId=\"disk{number}\" ovf:fileRef=\"file{number}\" ovf:format=\"{STREAM}\"/>"
        );
        // The controller itself has the place 7.
        let place = if number < 7 { number } else { number + 1 };
        items.push_str(&item(&[
            ("AddressOnParent", &place.to_string()),
            ("ElementName", &format!("Disk {}", number + 1)),
            ("HostResource", &format!("ovf:/disk/disk{number}")),
            ("InstanceID", &(100 + number).to_string()),
            ("Parent", "3"),
            ("ResourceType", "17"),
        ]));
    }
    let (networks, cards) = describe_nics(vm);
    items.push_str(&cards);
    let (vcpus, memory) = (vm.vcpus.to_string(), vm.memory_mib.to_string());
    let base = item(&[
        ("AllocationUnits", "hertz * 10^6"),
        ("ElementName", &format!("{vcpus} CPUs")),
        ("InstanceID", "1"),
        ("ResourceType", "3"),
        ("VirtualQuantity", &vcpus),
    ]) + &item(&[
        ("AllocationUnits", "byte * 2^20"),
        ("ElementName", &format!("{memory} MiB")),
        ("InstanceID", "2"),
        ("ResourceType", "4"),
        ("VirtualQuantity", &memory),
    ]) + &item(&[
        ("Address", "0"),
        ("ElementName", "SCSI controller"),
        ("InstanceID", "3"),
        ("ResourceSubType", "lsilogic"),
        ("ResourceType", "6"),
    ]);
    let firmware = if vm.uefi {
        "      <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>\n"
    } else {
        ""
    };
    let (name, description) = (escape(&vm.name), escape(&vm.description));
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
{references}  </References>
  <DiskSection>
    <Info>Disks</Info>
{disks}  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
{networks}  </NetworkSection>
  <VirtualSystem ovf:id="machine">
    <Info>A virtual machine</Info>
    <Name>{name}</Name>
    <AnnotationSection><Info>Notes</Info><Annotation>{description}</Annotation></AnnotationSection>
    <OperatingSystemSection ovf:id="1"><Info>The system is not known</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Hardware</Info>
      <System><vssd:ElementName>Hardware</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemIdentifier>machine</vssd:VirtualSystemIdentifier><vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType></System>
{base}{items}{firmware}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use xenith_common_block::MemorySource;

    use super::*;

    #[test]
    fn an_ova_holds_what_it_lists() {
        let vm = OvaVm {
            name: "a & b".into(),
            vcpus: 2,
            memory_mib: 512,
            uefi: true,
            disks: vec![1 << 20, 2 << 20],
            nics: vec![
                ("VM Network".into(), "00:16:3e:00:00:01".into()),
                ("VM Network".into(), String::new()),
            ],
            ..OvaVm::default()
        };
        let mut writer = OvaWriter::new(Cursor::new(Vec::new()), &vm).unwrap();
        for size in &vm.disks {
            let source = MemorySource::new(vec![9; *size as usize]);
            let fill = |name: &str, out: &mut dyn Write| {
                crate::vmdk::write(&source, name, out, &mut |_| Ok(())).map(drop).map_err(io::Error::other)
            };
            writer.disk(fill).unwrap();
        }
        let bytes = writer.finish().unwrap().into_inner();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.push((name, content));
        }
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["machine.ovf", "disk1.vmdk", "disk2.vmdk", "machine.mf"]);
        let digests = String::from_utf8(found[3].1.clone()).unwrap();
        for (name, content) in &found[..3] {
            let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(digests.contains(&format!("SHA256({name})= {hex}")), "{digests}");
        }
        let text = String::from_utf8(found[0].1.clone()).unwrap();
        for part in ["a &amp; b", "vmw:value=\"efi\"", "ovf:capacity=\"2097152\"", "00:16:3e:00:00:01"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(text.matches("<Network ").count(), 1);
        let unfinished = OvaWriter::new(Cursor::new(Vec::new()), &vm).unwrap();
        assert!(unfinished.finish().is_err());
    }
}
