//! A plain list of rows, and a slow, obvious evaluation of filters: the judge of the fast one.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;
use xenith_common_ids::{HostId, NetworkId, PoolId, VmId};
use xenith_common_units::MemoryMiB;
use xenith_orchestrator_inventory::filter::{Bound, Filter, Test, parse};
use xenith_orchestrator_inventory::vm::{Kind, Managed, Named, Power, VmRow, Vms};
use xenith_orchestrator_inventory::{Delta, Inventory, Noun, Scope};

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

pub fn id(n: usize) -> VmId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(n as u64 * 77).to_be_bytes());
    bytes[8..].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    VmId::from_bytes(bytes)
}

const POWERS: [Power; 4] = [Power::Running, Power::Stopped, Power::Paused, Power::Unknown];
const TAGS: [&str; 6] = ["prod", "Prod", "old", "tag with space", "a,b", "none"];

/// Few different values, so that many rows share each.
pub fn random_row(random: &mut Random, n: usize) -> VmRow {
    let names = ["web", "Web", "db-1", "db-2", "mail (old)", "ÄPFEL"];
    let host = random.pick(&[None, Some(1), Some(2), Some(3)]);
    let pool = random.pick(&[None, Some("red"), Some("blue")]);
    let mut tags: Vec<String> = (0..random.below(4)).map(|_| random.pick(&TAGS).to_owned()).collect();
    tags.sort();
    tags.dedup();
    let time = |seconds: usize| OffsetDateTime::from_unix_timestamp(seconds as i64).unwrap();
    let fields = (0..random.below(3))
        .map(|_| (random.pick(&["owner", "room"]).to_owned(), random.pick(&["anna", "Bob"]).to_owned()))
        .collect::<BTreeMap<_, _>>();
    let count = random.below(3);
    let addresses = (0..count).map(|_| format!("10.0.0.{}", random.below(30))).collect();
    let networks: BTreeSet<NetworkId> =
        (0..random.below(3)).map(|_| NetworkId::from_bytes([random.below(4) as u8; 16])).collect();
    VmRow {
        id: id(n),
        name: format!("{}-{}", random.pick(&names), random.below(40)),
        description: random.pick(&["", "the \"main\" one", "spare"]).to_owned(),
        power: random.pick(&POWERS),
        host: host.map(|h| Named { id: HostId::from_bytes([h; 16]), name: format!("xen{h}") }),
        pool: pool.map(|p| Named { id: PoolId::from_bytes([p.len() as u8; 16]), name: p.to_owned() }),
        tags,
        memory: MemoryMiB::new(random.pick(&[256, 512, 1024, 1536, 16384])).unwrap(),
        vcpus: random.below(5) as u32,
        kind: random.pick(&[Kind::Pv, Kind::Pvh, Kind::Hvm]),
        addresses,
        os: random.pick(&[None, Some("Debian 12"), Some("Windows 11")]).map(str::to_owned),
        created: random.pick(&[None, Some(time(1_700_000_000)), Some(time(1_750_000_000))]),
        started: random.pick(&[None, Some(time(1_760_000_000)), Some(time(1_000))]),
        managed: random.pick(&[Managed::Yes, Managed::No]),
        fields,
        cpu: random.pick(&[None, Some(0), Some(55), Some(500), Some(1000)]),
        networks: networks.into_iter().collect(),
    }
}

/// Applies the same to both.
#[derive(Default)]
pub struct Twins {
    pub fast: Inventory<Vms>,
    pub slow: BTreeMap<VmId, VmRow>,
}

impl Twins {
    pub fn new(random: &mut Random, count: usize) -> Self {
        let slow: BTreeMap<VmId, VmRow> = (0..count).map(|n| (id(n), random_row(random, n))).collect();
        Self { fast: Inventory::load(slow.values().cloned()), slow }
    }

    /// One random change: a new row, another row, a removal.
    pub fn change(&mut self, random: &mut Random, ids: usize) {
        let n = random.below(ids);
        let delta = if random.below(4) == 0 {
            self.slow.remove(&id(n));
            Delta::Remove(id(n))
        } else {
            let row = random_row(random, n);
            self.slow.insert(id(n), row.clone());
            Delta::Put(row)
        };
        self.fast.apply([delta]);
    }

    pub fn expected(&self, filter: &Filter, scope: &dyn Fn(&VmRow) -> bool) -> Vec<VmRow> {
        self.slow.values().filter(|row| scope(row) && holds(filter, row)).cloned().collect()
    }

    pub fn assert_same(&self, text: &str) {
        let filter = parse(Vms::SCHEMA, text).unwrap();
        let expected = self.expected(&filter, &|_| true);
        let mut found = crate::pages::all_pages(&self.fast, &filter, &Scope::everything(), ("", 7));
        found.sort_by_key(|row| row.id);
        assert_eq!(found, expected, "{text}");
        assert_eq!(self.fast.count(&filter, &Scope::everything()), expected.len() as u64, "{text}");
    }
}

/// The values of a column, as texts.
fn texts(row: &VmRow, column: &str, key: Option<&str>) -> Vec<String> {
    let one = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned).into_iter().collect();
    match column {
        "name" => one(Some(&row.name)),
        "description" => one(Some(&row.description)),
        "power" => one(Some(row.power.as_str())),
        "host" => one(row.host.as_ref().map(|h| h.name.as_str())),
        "host_id" => row.host.iter().map(|h| h.id.to_string()).collect(),
        "pool" => one(row.pool.as_ref().map(|p| p.name.as_str())),
        "pool_id" => row.pool.iter().map(|p| p.id.to_string()).collect(),
        "tag" => row.tags.clone(),
        "network_id" => row.networks.iter().map(ToString::to_string).collect(),
        "kind" => one(Some(row.kind.as_str())),
        "address" => row.addresses.clone(),
        "os" => one(row.os.as_deref()),
        "managed" => one(Some(row.managed.as_str())),
        "field" => {
            row.fields.iter().filter(|(k, _)| Some(k.as_str()) == key).map(|(_, v)| v.clone()).collect()
        }
        other => panic!("{other} has no texts"),
    }
}

fn ms(time: Option<OffsetDateTime>) -> Option<u64> {
    time.map(|time| time.unix_timestamp() as u64 * 1000)
}

/// A number column's value, in the unit of filters.
pub fn number(row: &VmRow, column: &str) -> Option<Option<u64>> {
    let now = ms(Some(OffsetDateTime::now_utc()));
    let age = |of: Option<u64>| of.and_then(|of| Some((now? - of) / 1000));
    Some(match column {
        "memory" => Some(row.memory.mib()),
        "vcpus" => Some(u64::from(row.vcpus)).filter(|n| *n > 0),
        "created" => ms(row.created),
        "started" => ms(row.started),
        "cpu" => row.cpu.map(u64::from),
        "age" => age(ms(row.created)),
        "uptime" => age(ms(row.started)),
        _ => return None,
    })
}

const BY_PART: [&str; 4] = ["name", "description", "address", "os"];
const SEARCHED: [&str; 6] = ["name", "description", "host", "tag", "address", "os"];

pub fn holds(filter: &Filter, row: &VmRow) -> bool {
    match filter {
        Filter::All => true,
        Filter::And(parts) => parts.iter().all(|part| holds(part, row)),
        Filter::Or(parts) => parts.iter().any(|part| holds(part, row)),
        Filter::Not(inner) => !holds(inner, row),
        Filter::Text(text) => {
            let part = text.to_lowercase();
            SEARCHED
                .iter()
                .flat_map(|column| texts(row, column, None))
                .any(|t| t.to_lowercase().contains(&part))
        }
        Filter::Id(prefix) => row.id.to_string().starts_with(prefix),
        Filter::Term(term) => {
            let column = Vms::SCHEMA.columns[term.column].name;
            term.tests.iter().any(|test| match number(row, column) {
                Some(number) => number_holds(test, number),
                None => text_holds(test, &texts(row, column, term.key.as_deref()), BY_PART.contains(&column)),
            })
        }
    }
}

fn number_holds(test: &Test, number: Option<u64>) -> bool {
    match (test, number) {
        (Test::None, number) => number.is_none(),
        (Test::Range(from, to), Some(number)) => {
            let above = match from {
                Bound::Open => true,
                Bound::At(from) => number >= *from,
            };
            let below = match to {
                Bound::Open => true,
                Bound::At(to) => number <= *to,
            };
            above && below
        }
        (_, number) => *test == Test::Any && number.is_some(),
    }
}

fn text_holds(test: &Test, texts: &[String], by_part: bool) -> bool {
    let same = |text: &String, wanted: &String| text.to_lowercase() == wanted.to_lowercase();
    match test {
        Test::None => texts.is_empty(),
        Test::Any => !texts.is_empty(),
        Test::Match(wanted) if by_part => {
            texts.iter().any(|t| t.to_lowercase().contains(&wanted.to_lowercase()))
        }
        Test::Match(wanted) | Test::Whole(wanted) => texts.iter().any(|t| same(t, wanted)),
        Test::Regex(regex) => {
            let regex = regex::Regex::new(regex).unwrap();
            texts.iter().any(|t| regex.is_match(t))
        }
        Test::Range(..) => panic!("the parser makes no ranges of texts"),
    }
}
