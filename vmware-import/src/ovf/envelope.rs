//! The XML of an OVF.

use std::borrow::Cow;
use std::collections::HashMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde::Serialize;

use crate::error::{ImportError, Result};

/// No package comes near; ovftool writes 20 KiB.
const MAX_XML: usize = 8 << 20;
const MAX_DEPTH: usize = 64;

/// A file the package is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileRef {
    pub id: String,
    pub href: String,
    pub size: Option<u64>,
    pub gzip: bool,
    /// The file is cut into pieces `href.000000000`, `href.000000001`, … of this size.
    pub chunk_size: Option<u64>,
}

/// A disk of the disk section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct DiskDef {
    id: String,
    file: Option<String>,
    capacity: u64,
    format: String,
    parent: Option<String>,
}

/// A disk as a VM has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskItem {
    pub id: String,
    /// Index into [`Package::files`]; `None` for an empty disk.
    pub file: Option<usize>,
    /// In bytes.
    pub capacity: u64,
    pub format: String,
    pub controller: Option<usize>,
    /// Address on the controller.
    pub unit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Controller {
    pub instance: String,
    /// `ide`, `scsi`, `sata`, `nvme` or `other`.
    pub kind: &'static str,
    pub subtype: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nic {
    pub name: String,
    pub network: String,
    pub mac: Option<String>,
    pub subtype: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OvfVm {
    pub name: String,
    pub os: String,
    pub hardware: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub efi: bool,
    pub secure_boot: bool,
    pub controllers: Vec<Controller>,
    pub disks: Vec<DiskItem>,
    pub nics: Vec<Nic>,
    /// Devices that are not brought along, by their name.
    pub left_out: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Package {
    pub files: Vec<FileRef>,
    pub networks: Vec<String>,
    pub vms: Vec<OvfVm>,
    pub warnings: Vec<String>,
}

/// An element's children and text, kept small: only what the sections need.
#[derive(Default)]
struct Item {
    fields: HashMap<String, String>,
}

impl Item {
    fn get(&self, key: &str) -> &str {
        self.fields.get(key).map_or("", String::as_str)
    }
}

#[derive(Default)]
struct Parser {
    package: Package,
    disks: Vec<DiskDef>,
    items: Vec<(usize, Item)>,
    item: Option<Item>,
    path: Vec<String>,
    text: String,
    vm: Option<usize>,
}

impl Package {
    /// Parses the XML of `file`.
    pub fn parse(file: &str, xml: &[u8]) -> Result<Self> {
        if xml.len() > MAX_XML {
            return Err(ImportError::damaged(file, 0, "OVF", "is larger than 8 MiB"));
        }
        let text = decode(xml);
        let mut reader = Reader::from_str(&text);
        let mut parser = Parser::default();
        loop {
            let at = reader.buffer_position();
            let bad = |detail: String| ImportError::damaged(file, at, "OVF", detail);
            match reader.read_event().map_err(|error| bad(format!("is not sound XML: {error}")))? {
                Event::DocType(_) => return Err(bad("has a document type, which no OVF needs".to_owned())),
                Event::Start(element) => {
                    parser.open(&element).map_err(bad)?;
                    if parser.path.len() > MAX_DEPTH {
                        return Err(bad("is nested too deeply".to_owned()));
                    }
                }
                Event::Empty(element) => {
                    parser.open(&element).map_err(bad)?;
                    parser.close().map_err(bad)?;
                }
                Event::End(_) => parser.close().map_err(bad)?,
                Event::Text(text) => {
                    parser.text.push_str(&text);
                }
                Event::GeneralRef(entity) => parser.text.push(entity_char(&entity)),
                Event::Eof if parser.path.is_empty() => break,
                Event::Eof => return Err(ImportError::truncated(file, "OVF", at + 1, at)),
                _ => {}
            }
        }
        parser.finish(file)
    }

    /// Every disk of every VM with its file, in order.
    pub fn disk_files(&self) -> impl Iterator<Item = (&OvfVm, &DiskItem, &FileRef)> {
        self.vms.iter().flat_map(move |vm| {
            vm.disks.iter().filter_map(move |disk| Some((vm, disk, self.files.get(disk.file?)?)))
        })
    }
}

/// The text of an XML file: UTF-8, what its byte order mark says, or what its first line says.
pub(crate) fn decode(xml: &[u8]) -> Cow<'_, str> {
    if let Some((encoding, mark)) = encoding_rs::Encoding::for_bom(xml) {
        return encoding.decode_without_bom_handling(&xml[mark..]).0;
    }
    let head = String::from_utf8_lossy(&xml[..xml.len().min(200)]);
    let label = head.split_once("encoding=").and_then(|(_, rest)| {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        rest[1..].split_once(quote).map(|(label, _)| label.to_owned())
    });
    let encoding = label.and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    encoding.unwrap_or(encoding_rs::UTF_8).decode_without_bom_handling(xml).0
}

/// The five entities of XML; anything else would need a document type.
pub(crate) fn entity_char(name: &str) -> char {
    match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => name.strip_prefix('#').and_then(character).unwrap_or('\u{fffd}'),
    }
}

/// `10` or `x0a` of a character reference.
fn character(digits: &str) -> Option<char> {
    let code = match digits.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    char::from_u32(code)
}

fn local(name: &str) -> String {
    name.rsplit(':').next().unwrap_or_default().to_owned()
}

/// Attributes by local name.
fn attributes(element: &BytesStart<'_>) -> Result<HashMap<String, String>, String> {
    let mut found = HashMap::new();
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| format!("has a bad attribute: {error}"))?;
        let value = quick_xml::escape::unescape(&attribute.value)
            .map_err(|error| format!("has a bad attribute: {error}"))?;
        found.insert(local(attribute.key.as_ref()), value.into_owned());
    }
    Ok(found)
}

impl Parser {
    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        let name = local(element.name().as_ref());
        let mut attributes = attributes(element)?;
        let mut take = |key: &str| attributes.remove(key).unwrap_or_default();
        match name.as_str() {
            "File" => self.file(&mut take)?,
            "Disk" => self.disk(&mut take)?,
            "Network" => self.package.networks.push(take("name")),
            "VirtualSystem" => {
                self.package.vms.push(OvfVm { name: take("id"), ..OvfVm::default() });
                self.vm = Some(self.package.vms.len() - 1);
            }
            "Item" | "StorageItem" | "EthernetPortItem" => self.item = Some(Item::default()),
            // ovftool's extra configuration: <vmw:Config vmw:key="firmware" vmw:value="efi"/>
            "Config" | "ExtraConfig" => {
                let (key, value) = (take("key"), take("value"));
                if let Some(vm) = self.vm.map(|index| &mut self.package.vms[index]) {
                    match key.as_str() {
                        "firmware" => vm.efi |= value.eq_ignore_ascii_case("efi"),
                        "bootOptions.efiSecureBootEnabled" | "uefi.secureBoot.enabled" => {
                            vm.secure_boot |= value.eq_ignore_ascii_case("true");
                        }
                        _ => {}
                    }
                }
            }
            "BIOS" => {
                let kind = take("type");
                if let Some(vm) = self.vm.map(|index| &mut self.package.vms[index]) {
                    vm.efi |= kind.eq_ignore_ascii_case("EFI");
                }
            }
            _ => {}
        }
        self.path.push(name);
        self.text.clear();
        Ok(())
    }

    fn file(&mut self, take: &mut impl FnMut(&str) -> String) -> Result<(), String> {
        let (id, href, size) = (take("id"), take("href"), take("size"));
        let (compression, chunk) = (take("compression"), take("chunkSize"));
        let gzip = match compression.to_ascii_lowercase().as_str() {
            "" | "identity" => false,
            "gzip" => true,
            other => return Err(format!("has a file with compression {other:?}")),
        };
        let chunk_size = if chunk.is_empty() { None } else { Some(parse(&chunk, "chunkSize")?) };
        if chunk_size == Some(0) {
            return Err("has a chunkSize of 0".to_owned());
        }
        self.package.files.push(FileRef { id, href, size: size.parse().ok(), gzip, chunk_size });
        Ok(())
    }

    fn disk(&mut self, take: &mut impl FnMut(&str) -> String) -> Result<(), String> {
        let (id, file, capacity, units) =
            (take("diskId"), take("fileRef"), take("capacity"), take("capacityAllocationUnits"));
        let unit =
            allocation_unit(&units).ok_or_else(|| format!("has a unit {units:?} that is not known"))?;
        let count: u64 = if capacity.is_empty() { 0 } else { parse(&capacity, "capacity")? };
        let capacity = count.checked_mul(unit).ok_or("has a disk whose capacity overflows")?;
        let parent = Some(take("parentRef")).filter(|p| !p.is_empty());
        let file = Some(file).filter(|f| !f.is_empty());
        self.disks.push(DiskDef { id, file, capacity, format: take("format"), parent });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(name) = self.path.pop() else { return Err("closes more than it opens".to_owned()) };
        let text = std::mem::take(&mut self.text);
        let text = text.trim();
        let parent = self.path.last().map_or("", String::as_str);
        if matches!(name.as_str(), "Item" | "StorageItem" | "EthernetPortItem") {
            if let (Some(item), Some(vm)) = (self.item.take(), self.vm) {
                self.items.push((vm, item));
            }
            return Ok(());
        }
        if let Some(item) = &mut self.item {
            // Several HostResource lines mean several hosts of one device: the first names the disk.
            item.fields.entry(name).or_insert_with(|| text.to_owned());
            return Ok(());
        }
        let Some(vm) = self.vm else { return Ok(()) };
        let vm = &mut self.package.vms[vm];
        match (name.as_str(), parent) {
            ("VirtualSystem", _) => self.vm = None,
            ("Name", "VirtualSystem") if !text.is_empty() => vm.name = text.to_owned(),
            ("Description", "OperatingSystemSection") => vm.os = text.to_owned(),
            ("VirtualSystemType", _) => vm.hardware = text.to_owned(),
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self, file: &str) -> Result<Package> {
        let items = std::mem::take(&mut self.items);
        for (vm, item) in &items {
            self.controller(*vm, item);
        }
        for (vm, item) in &items {
            self.device(file, *vm, item)?;
        }
        for vm in &mut self.package.vms {
            in_order(&mut vm.disks);
        }
        if self.package.vms.is_empty() {
            return Err(ImportError::damaged(file, 0, "OVF", "describes no virtual machine"));
        }
        for disk in &self.disks {
            if disk.parent.is_some() {
                return Err(ImportError::unsupported(
                    file,
                    format!("the disk {}, which is a difference to another disk", disk.id),
                    "export the machine again without snapshots",
                ));
            }
        }
        Ok(self.package)
    }

    fn controller(&mut self, vm: usize, item: &Item) {
        let subtype = item.get("ResourceSubType");
        let kind = match item.get("ResourceType") {
            "5" => "ide",
            "6" => "scsi",
            "20" if subtype.to_ascii_lowercase().contains("nvme") => "nvme",
            "20" => "sata",
            _ => return,
        };
        let instance = item.get("InstanceID").to_owned();
        let controller = Controller { instance, kind, subtype: subtype.to_owned() };
        self.package.vms[vm].controllers.push(controller);
    }

    fn device(&mut self, file: &str, vm: usize, item: &Item) -> Result<()> {
        match item.get("ResourceType") {
            "3" => self.package.vms[vm].vcpus = item.get("VirtualQuantity").parse().unwrap_or(0),
            "4" => {
                let unit = allocation_unit(item.get("AllocationUnits")).unwrap_or(1 << 20);
                let count: u64 = item.get("VirtualQuantity").parse().unwrap_or(0);
                self.package.vms[vm].memory_mib = count.saturating_mul(unit) >> 20;
            }
            "5" | "6" | "20" => {}
            "10" => {
                let nic = Nic {
                    name: item.get("ElementName").to_owned(),
                    network: item.get("Connection").to_owned(),
                    mac: Some(item.get("Address").to_owned()).filter(|mac| !mac.is_empty()),
                    subtype: item.get("ResourceSubType").to_owned(),
                };
                self.package.vms[vm].nics.push(nic);
            }
            "17" => self.hard_disk(file, vm, item)?,
            _ => self.package.vms[vm].left_out.push(item.get("ElementName").to_owned()),
        }
        Ok(())
    }

    fn hard_disk(&mut self, file: &str, vm: usize, item: &Item) -> Result<()> {
        // "ovf:/disk/vmdisk1", "/disk/vmdisk1", and "ovf:/file/file1" of some writers.
        let resource = item.get("HostResource");
        let id = resource.rsplit('/').next().unwrap_or_default();
        let missing = || {
            let detail = format!("has a disk with resource {resource:?} that no section describes");
            ImportError::damaged(file, 0, "OVF", detail)
        };
        let by_id = |files: &[FileRef], id: &str| files.iter().position(|f| f.id == id);
        let (def, file_index) = match self.disks.iter().find(|disk| disk.id == id) {
            Some(def) => {
                let index = match &def.file {
                    Some(id) => Some(by_id(&self.package.files, id).ok_or_else(missing)?),
                    None => None,
                };
                (def.clone(), index)
            }
            None => {
                let index = by_id(&self.package.files, id).ok_or_else(missing)?;
                let (id, format) = (id.to_owned(), String::new());
                (DiskDef { id, file: None, capacity: 0, format, parent: None }, Some(index))
            }
        };
        let vm = &mut self.package.vms[vm];
        let controller = vm.controllers.iter().position(|c| c.instance == item.get("Parent"));
        let unit = item.get("AddressOnParent").parse().unwrap_or(0);
        let (id, capacity, format) = (def.id, def.capacity, def.format);
        vm.disks.push(DiskItem { id, file: file_index, capacity, format, controller, unit });
        Ok(())
    }
}

/// As the machine counts them, whatever the order of the items: on each controller by address. What boots is the first.
fn in_order(disks: &mut [DiskItem]) {
    let mut controllers: Vec<Option<usize>> = Vec::new();
    for disk in disks.iter() {
        if !controllers.contains(&disk.controller) {
            controllers.push(disk.controller);
        }
    }
    disks.sort_by_key(|disk| {
        (controllers.iter().position(|controller| *controller == disk.controller), disk.unit)
    });
}

fn parse<T: std::str::FromStr>(text: &str, field: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("has a {field} of {text:?}, which is no number"))
}

/// Bytes per unit: `byte * 2^30`, `MegaBytes`, and none.
fn allocation_unit(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    match text.as_str() {
        "" | "byte" | "bytes" => return Some(1),
        "kilobytes" => return Some(1 << 10),
        "megabytes" | "mb" => return Some(1 << 20),
        "gigabytes" | "gb" => return Some(1 << 30),
        _ => {}
    }
    let rest = text.strip_prefix("byte")?.trim().strip_prefix('*')?.trim();
    let (base, power) = rest.split_once('^')?;
    let (base, power): (u64, u32) = (base.trim().parse().ok()?, power.trim().parse().ok()?);
    base.checked_pow(power)
}
