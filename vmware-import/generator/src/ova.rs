//! The tar of an OVA, and an OVF text for it.

use std::fs::File;
use std::io::{Result, Write};
use std::path::Path;

/// Writes a ustar archive of `members`.
pub fn tar(path: &Path, members: &[(&str, &[u8])]) -> Result<()> {
    let mut out = File::create(path)?;
    for (name, bytes) in members {
        let mut head = [0u8; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[100..108].copy_from_slice(b"0000644\0");
        head[108..116].copy_from_slice(b"0000000\0");
        head[116..124].copy_from_slice(b"0000000\0");
        head[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        head[136..148].copy_from_slice(b"00000000000\0");
        head[148..156].fill(b' ');
        head[156] = b'0';
        head[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = head.iter().map(|&byte| u32::from(byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.write_all(&head)?;
        out.write_all(bytes)?;
        out.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()])?;
    }
    out.write_all(&[0; 1024])
}

/// An OVF as ovftool writes it, with one disk per name.
#[must_use]
pub fn ovf_text(disks: &[&str], capacity: u64, extra: &str) -> String {
    let files: String = disks
        .iter()
        .enumerate()
        .map(|(i, name)| format!("<File ovf:href=\"{name}\" ovf:id=\"file{i}\" {extra}/>"))
        .collect();
    let section: String = (0..disks.len())
        .map(|i| {
            format!(
                "<Disk ovf:capacity=\"{capacity}\" ovf:capacityAllocationUnits=\"byte\" ovf:diskId=\"vmdisk{i}\" \
                 ovf:fileRef=\"file{i}\" ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\"/>"
            )
        })
        .collect();
    let items: String = (0..disks.len())
        .map(|i| {
            format!(
                "<Item><rasd:AddressOnParent>{i}</rasd:AddressOnParent><rasd:ElementName>disk {i}</rasd:ElementName>\
                 <rasd:HostResource>ovf:/disk/vmdisk{i}</rasd:HostResource><rasd:InstanceID>{}</rasd:InstanceID>\
                 <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>",
                10 + i
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\" \
         xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData\" \
         xmlns:vmw=\"http://www.vmware.com/schema/ovf\" xmlns:vssd=\"x\">\
         <References>{files}</References><DiskSection><Info>d</Info>{section}</DiskSection>\
         <NetworkSection><Info>n</Info><Network ovf:name=\"VM Network\"/></NetworkSection>\
         <VirtualSystem ovf:id=\"vm\"><Info>v</Info><Name>web &amp; mail</Name>\
         <OperatingSystemSection ovf:id=\"94\"><Info>o</Info><Description>Debian</Description></OperatingSystemSection>\
         <VirtualHardwareSection><Info>h</Info>\
         <System><vssd:VirtualSystemType>vmx-19</vssd:VirtualSystemType></System>\
         <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>\
         <rasd:VirtualQuantity>4</rasd:VirtualQuantity></Item>\
         <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID>\
         <rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>8192</rasd:VirtualQuantity></Item>\
         <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>\
         <rasd:ResourceType>6</rasd:ResourceType></Item>{items}\
         <Item><rasd:Connection>VM Network</rasd:Connection><rasd:ElementName>eth0</rasd:ElementName>\
         <rasd:InstanceID>20</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>\
         <rasd:ResourceType>10</rasd:ResourceType></Item>\
         <Item><rasd:ElementName>CD/DVD drive 1</rasd:ElementName><rasd:InstanceID>21</rasd:InstanceID>\
         <rasd:ResourceType>15</rasd:ResourceType></Item>\
         <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>\
         </VirtualHardwareSection></VirtualSystem></Envelope>"
    )
}
