//! OVA: a tar of an OVF description, a VMDK stream per disk, and their digests at the end.
//!
//! The size of a stream is known only when it is written, so its tar header is filled in afterwards; digests go
//! last, which OVF 1.1 and later allow.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use xenith_common_block::BlockSource;

use super::{failed, in_place, stream};
use crate::error::Result;
use crate::id::hex;
use crate::reader::BackupDisk;
use crate::restore::RestoreProgress;

/// The machine an OVA describes: what a backup of disks alone does not know.
#[derive(Debug, Clone)]
pub struct Machine {
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u64,
}

/// Writes all `disks` (name and disk) to the new file `path`.
pub fn ova(
    machine: &Machine,
    disks: &[(String, BackupDisk)],
    path: &Path,
    progress: &RestoreProgress,
) -> Result<()> {
    in_place(path, |out, _| {
        let io = |source| failed("write", path, source);
        let files: Vec<String> = (1..=disks.len()).map(|number| format!("disk{number}.vmdk")).collect();
        let sizes: Vec<u64> = disks.iter().map(|(_, disk)| disk.size()).collect();
        let text = describe(machine, &files, &sizes);
        let mut digests = String::new();
        member(out, "machine.ovf", text.as_bytes()).map_err(io)?;
        note(&mut digests, "machine.ovf", &Sha256::digest(text.as_bytes()));
        for ((_, disk), file) in disks.iter().zip(&files) {
            let head_at = out.stream_position().map_err(io)?;
            out.write_all(header(file, 0).as_bytes()).map_err(io)?;
            let mut hashed = Hashed { out, sha: Sha256::new() };
            let size = stream(disk, &mut hashed, file, progress)?;
            note(&mut digests, file, &hashed.sha.finalize());
            let end = out.stream_position().map_err(io)?;
            out.seek(SeekFrom::Start(head_at)).map_err(io)?;
            out.write_all(header(file, size).as_bytes()).map_err(io)?;
            // A stream is a whole number of sectors, so nothing has to be filled up.
            out.seek(SeekFrom::Start(end)).map_err(io)?;
        }
        member(out, "machine.mf", digests.as_bytes()).map_err(io)?;
        out.write_all(&[0; 1024]).map_err(io)
    })
}

struct Hashed<'a> {
    out: &'a mut BufWriter<File>,
    sha: Sha256,
}

impl Write for Hashed<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let len = self.out.write(buf)?;
        self.sha.update(&buf[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn note(digests: &mut String, file: &str, digest: &[u8]) {
    let _infallible = writeln!(digests, "SHA256({file})= {}", hex(digest));
}

fn header(name: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).expect("our names are short and plain");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}

fn member(out: &mut BufWriter<File>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(header(name, bytes.len() as u64).as_bytes())?;
    out.write_all(bytes)?;
    out.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()])
}

fn escape(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

/// The OVF of a plain machine: one SCSI controller for all disks, one network.
fn describe(machine: &Machine, files: &[String], sizes: &[u64]) -> String {
    const STREAM: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
    let (mut references, mut section, mut items) = (String::new(), String::new(), String::new());
    for (number, (file, size)) in files.iter().zip(sizes).enumerate() {
        let _infallible = writeln!(references, "    <File ovf:href=\"{file}\" ovf:id=\"file{number}\"/>");
        let _infallible = writeln!(
            section,
            "    <Disk ovf:capacity=\"{size}\" ovf:capacityAllocationUnits=\"byte\" ovf:diskId=\"disk{number}\" ovf:fileRef=\"file{number}\" ovf:format=\"{STREAM}\"/>"
        );
        let _infallible = writeln!(
            items,
            "      <Item><rasd:AddressOnParent>{number}</rasd:AddressOnParent><rasd:ElementName>Disk {number}</rasd:ElementName><rasd:HostResource>ovf:/disk/disk{number}</rasd:HostResource><rasd:InstanceID>{}</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>",
            10 + number
        );
    }
    let (name, vcpus, memory) = (escape(&machine.name), machine.vcpus, machine.memory_mib);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
{references}  </References>
  <DiskSection>
    <Info>Disks</Info>
{section}  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="VM Network"><Description>VM Network</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="machine">
    <Info>A machine restored from its backup</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="1"><Info>The system is not known</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Hardware</Info>
      <System><vssd:ElementName>Hardware</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemIdentifier>machine</vssd:VirtualSystemIdentifier><vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType></System>
      <Item><rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits><rasd:ElementName>{vcpus} CPUs</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>{vcpus}</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>{memory} MiB</rasd:ElementName><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>{memory}</rasd:VirtualQuantity></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:ElementName>SCSI controller</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>lsilogic</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
{items}      <Item><rasd:AddressOnParent>7</rasd:AddressOnParent><rasd:AutomaticAllocation>true</rasd:AutomaticAllocation><rasd:Connection>VM Network</rasd:Connection><rasd:ElementName>Network</rasd:ElementName><rasd:InstanceID>4</rasd:InstanceID><rasd:ResourceSubType>E1000</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#
    )
}
