//! The disks of a snapshot, and what changed-block tracking says of them.

use xenith_common_block::{ByteRange, RangeSet};

use super::client::{MoRef, Vim};
use super::soap::{Body, Node};
use crate::error::{Result, Retry};

/// A disk as a snapshot has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotDisk {
    pub key: u64,
    pub capacity: u64,
    /// `[datastore] folder/file.vmdk`.
    pub path: String,
    pub change_id: Option<String>,
    /// Controller, its number, and the disk's number on it, as NFC leases call a disk; empty where that is not told.
    pub slot: String,
    /// It is in no snapshot: what is read of it is the disk as it is now.
    pub independent: bool,
}

/// The disks of a snapshot's `config`, in its order; `None` when one of them does not tell its key or size, for it would be
/// left out in silence.
pub fn disks_of(config: &Node) -> Option<Vec<SnapshotDisk>> {
    let devices: Vec<&Node> =
        config.at("hardware").into_iter().flat_map(|hardware| hardware.all("device")).collect();
    let disks = devices.iter().filter(|device| device.kind == "VirtualDisk");
    disks.map(|device| disk(device, &devices)).collect()
}

fn disk(device: &Node, devices: &[&Node]) -> Option<SnapshotDisk> {
    let bytes = device.number_at("capacityInBytes").filter(|&bytes| bytes > 0);
    let controller = device.text_at("controllerKey");
    let controller = devices.iter().find(|other| other.text_at("key") == controller);
    let slot = controller.zip(device.number_at("unitNumber")).and_then(|(controller, unit)| {
        Some(format!("{}{}:{unit}", controller.kind, controller.number_at("busNumber")?))
    });
    Some(SnapshotDisk {
        key: device.number_at("key")?,
        capacity: bytes.or_else(|| device.number_at("capacityInKB").map(|kb| kb << 10))?,
        path: device.text_at("backing.fileName").to_owned(),
        change_id: Some(device.text_at("backing.changeId").to_owned()).filter(|id| !id.is_empty()),
        slot: slot.unwrap_or_default(),
        independent: matches!(
            device.text_at("backing.diskMode"),
            "independent_persistent" | "independent_nonpersistent"
        ),
    })
}

/// Asks for areas changed since the change id `since` (`*`: for those in use), page by page: an answer covers a stretch
/// and says how far.
pub fn changed(
    vim: &Vim,
    (vm, snapshot): (&MoRef, &MoRef),
    disk: &SnapshotDisk,
    since: &str,
) -> Result<RangeSet> {
    let mut ranges = RangeSet::new();
    let mut at = 0;
    while at < disk.capacity {
        let body = Body::new()
            .reference("snapshot", snapshot)
            .number("deviceKey", disk.key)
            .number("startOffset", at)
            .text("changeId", since);
        let info = vim.call("QueryChangedDiskAreas", vm, &body)?;
        let bad = |detail: &str| vim.error("QueryChangedDiskAreas", detail.to_owned(), Retry::Never);
        let start = info.number_at("startOffset").ok_or_else(|| bad("an answer without a start"))?;
        let len = info.number_at("length").ok_or_else(|| bad("an answer without a length"))?;
        let end = start.checked_add(len).filter(|&end| start <= at && end > at);
        let end = end.ok_or_else(|| bad("an answer for another stretch"))?;
        for area in info.all("changedArea") {
            let (start, len) = (area.number_at("start"), area.number_at("length"));
            let range = start.zip(len).and_then(|(s, l)| Some(ByteRange::new(s, s.checked_add(l)?)));
            match range.filter(|range| range.end <= disk.capacity) {
                Some(range) => ranges.insert(range),
                None => return Err(bad("an area past the end of the disk")),
            }
        }
        at = end;
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::super::soap::parse;
    use super::*;

    #[test]
    fn a_disk_is_known_by_its_place() {
        let text = "<x><config><hardware>\
            <device xsi:type=\"ParaVirtualSCSIController\"><key>1000</key><busNumber>1</busNumber></device>\
            <device xsi:type=\"VirtualDisk\"><key>2000</key><controllerKey>1000</controllerKey><unitNumber>2</unitNumber>\
            <capacityInKB>4</capacityInKB><backing><fileName>[a] b/c.vmdk</fileName><diskMode>independent_persistent</diskMode>\
            <changeId>52/1</changeId></backing></device>\
            <device xsi:type=\"VirtualDisk\"><key>2001</key><capacityInBytes>512</capacityInBytes></device>\
            </hardware></config></x>";
        let parsed = parse(text).unwrap();
        let found = disks_of(parsed.child("config").unwrap()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].slot.as_str(), found[0].capacity), ("ParaVirtualSCSIController1:2", 4096));
        assert_eq!((found[0].change_id.as_deref(), found[1].change_id.as_deref()), (Some("52/1"), None));
        assert_eq!((found[1].slot.as_str(), found[1].capacity), ("", 512));
        assert_eq!((found[0].independent, found[1].independent), (true, false));
        let text = "<x><config><hardware><device xsi:type=\"VirtualDisk\"><key>2000</key></device></hardware></config></x>";
        assert_eq!(
            disks_of(parse(text).unwrap().child("config").unwrap()),
            None,
            "a disk without a size is dropped"
        );
    }
}
