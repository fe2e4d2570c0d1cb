//! Reading an RVTools export: the workbook, or its CSV files.
//!
//! Columns are found by their names, with the spellings of several versions (`MB` and `MiB`); a sheet or column
//! that is missing leaves what it would have told unknown. Only `vInfo` is required, and of each sheet the columns without
//! which it would say something else ([`NEEDED`]): an export whose headers somebody translated is refused, not read as
//! one of VMs without memory. CSV files that a spreadsheet wrote again are read as they come: other separators, encodings,
//! grouped numbers, and words for true. Several vCenters may be in one export, whose ids are told apart.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use calamine::{Data, Reader, Xlsx, open_workbook};
use encoding_rs::{Encoding, WINDOWS_1252};

use super::inventory::{Bus, Datastore, DiskMode, Host, Inventory, Power, Tools, Vm, VmDisk, VmNic};
use crate::error::{ImportError, Result};

/// 50,000 VMs with all their disks and NICs are below 300,000 rows a sheet.
const MAX_ROWS: usize = 4_000_000;

/// Columns that a sheet has where it is there.
const NEEDED: [(&str, &[&str]); 3] = [
    ("vInfo", &["VM", "Powerstate", "CPUs", "Memory"]),
    ("vDisk", &["VM", "Capacity MiB"]),
    ("vNetwork", &["VM", "Network"]),
];

/// How spreadsheets of other languages write `true`, and people.
const TRUE: [&str; 9] = ["true", "1", "yes", "wahr", "vrai", "vero", "verdadero", "verdadeiro", "waar"];

/// A table with named columns.
#[derive(Default)]
struct Sheet {
    columns: HashMap<String, usize>,
    rows: Vec<Vec<String>>,
}

struct Row<'a> {
    sheet: &'a Sheet,
    cells: &'a [String],
}

fn key(name: &str) -> String {
    let lower: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    // "Capacity MB" of old versions and "Capacity MiB" of new ones are one column.
    lower.strip_suffix("mib").or_else(|| lower.strip_suffix("mb")).map(str::to_owned).unwrap_or(lower)
}

impl Sheet {
    fn new(mut rows: impl Iterator<Item = Vec<String>>) -> Self {
        let header = rows.next().unwrap_or_default();
        let columns = header.iter().enumerate().rev().map(|(index, name)| (key(name), index)).collect();
        Self { columns, rows: rows.take(MAX_ROWS).collect() }
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| Row { sheet: self, cells })
    }
}

impl<'a> Row<'a> {
    fn get(&self, name: &str) -> &'a str {
        let index = self.sheet.columns.get(&key(name));
        index.and_then(|&index| self.cells.get(index)).map_or("", |cell| cell.trim())
    }

    fn number(&self, name: &str) -> u64 {
        number(self.get(name))
    }

    fn flag(&self, name: &str) -> bool {
        TRUE.contains(&self.get(name).to_ascii_lowercase().as_str())
    }

    /// `None` when the column is empty or missing.
    fn maybe(&self, name: &str) -> Option<bool> {
        (!self.get(name).is_empty()).then(|| self.flag(name))
    }

    /// What joins the sheets: the id of the VM, else its name.
    fn vm(&self) -> String {
        let id = self.get("VM ID");
        if id.is_empty() { self.get("VM").to_owned() } else { id.to_owned() }
    }

    /// The server that the row is of: ids are its own.
    fn server(&self) -> &'a str {
        let uuid = self.get("VI SDK UUID");
        if uuid.is_empty() { self.get("VI SDK Server") } else { uuid }
    }
}

fn joined(server: &str, vm: &str) -> String {
    format!("{server}\0{vm}")
}

/// A whole number as people and spreadsheets write it; 0 where it is none. A point or comma before just three digits groups
/// them: what an export counts is never given in thousandths.
fn number(text: &str) -> u64 {
    let text: String =
        text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '\'' | '\u{2019}')).collect();
    let grouped = |mark: char| {
        let mut parts = text.split(mark);
        let first = parts.next().unwrap_or_default();
        matches!(first.len(), 1..=3) && first != "0" && parts.all(|part| part.len() == 3)
    };
    let plain = match (text.rfind('.'), text.rfind(',')) {
        (Some(point), Some(comma)) if comma > point => text.replace('.', "").replace(',', "."),
        (Some(_), Some(_)) => text.replace(',', ""),
        (Some(_), None) if grouped('.') => text.replace('.', ""),
        (None, Some(_)) if grouped(',') => text.replace(',', ""),
        (None, Some(_)) => text.replace(',', "."),
        (Some(_) | None, None) => text,
    };
    plain.parse::<f64>().map_or(0, |value| value.max(0.0) as u64)
}

fn check(path: &Path, sheets: &HashMap<String, Sheet>) -> Result<()> {
    for (name, columns) in NEEDED {
        let sheet = sheets.get(&name.to_ascii_lowercase()).filter(|sheet| !sheet.columns.is_empty());
        let Some(sheet) = sheet else { continue };
        if let Some(missing) = columns.iter().find(|column| !sheet.columns.contains_key(&key(column))) {
            let text = format!(
                "{}: the sheet {name} has no column {missing:?}; give the export as RVTools wrote it, with its English headers",
                path.display()
            );
            return Err(ImportError::Usage(text));
        }
    }
    Ok(())
}

/// Reads `path`: an `.xlsx`, one `…vInfo.csv`, or a folder with the CSV files of an export.
pub fn read(path: &Path) -> Result<Inventory> {
    let is_csv = path.is_dir() || path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let mut sheets = if is_csv { read_csv(path)? } else { read_xlsx(path)? };
    check(path, &sheets)?;
    let mut take = |name: &str| sheets.remove(name).unwrap_or_default();
    let info = take("vinfo");
    if info.columns.is_empty() {
        return Err(ImportError::Missing { file: path.display().to_string(), name: "vInfo".to_owned() });
    }
    let mut vms: Vec<Vm> = info.rows().map(|row| vm(&row)).collect();
    let mut by_key: HashMap<String, usize> = HashMap::with_capacity(vms.len() * 2);
    for (index, (vm, row)) in vms.iter().zip(info.rows()).enumerate() {
        by_key.insert(joined(row.server(), &vm.id), index);
        by_key.entry(joined(row.server(), &vm.name)).or_insert(index);
    }
    type Fill = fn(&mut Vm, &Row<'_>);
    let fills: [(&str, Fill); 7] = [
        ("vdisk", |vm, row| vm.disks.push(disk(row))),
        ("vnetwork", |vm, row| vm.nics.push(nic(row))),
        ("vsnapshot", |vm, _| vm.snapshots += 1),
        ("vtools", |vm, row| vm.tools = tools(row.get("Tools"))),
        ("vusb", |vm, _| vm.usb_devices += 1),
        ("vcd", |vm, row| vm.cd_connected |= row.flag("Connected")),
        ("vfloppy", |vm, row| vm.floppy_connected |= row.flag("Connected")),
    ];
    for (name, fill) in fills {
        for row in take(name).rows() {
            if let Some(&index) = by_key.get(&joined(row.server(), &row.vm())) {
                fill(&mut vms[index], &row);
            }
        }
    }
    let hosts = take("vhost").rows().map(|row| host(&row)).collect();
    let datastores = take("vdatastore").rows().map(|row| datastore(&row)).collect();
    Ok(Inventory { vms, hosts, datastores })
}

fn read_xlsx(path: &Path) -> Result<HashMap<String, Sheet>> {
    let name = path.display().to_string();
    let bad = |error: calamine::XlsxError| {
        ImportError::damaged(&name, 0, "workbook", format!("cannot be read: {error}"))
    };
    let mut book: Xlsx<_> = open_workbook(path).map_err(bad)?;
    let mut sheets = HashMap::new();
    for sheet in book.sheet_names() {
        let range = book.worksheet_range(&sheet).map_err(bad)?;
        let rows = range.rows().map(|row| row.iter().map(cell).collect());
        sheets.insert(sheet.to_ascii_lowercase(), Sheet::new(rows));
    }
    Ok(sheets)
}

fn cell(data: &Data) -> String {
    match data {
        Data::Empty => String::new(),
        Data::Bool(value) => value.to_string(),
        // Not as people write it: its point groups nothing.
        Data::Float(value) => format!("{value:.0}"),
        other => other.to_string(),
    }
}

/// `RVTools_tabvInfo.csv` and its like; the part from `tabv` on is the sheet's name.
fn read_csv(path: &Path) -> Result<HashMap<String, Sheet>> {
    let name = path.display().to_string();
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| ImportError::io("read", &name, error))?;
        files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    }
    let mut sheets = HashMap::new();
    for file in files {
        let stem = file.file_stem().map(|s| s.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let Some(at) = stem.rfind("tabv").map(|at| at + 3).or_else(|| stem.starts_with('v').then_some(0))
        else {
            continue;
        };
        let bytes = std::fs::read(&file)
            .map_err(|error| ImportError::io("read", file.display().to_string(), error))?;
        let text = decoded(&bytes);
        let first = text.lines().next().unwrap_or_default();
        let count = |mark: u8| first.bytes().filter(|byte| *byte == mark).count();
        let delimiter = [b',', b';', b'\t'].into_iter().rev().max_by_key(|mark| count(*mark)).unwrap_or(b',');
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .from_reader(text.as_bytes());
        let rows = reader
            .records()
            .filter_map(std::result::Result::ok)
            .map(|record| record.iter().map(ToOwned::to_owned).collect());
        sheets.insert(stem[at..].to_owned(), Sheet::new(rows));
    }
    Ok(sheets)
}

/// UTF-8, UTF-16 with its mark, or what Windows writes without asking.
fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[mark..]).0;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

fn vm(row: &Row<'_>) -> Vm {
    let power = row.get("Powerstate").to_ascii_lowercase();
    let os = [row.get("OS according to the VMware Tools"), row.get("OS according to the configuration file")];
    let used = row.number("In Use MiB");
    Vm {
        name: row.get("VM").to_owned(),
        id: row.vm(),
        uuid: row.get("VM UUID").to_owned(),
        power: match power.as_str() {
            "poweredoff" | "" => Power::Off,
            "suspended" => Power::Suspended,
            // A word that is not known is no reason to plan as for a VM that is off.
            _ => Power::On,
        },
        template: row.flag("Template"),
        datacenter: row.get("Datacenter").to_owned(),
        cluster: row.get("Cluster").to_owned(),
        host: row.get("Host").to_owned(),
        resource_pool: row.get("Resource pool").to_owned(),
        folder: row.get("Folder").to_owned(),
        annotation: row.get("Annotation").to_owned(),
        os: os.into_iter().find(|os| !os.is_empty()).unwrap_or_default().to_owned(),
        hostname: row.get("DNS Name").to_owned(),
        vcpus: row.number("CPUs") as u32,
        memory_mib: row.number("Memory"),
        hardware: row.number("HW version") as u32,
        efi: row.get("Firmware").eq_ignore_ascii_case("efi"),
        secure_boot: row.maybe("EFI Secure boot"),
        cbt: row.maybe("CBT"),
        consolidation_needed: row.flag("Consolidation Needed"),
        fault_tolerant: !matches!(row.get("FT State").to_ascii_lowercase().as_str(), "" | "notconfigured"),
        latency_sensitive: row.get("Latency Sensitivity").eq_ignore_ascii_case("high"),
        used_mib: (used > 0).then_some(used),
        provisioned_mib: row.number("Provisioned MiB"),
        ..Vm::default()
    }
}

fn disk(row: &Row<'_>) -> VmDisk {
    let path =
        [row.get("Disk Path"), row.get("Path")].into_iter().find(|p| !p.is_empty()).unwrap_or_default();
    let controller = row.get("Controller").to_ascii_lowercase();
    let sharing = row.get("Sharing mode").to_ascii_lowercase();
    let bus_sharing = row.get("Shared Bus").to_ascii_lowercase();
    let raw = row.flag("Raw");
    VmDisk {
        label: row.get("Disk").to_owned(),
        path: path.to_owned(),
        capacity_mib: row.number("Capacity MiB"),
        used_mib: None,
        mode: match row.get("Disk Mode").to_ascii_lowercase().as_str() {
            "" | "persistent" => DiskMode::Persistent,
            "independent_persistent" => DiskMode::IndependentPersistent,
            "independent_nonpersistent" | "nonpersistent" => DiskMode::IndependentNonpersistent,
            _ => DiskMode::Other,
        },
        rdm_physical: raw.then(|| row.get("Raw Comp. Mode").to_ascii_lowercase().contains("physical")),
        shared: sharing.contains("multiwriter") || !matches!(bus_sharing.as_str(), "" | "nosharing" | "none"),
        bus: match controller.as_str() {
            c if c.contains("nvme") => Bus::Nvme,
            c if c.contains("ide") => Bus::Ide,
            c if c.contains("sata") || c.contains("ahci") => Bus::Sata,
            c if c.contains("scsi") || c.contains("sas") || c.contains("lsi") || c.contains("bus") => {
                Bus::Scsi
            }
            _ => Bus::Unknown,
        },
        encrypted: false,
        thin: row.flag("Thin"),
        cbt: None,
    }
}

fn nic(row: &Row<'_>) -> VmNic {
    let adapter = row.get("Adapter");
    let addresses = [row.get("IPv4 Address"), row.get("IPv6 Address"), row.get("IP Address")];
    VmNic {
        label: row.get("NIC label").to_owned(),
        network: row.get("Network").to_owned(),
        mac: row.get("Mac Address").to_ascii_lowercase(),
        adapter: adapter.to_owned(),
        connected: row.flag("Connected"),
        static_mac: match row.get("Type").to_ascii_lowercase().as_str() {
            "" => None,
            kind => Some(kind == "manual"),
        },
        addresses: addresses
            .iter()
            .flat_map(|a| a.split(','))
            .map(|a| a.trim().to_owned())
            .filter(|a| !a.is_empty())
            .collect(),
        sriov: adapter.to_ascii_lowercase().contains("sriov"),
        direct_path: row.flag("Direct Path IO"),
    }
}

fn tools(state: &str) -> Tools {
    match state.to_ascii_lowercase().as_str() {
        "toolsok" => Tools::Running,
        "toolsold" => Tools::Old,
        "toolsnotrunning" => Tools::NotRunning,
        "toolsnotinstalled" => Tools::NotInstalled,
        _ => Tools::Unknown,
    }
}

fn host(row: &Row<'_>) -> Host {
    Host {
        name: row.get("Host").to_owned(),
        cluster: row.get("Cluster").to_owned(),
        datacenter: row.get("Datacenter").to_owned(),
        cores: row.number("# Cores") as u32,
        memory_mib: row.number("# Memory"),
        version: row.get("ESX Version").to_owned(),
    }
}

fn datastore(row: &Row<'_>) -> Datastore {
    Datastore {
        name: row.get("Name").to_owned(),
        kind: row.get("Type").to_owned(),
        capacity_mib: row.number("Capacity MiB"),
        free_mib: row.number("Free MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_meant() {
        for (text, expected) in [
            ("8192", 8192),
            ("8,192", 8192),
            ("8.192", 8192),
            ("8'192", 8192),
            ("8\u{202f}192", 8192),
            ("8 192", 8192),
            ("1.234.567", 1_234_567),
            ("1,234,567.8", 1_234_567),
            ("1.234.567,8", 1_234_567),
            ("40960.5", 40_960),
            ("12,5", 12),
            ("0.125", 0),
            ("-3", 0),
            ("", 0),
            ("n/a", 0),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    fn export(files: &[(&str, Vec<u8>)]) -> Result<Inventory> {
        let folder = tempfile::tempdir().unwrap();
        for (sheet, bytes) in files {
            std::fs::write(folder.path().join(format!("RVTools_tab{sheet}.csv")), bytes).unwrap();
        }
        read(folder.path())
    }

    #[test]
    fn what_a_spreadsheet_wrote_again_says_the_same() {
        let info = "VM;Powerstate;Template;CPUs;Memory\nB\u{fc}ro;poweredOn;FALSCH;4;8.192\n";
        let disks = "VM;Capacity MiB;Raw\nB\u{fc}ro;40.960;WAHR\n";
        let windows = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
        let marked = |text: &str| [&b"\xef\xbb\xbf"[..], text.as_bytes()].concat();
        let wide = |text: &str| {
            let text = text.replace(';', "\t");
            let units = std::iter::once(0xfeff).chain(text.encode_utf16());
            units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>()
        };
        let encodings: [(&str, &dyn Fn(&str) -> Vec<u8>); 3] =
            [("Windows", &windows), ("UTF-8 with a mark", &marked), ("UTF-16 with tabs", &wide)];
        for (name, encoded) in encodings {
            let found = export(&[("vInfo", encoded(info)), ("vDisk", encoded(disks))]).unwrap();
            let vm = &found.vms[0];
            assert_eq!((vm.name.as_str(), vm.memory_mib, vm.template), ("B\u{fc}ro", 8192, false), "{name}");
            let disk = &vm.disks[0];
            assert_eq!((disk.capacity_mib, disk.rdm_physical.is_some()), (40_960, true), "{name}");
        }
    }

    #[test]
    fn translated_headers_are_refused() {
        let info = "VM,Powerstate,CPUs,Memory\nweb,poweredOn,4,8192\n";
        let disks = "VM,Gr\u{f6}\u{df}e\nweb,40960\n";
        for (case, files, column) in [
            ("vInfo", vec![("vInfo", info.replace("Powerstate", "Betriebszustand"))], "Powerstate"),
            ("vDisk", vec![("vInfo", info.to_owned()), ("vDisk", disks.to_owned())], "Capacity MiB"),
        ] {
            let files: Vec<_> = files.into_iter().map(|(sheet, text)| (sheet, text.into_bytes())).collect();
            let error = export(&files).unwrap_err().to_string();
            assert!(error.contains(case) && error.contains(column), "{case}: {error}");
        }
        assert_eq!(export(&[("vInfo", info.as_bytes().to_vec())]).unwrap().vms.len(), 1);
    }

    #[test]
    fn vms_of_two_servers_with_one_id_are_two() {
        let info = "VM,Powerstate,CPUs,Memory,VM ID,VI SDK UUID\n\
            web,poweredOn,4,8192,vm-7,a\ndb,working,4,8192,vm-7,b\n";
        let disks = "VM,Capacity MiB,VM ID,VI SDK UUID\nweb,1024,vm-7,a\ndb,2048,vm-7,b\n";
        let files = [("vInfo", info.as_bytes().to_vec()), ("vDisk", disks.as_bytes().to_vec())];
        let found = export(&files).unwrap();
        let sizes: Vec<Vec<u64>> =
            found.vms.iter().map(|vm| vm.disks.iter().map(|disk| disk.capacity_mib).collect()).collect();
        assert_eq!(sizes, [[1024], [2048]]);
        assert_eq!(found.vms[1].power, Power::On, "a state that is not known is not off");
    }

    /// A zip of files that are not packed, as the format has them since 1989.
    fn zip(files: &[(&str, String)]) -> Vec<u8> {
        let (mut bytes, mut directory): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        let short = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
        let long = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        for (name, text) in files {
            let mut crc = flate2::Crc::new();
            crc.update(text.as_bytes());
            let sum = crc.sum().to_le_bytes();
            // Version, flags, method, time, date; sum and sizes; lengths of the name and of what comes after it.
            let about = [
                &[20_u8, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
                &sum,
                &long(text.len()),
                &long(text.len()),
                &short(name.len()),
                &short(0),
            ]
            .concat();
            // No comment, first disk, no attributes.
            directory.extend(
                [&b"PK\x01\x02\x14\0"[..], &about[..], &[0; 10], &long(bytes.len()), name.as_bytes()]
                    .concat(),
            );
            bytes.extend([&b"PK\x03\x04"[..], &about[..], name.as_bytes(), text.as_bytes()].concat());
        }
        let (start, count) = (bytes.len(), short(files.len()));
        let end =
            [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &long(directory.len()), &long(start), &short(0)]
                .concat();
        [bytes, directory, end].concat()
    }

    #[test]
    fn a_workbook_says_the_same_as_csv_files() {
        const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
        const LINKS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
        const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006/relationships";
        let text = |text: &str| format!("<c t=\"inlineStr\"><is><t>{text}</t></is></c>");
        let number = |number: &str| format!("<c><v>{number}</v></c>");
        let yes = "<c t=\"b\"><v>1</v></c>".to_owned();
        let sheet = |rows: &[Vec<String>]| {
            let placed = |(row, cells): (usize, &Vec<String>)| {
                let cells = cells.iter().zip("ABCDEF".chars());
                let cells = cells
                    .map(|(cell, column)| cell.replacen("<c", &format!("<c r=\"{column}{}\"", row + 1), 1));
                format!("<row r=\"{}\">{}</row>", row + 1, cells.collect::<String>())
            };
            let rows: String = rows.iter().enumerate().map(placed).collect();
            format!("<worksheet xmlns=\"{MAIN}\"><sheetData>{rows}</sheetData></worksheet>")
        };
        let names = |names: &[&str]| names.iter().map(|name| text(name)).collect::<Vec<String>>();
        let info = [
            names(&["VM", "Powerstate", "CPUs", "Memory", "CBT"]),
            vec![text("web"), text("poweredOn"), number("4"), number("8192"), yes.clone()],
        ];
        let disks = [
            names(&["VM", "Capacity MiB", "Raw", "Disk Path"]),
            vec![text("web"), number("512.125"), yes, text("[fast] web/web.vmdk")],
        ];
        let (mut list, mut links) = (String::new(), String::new());
        for (name, id) in ["vInfo", "vDisk"].iter().zip(1..) {
            list += &format!("<sheet name=\"{name}\" sheetId=\"{id}\" r:id=\"rId{id}\"/>");
            links += &format!(
                "<Relationship Id=\"rId{id}\" Type=\"{LINKS}/worksheet\" Target=\"worksheets/sheet{id}.xml\"/>"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("RVTools_export_all.xlsx");
        let book =
            format!("<workbook xmlns=\"{MAIN}\" xmlns:r=\"{LINKS}\"><sheets>{list}</sheets></workbook>");
        let related = |links: &str| format!("<Relationships xmlns=\"{PACKAGE}\">{links}</Relationships>");
        let root =
            format!("<Relationship Id=\"rId1\" Type=\"{LINKS}/officeDocument\" Target=\"xl/workbook.xml\"/>");
        let files = [
            ("_rels/.rels", related(&root)),
            ("xl/workbook.xml", book),
            ("xl/_rels/workbook.xml.rels", related(&links)),
            ("xl/worksheets/sheet1.xml", sheet(&info)),
            ("xl/worksheets/sheet2.xml", sheet(&disks)),
        ];
        std::fs::write(&path, zip(&files)).unwrap();
        let found = read(&path).unwrap();
        let vm = &found.vms[0];
        assert_eq!((vm.name.as_str(), vm.power, vm.vcpus), ("web", Power::On, 4));
        assert_eq!((vm.memory_mib, vm.cbt), (8192, Some(true)));
        let disk = &vm.disks[0];
        // A number of a workbook is no text: its point groups nothing.
        assert_eq!((disk.capacity_mib, disk.path.as_str()), (512, "[fast] web/web.vmdk"));
        assert!(disk.rdm_physical.is_some());
    }
}
