//! Reading an RVTools export: the workbook, or its CSV files.
//!
//! Columns are found by their names, with the spellings of several versions (`MB` and `MiB`); a sheet or column
//! that is missing leaves what it would have told unknown. Only `vInfo` is required.

use std::collections::HashMap;
use std::path::Path;

use calamine::{Data, Reader, Xlsx, open_workbook};

use super::inventory::{Bus, Datastore, DiskMode, Host, Inventory, Power, Tools, Vm, VmDisk, VmNic};
use crate::error::{ImportError, Result};

/// 50,000 VMs with all their disks and NICs are below 300,000 rows a sheet.
const MAX_ROWS: usize = 4_000_000;

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
        let text: String = self.get(name).chars().filter(|c| !matches!(c, ',' | ' ' | '\u{a0}')).collect();
        text.parse::<f64>().map_or(0, |value| value.max(0.0) as u64)
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.get(name).to_ascii_lowercase().as_str(), "true" | "1" | "yes")
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
}

/// Reads `path`: an `.xlsx`, one `…vInfo.csv`, or a folder with the CSV files of an export.
pub fn read(path: &Path) -> Result<Inventory> {
    let is_csv = path.is_dir() || path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    let mut sheets = if is_csv { read_csv(path)? } else { read_xlsx(path)? };
    let mut take = |name: &str| sheets.remove(name).unwrap_or_default();
    let info = take("vinfo");
    if info.columns.is_empty() {
        return Err(ImportError::Missing { file: path.display().to_string(), name: "vInfo".to_owned() });
    }
    let mut vms: Vec<Vm> = info.rows().map(|row| vm(&row)).collect();
    let mut by_key: HashMap<String, usize> = HashMap::with_capacity(vms.len() * 2);
    for (index, vm) in vms.iter().enumerate() {
        by_key.insert(vm.id.clone(), index);
        by_key.entry(vm.name.clone()).or_insert(index);
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
            if let Some(&index) = by_key.get(&row.vm()) {
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
        let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
        let semicolons = first.iter().filter(|&&b| b == b';').count();
        let delimiter = if semicolons > first.iter().filter(|&&b| b == b',').count() { b';' } else { b',' };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .from_reader(&bytes[..]);
        let rows = reader.byte_records().filter_map(std::result::Result::ok).map(|record| {
            record
                .iter()
                .map(|cell| String::from_utf8_lossy(cell).trim_start_matches('\u{feff}').to_owned())
                .collect()
        });
        sheets.insert(stem[at..].to_owned(), Sheet::new(rows));
    }
    Ok(sheets)
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
            "poweredon" => Power::On,
            "suspended" => Power::Suspended,
            _ => Power::Off,
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
