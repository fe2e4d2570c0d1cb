//! A model of LVM's programs over files in a folder, by which the driver of thin pools is tested without root and
//! device-mapper: what each command changes, it changes at once, as LVM does; and it can be made to die between any two.
//!
//! What it says is written after lvmreport(7), lvmthin(7), thin_dump(8) and the kernel's document on thin provisioning. It
//! shows what the driver does with LVM, and not what LVM does: that is for the lab (`docs/lab-scenario.md`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::json;
use xenith_common_block::{BlockSource, ByteRange, ExtentKind, FileSink, FileSource, copy};
use xenith_hypervisor_agent_storage::lvm_thin::{Call, Line, Machine, Programs};

const BLOCK: u64 = 64 << 10;
const MOST_BLOCKS: u64 = 16_384;

#[derive(Debug, Default)]
struct Volume {
    tags: BTreeSet<String>,
    /// None: the pool.
    id: Option<u32>,
    read_only: bool,
}

#[derive(Debug, Default)]
struct World {
    group: Option<String>,
    disks: BTreeSet<String>,
    volumes: BTreeMap<String, Volume>,
    last_id: u32,
    holds_metadata: bool,
    /// Of these a disk is not empty.
    used_disks: BTreeSet<String>,
    /// Of the pool; `None`: as many as there may be.
    blocks: Option<u64>,
    /// Changes that are still carried out; `None`: all.
    left_to_live: Option<usize>,
    /// Where which contents lie: the same contents share a block.
    places: HashMap<Vec<u8>, u64>,
    /// Maps of what never changes.
    maps: HashMap<u32, Vec<(u64, u64)>>,
}

#[derive(Debug)]
pub struct Model {
    folder: PathBuf,
    world: Mutex<World>,
}

impl Model {
    pub fn new(folder: &Path) -> Arc<Self> {
        fs::create_dir_all(folder.join("dm_thin_pool/parameters")).unwrap();
        Arc::new(Self { folder: folder.to_owned(), world: Mutex::default() })
    }

    pub fn machine(self: &Arc<Self>) -> Machine {
        Machine { programs: self.clone(), devices: self.folder.join("dev"), modules: self.folder.clone() }
    }

    /// Whoever runs the programs is killed after so many more changes.
    pub fn die_after(&self, changes: usize) {
        self.world.lock().unwrap().left_to_live = Some(changes);
    }

    pub fn live(&self) {
        self.world.lock().unwrap().left_to_live = None;
    }

    /// The pool has as many blocks of 64 KiB.
    pub fn resize_pool(&self, blocks: u64) {
        self.world.lock().unwrap().blocks = Some(blocks);
    }

    /// Something is on the disk.
    pub fn use_disk(&self, disk: &str) {
        self.world.lock().unwrap().used_disks.insert(disk.to_owned());
    }

    pub fn disks(&self) -> Vec<String> {
        self.world.lock().unwrap().disks.iter().cloned().collect()
    }

    pub fn names(&self) -> Vec<String> {
        self.world.lock().unwrap().volumes.keys().cloned().collect()
    }

    fn device(&self, world: &World, name: &str) -> PathBuf {
        self.folder.join("dev").join(world.group.as_deref().unwrap_or_default()).join(name)
    }
}

/// Words by what they are.
struct Arguments<'a> {
    options: Vec<(&'a str, &'a str)>,
    plain: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    fn parse(words: &'a [String]) -> Self {
        const ALONE: &[&str] = &[
            "--yes",
            "--snapshot",
            "--nosuffix",
            "--noflush",
            "--columns",
            "--noheadings",
            "--ignoreactivationskip",
            "--metadata-snap",
        ];
        let (mut options, mut plain) = (Vec::new(), Vec::new());
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                plain.push(word);
            } else if ALONE.contains(&word) {
                options.push((word, ""));
            } else {
                options.push((word, words.next().unwrap()));
            }
        }
        Self { options, plain }
    }

    fn all(&self, option: &str) -> Vec<&'a str> {
        self.options.iter().filter(|(name, _)| *name == option).map(|(_, value)| *value).collect()
    }

    fn get(&self, option: &str) -> Option<&'a str> {
        self.all(option).first().copied()
    }

    /// The volumes that it names, without their group.
    fn volumes(&self) -> Vec<&'a str> {
        self.plain.iter().filter_map(|word| word.split_once('/')).map(|(_, name)| name).collect()
    }
}

fn failed(detail: impl std::fmt::Display) -> io::Error {
    io::Error::other(detail.to_string())
}

fn bytes(size: &str) -> u64 {
    size.strip_suffix('b').unwrap().parse().unwrap()
}

fn dm_name(group: &str, name: &str) -> String {
    format!("{}-{}", group.replace('-', "--"), name.replace('-', "--"))
}

impl Programs for Model {
    fn run(&self, call: &Call, line: Line<'_>) -> io::Result<()> {
        let (program, words) = call.words.split_first().unwrap();
        let arguments = Arguments::parse(words);
        let mut world = self.world.lock().unwrap();
        let asks = ["lvs", "vgs", "pvs", "dmsetup", "thin_dump"].contains(&&**program);
        match &mut world.left_to_live {
            Some(0) => return Err(failed("killed")),
            Some(left) if !asks => *left -= 1,
            _ => {}
        }
        let said = match &**program {
            "lvs" => self.list(&world),
            "vgs" => {
                let free = MOST_BLOCKS * BLOCK;
                let row = json!({ "vg_extent_size": "1048576", "vg_free": free.to_string() });
                let rows: Vec<_> = world.group.iter().map(|_| row.clone()).collect();
                json!({ "report": [{ "vg": rows }] }).to_string()
            }
            "pvs" => match world.disks.contains(arguments.plain[0]) {
                true => {
                    let group = world.group.as_deref().unwrap_or_default();
                    json!({ "report": [{ "pv": [{ "vg_name": group }] }] }).to_string()
                }
                false => return Err(failed("no such disk")),
            },
            "dmsetup" => self.device_mapper(&mut world, &arguments)?,
            "thin_dump" => self.dump(&mut world, &arguments)?,
            _ => {
                self.change(&mut world, program, &arguments)?;
                String::new()
            }
        };
        drop(world);
        said.lines().try_for_each(line)
    }
}

impl Model {
    fn list(&self, world: &World) -> String {
        let row = |(name, volume): (&String, &Volume)| {
            let tags: Vec<&str> = volume.tags.iter().map(String::as_str).collect();
            let size = volume.id.map_or(0, |_| fs::metadata(self.device(world, name)).unwrap().len());
            json!({
                "lv_name": name,
                "lv_size": size.to_string(),
                "lv_tags": tags.join(","),
                "pool_lv": volume.id.map_or("", |_| "pool"),
                "thin_id": volume.id.map_or_else(String::new, |id| id.to_string()),
                "lv_time": "1700000000",
                "segtype": volume.id.map_or("thin-pool", |_| "thin"),
            })
        };
        let rows: Vec<_> = world.volumes.iter().map(row).collect();
        serde_json::to_string_pretty(&json!({ "report": [{ "lv": rows }] })).unwrap()
    }

    fn change(&self, world: &mut World, program: &str, arguments: &Arguments<'_>) -> io::Result<()> {
        match program {
            "vgcreate" => {
                let (group, disks) = arguments.plain.split_first().unwrap();
                if let Some(disk) = disks.iter().find(|disk| world.used_disks.contains(**disk)) {
                    return Err(failed(format_args!("ext4 signature detected on {disk}; aborting")));
                }
                world.group = Some((*group).to_owned());
                world.disks = disks.iter().map(|disk| (*disk).to_owned()).collect();
                fs::create_dir_all(self.device(world, ""))
            }
            "vgremove" => {
                fs::remove_dir_all(self.device(world, ""))?;
                if self.mapper().exists() {
                    fs::remove_dir_all(self.mapper())?;
                }
                world.volumes.clear();
                world.group = None;
                Ok(())
            }
            "pvremove" => {
                world.disks.remove(arguments.plain[0]);
                Ok(())
            }
            "lvcreate" => self.create(world, arguments),
            "lvextend" => {
                let device = self.device(world, arguments.volumes()[0]);
                File::options().write(true).open(device)?.set_len(bytes(arguments.get("--size").unwrap()))
            }
            "lvchange" => {
                for name in arguments.volumes() {
                    let volume = world.volumes.get_mut(name).ok_or_else(|| failed("no such volume"))?;
                    volume.tags.extend(arguments.all("--addtag").into_iter().map(str::to_owned));
                    volume.tags.retain(|tag| arguments.get("--deltag") != Some(tag.as_str()));
                }
                Ok(())
            }
            "lvrename" => {
                let [_, from, to] = arguments.plain[..] else { panic!("{:?}", arguments.plain) };
                if world.volumes.contains_key(to) {
                    return Err(failed("it exists"));
                }
                let volume = world.volumes.remove(from).ok_or_else(|| failed("no such volume"))?;
                fs::rename(self.device(world, from), self.device(world, to))?;
                world.volumes.insert(to.to_owned(), volume);
                Ok(())
            }
            "lvremove" => {
                let name = arguments.volumes()[0];
                world.volumes.remove(name).ok_or_else(|| failed("no such volume"))?;
                fs::remove_file(self.device(world, name))
            }
            "blkdiscard" => {
                let device = File::options().write(true).open(arguments.plain[0])?;
                let len = device.metadata()?.len();
                device.set_len(0)?;
                device.set_len(len)
            }
            other => panic!("the model does not know {other}"),
        }
    }

    fn create(&self, world: &mut World, arguments: &Arguments<'_>) -> io::Result<()> {
        let name = arguments.get("--name").unwrap();
        if world.volumes.contains_key(name) {
            return Err(failed("it exists"));
        }
        let tags = arguments.all("--addtag").into_iter().map(str::to_owned).collect();
        let device = self.device(world, name);
        let id = if arguments.get("--type") == Some("thin-pool") {
            // As LVM 2.03.16 does.
            if arguments.get("--errorwhenfull").is_some() {
                return Err(failed("Option --errorwhenfull is unsupported with thin pools."));
            }
            None
        } else if arguments.get("--snapshot").is_some() {
            let origin = FileSource::open(&self.device(world, arguments.volumes()[0])).map_err(failed)?;
            let sink = FileSink::create_new(&device, origin.size()).map_err(failed)?;
            copy(&origin, &sink, |_| Ok(())).map_err(failed)?;
            Some(world.last_id + 1)
        } else {
            let size = bytes(arguments.get("--virtualsize").unwrap());
            FileSink::create_new(&device, size).map_err(failed)?;
            Some(world.last_id + 1)
        };
        if id.is_some() {
            // With the first volume the pool goes behind a layer, as in LVM.
            fs::create_dir_all(self.mapper())?;
            fs::write(self.mapper().join(self.behind(world)), "")?;
        }
        world.last_id = id.unwrap_or(world.last_id);
        let read_only = arguments.get("--permission") == Some("r");
        world.volumes.insert(name.to_owned(), Volume { tags, id, read_only });
        Ok(())
    }

    fn mapper(&self) -> PathBuf {
        self.folder.join("dev/mapper")
    }

    fn behind(&self, world: &World) -> String {
        format!("{}-tpool", dm_name(world.group.as_deref().unwrap_or_default(), "pool"))
    }

    /// The device that is the pool now.
    fn is_pool(&self, world: &World, device: &str) -> bool {
        let behind = self.behind(world);
        let is_behind = self.mapper().join(&behind).exists();
        device == if is_behind { behind.as_str() } else { behind.trim_end_matches("-tpool") }
    }

    fn device_mapper(&self, world: &mut World, arguments: &Arguments<'_>) -> io::Result<String> {
        let group = world.group.clone().ok_or_else(|| failed("no such device"))?;
        let thin = |name: &String| {
            let device = self.device(world, name);
            let sectors = fs::metadata(&device).unwrap().len() / 512;
            format!("0 {sectors} thin {} 0", blocks(&device).len() as u64 * BLOCK / 512)
        };
        let thins = || world.volumes.iter().filter(|(_, volume)| volume.id.is_some()).map(|(name, _)| name);
        match &arguments.plain[..] {
            ["status"] => {
                Ok(thins().map(|name| format!("{}: {}\n", dm_name(&group, name), thin(name))).collect())
            }
            ["status", device] if self.is_pool(world, device) => {
                let used: usize = thins().map(|name| blocks(&self.device(world, name)).len()).sum();
                let held = if world.holds_metadata { "57" } else { "-" };
                let total = world.blocks.unwrap_or(MOST_BLOCKS);
                Ok(format!(
                    "0 99 thin-pool 5 10/2048 {used}/{total} {held} rw discard_passdown queue_if_no_space - 512"
                ))
            }
            ["status", device] => {
                let found = thins().find(|name| dm_name(&group, name) == *device);
                found.map(thin).ok_or_else(|| failed("no such device"))
            }
            ["table", device] if self.is_pool(world, device) => {
                Ok("0 99 thin-pool 253:0 253:1 128 0 0 ".to_owned())
            }
            ["table" | "message", device, ..] if !self.is_pool(world, device) => {
                Err(failed("No such device"))
            }
            ["info", _] => Ok("0\n".to_owned()),
            ["message", _, "0", what] => {
                let reserve = *what == "reserve_metadata_snap";
                if world.holds_metadata == reserve {
                    return Err(failed("it is so already"));
                }
                world.holds_metadata = reserve;
                Ok(String::new())
            }
            other => panic!("the model does not know dmsetup {other:?}"),
        }
    }

    fn dump(&self, world: &mut World, arguments: &Arguments<'_>) -> io::Result<String> {
        assert!(world.holds_metadata && arguments.plain[0].ends_with("-pool_tmeta"), "{:?}", arguments.plain);
        let id: u32 = arguments.get("--dev-id").unwrap().parse().unwrap();
        let found = world.volumes.iter().find(|(_, volume)| volume.id == Some(id));
        let (name, volume) = found.ok_or_else(|| failed("unknown device"))?;
        let (device, read_only) = (self.device(world, name), volume.read_only);
        let map = match world.maps.get(&id).filter(|_| read_only) {
            Some(map) => map.clone(),
            None => map_of(&device, &mut world.places),
        };
        let mut said = format!(
            "<superblock uuid=\"\" time=\"1\" transaction=\"5\" data_block_size=\"128\" nr_data_blocks=\"{MOST_BLOCKS} \
             metadata_snap=\"57\">\n  <device dev_id=\"{id}\" mapped_blocks=\"{}\" transaction=\"0\">\n",
            map.len()
        );
        for (block, place) in &map {
            let line =
                format!("    <single_mapping origin_block=\"{block}\" data_block=\"{place}\" time=\"0\"/>\n");
            said.push_str(&line);
        }
        if read_only {
            world.maps.insert(id, map);
        }
        Ok(said + "  </device>\n</superblock>\n")
    }
}

/// Those in which something was written.
fn blocks(device: &Path) -> BTreeSet<u64> {
    let source = FileSource::open(device).unwrap();
    let extents = source.extents(ByteRange::new(0, source.size())).unwrap();
    let data = extents.into_iter().filter(|extent| extent.kind == ExtentKind::Data);
    data.flat_map(|extent| extent.range.start / BLOCK..extent.range.end.div_ceil(BLOCK)).collect()
}

fn map_of(device: &Path, places: &mut HashMap<Vec<u8>, u64>) -> Vec<(u64, u64)> {
    let source = FileSource::open(device).unwrap();
    let mut map = Vec::new();
    for block in blocks(device) {
        let len = BLOCK.min(source.size() - block * BLOCK);
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        source.read_at(block * BLOCK, &mut bytes).unwrap();
        let next = places.len() as u64;
        map.push((block, *places.entry(bytes).or_insert(next)));
    }
    map
}
