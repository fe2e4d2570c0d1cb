//! What a simulated host is like: built in code, or read from TOML.
//!
//! Every field has a default, so a file names only what it changes; an unknown field is an error. By default
//! everything takes no time, which is what most tests want; [`SimConfig::lifelike`] takes as long as a host in
//! a data centre. One configuration is shared by any number of hosts.
//!
//! ```toml
//! seed = 7
//! faults = ["fail the 3rd create with no-memory", "lose the next died"]
//! [host]
//! memory = "64GiB"
//! bridges = ["xenbr0", "storage"]
//! [guest]
//! boot = "2s..5s"
//! manners = { "deaf-*" = "deaf" }
//! [delays]
//! create = "400ms median 5s p99"
//! ```

use std::collections::BTreeMap;
use std::fmt::Display;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::{Bridge, CPU_WORDS, CpuFeatures, CpuTopology, GuestData, XenVersion};

use crate::delay::parse_duration;
use crate::fault::glob;
use crate::{Delay, FaultRule, Operation};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimConfig {
    /// Decides every sampled delay, every fault with a probability and every guest's load.
    pub seed: u64,
    pub host: HostModel,
    pub guest: GuestModel,
    pub delays: Delays,
    pub faults: Vec<FaultRule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostModel {
    pub hostname: String,
    #[serde(deserialize_with = "from_text")]
    pub memory: MemoryMiB,
    #[serde(deserialize_with = "from_text")]
    pub dom0_memory: MemoryMiB,
    pub cpus: u32,
    pub cpu_model: String,
    /// What its processors can do; none: it does not tell.
    pub cpu_features: Option<CpuFeatures>,
    #[serde(deserialize_with = "xen_version")]
    pub xen: XenVersion,
    pub capabilities: Vec<String>,
    pub bridges: Vec<String>,
    /// Cards that no bridge has.
    pub interfaces: Vec<String>,
    pub unknown_bridges: UnknownBridges,
    pub files: Files,
}

/// What becomes of a NIC in a bridge that the host does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownBridges {
    /// The call is refused, as on a real host.
    #[default]
    Refuse,
    /// For fleets whose networks are simulated too.
    Accept,
}

/// Whether kernels and disk images that a spec names must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// Paths are believed: a fleet of ten thousand hosts has no disks.
    #[default]
    Trust,
    /// They must exist, as on a real host.
    Check,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuestModel {
    /// From the first instruction until the guest answers requests and tells its facts.
    pub boot: Delay,
    /// From a request to shut down until the domain is dead.
    pub shutdown: Delay,
    /// How long the toolstack waits for a guest that does not answer.
    #[serde(deserialize_with = "duration")]
    pub patience: Duration,
    pub os: String,
    /// What guests write besides.
    pub data: GuestData,
    /// TCP ports that answer, on a network where somebody asks.
    pub ports: Vec<NonZeroU16>,
    /// By the VM's name; `*` stands for anything. The first match in the order of the patterns counts.
    pub manners: BTreeMap<String, Manners>,
}

/// How a guest behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Manners {
    #[default]
    Polite,
    /// Boots, works, and ignores every request.
    Deaf,
    CrashesAtBoot,
    /// Boots and then shuts down by itself, as an installer does.
    PowersOffAtBoot,
    RebootsAtBoot,
    /// Has no PV drivers: answers requests (ACPI), tells no facts.
    NoDrivers,
}

/// How long each call takes; zero where nothing is said.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, Delay>")]
pub struct Delays([Delay; Operation::COUNT]);

impl Delays {
    #[must_use]
    pub const fn get(&self, operation: Operation) -> Delay {
        self.0[operation as usize]
    }

    pub fn set(&mut self, operation: Operation, delay: impl Into<Delay>) {
        self.0[operation as usize] = delay.into();
    }
}

impl TryFrom<BTreeMap<String, Delay>> for Delays {
    type Error = String;

    fn try_from(named: BTreeMap<String, Delay>) -> Result<Self, String> {
        let mut delays = Self::default();
        for (name, delay) in named {
            let (operation, _) = Operation::ALL
                .into_iter()
                .find(|(_, known)| *known == name)
                .ok_or_else(|| format!("{name:?} is not a call such as create or attach-disk"))?;
            delays.set(operation, delay);
        }
        Ok(delays)
    }
}

/// Why a configuration cannot be used. Names the place in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the simulator's configuration: {0}")]
pub struct ConfigError(String);

impl SimConfig {
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError(error.to_string()))
    }

    /// The delays of a host in a data centre: a create takes half a second, a guest boots in seconds.
    #[must_use]
    pub fn lifelike() -> Self {
        let skewed = |median: u64, p99: u64| Delay::Skewed {
            median: Duration::from_millis(median),
            p99: Duration::from_millis(p99),
        };
        let mut config = Self::default();
        for (operation, delay) in [
            (Operation::Create, skewed(500, 2500)),
            (Operation::Resume, skewed(1500, 8000)),
            (Operation::Suspend, skewed(2500, 12000)),
            (Operation::SuspendLive, skewed(4000, 20000)),
            (Operation::Destroy, skewed(200, 1500)),
            (Operation::Pause, skewed(3, 30)),
            (Operation::Unpause, skewed(3, 30)),
            (Operation::Shutdown, skewed(5, 50)),
            (Operation::SetMemory, skewed(20, 400)),
            (Operation::SetVcpus, skewed(20, 200)),
            (Operation::AttachDisk, skewed(150, 900)),
            (Operation::DetachDisk, skewed(150, 900)),
            (Operation::AttachNic, skewed(120, 700)),
            (Operation::DetachNic, skewed(120, 700)),
        ] {
            config.delays.set(operation, delay);
        }
        config.guest.boot = skewed(4000, 15000);
        config.guest.shutdown = skewed(2500, 10000);
        config
    }
}

impl GuestModel {
    pub(crate) fn manners_of(&self, name: &str) -> Manners {
        self.manners
            .iter()
            .find(|(pattern, _)| glob(pattern, name))
            .map(|(_, manners)| *manners)
            .unwrap_or_default()
    }
}

impl Default for GuestModel {
    fn default() -> Self {
        Self {
            boot: Delay::ZERO,
            shutdown: Delay::ZERO,
            // libxl's own limit for a device that does not go away (LIBXL_DESTROY_TIMEOUT).
            patience: Duration::from_secs(10),
            os: "Simulated Linux 1.0".to_owned(),
            data: GuestData::default(),
            ports: NonZeroU16::new(22).into_iter().collect(),
            manners: BTreeMap::new(),
        }
    }
}

/// A processor with AVX-512, as such are found in data centres.
const SIMULATED: [u32; CPU_WORDS] =
    [0x0789_abff, 0x7ed8_3203, 0x2c10_0800, 0x0000_0121, 0x0000_000f, 0xd19f_27a9, 0x0000_0808, 0];

impl Default for HostModel {
    fn default() -> Self {
        Self {
            hostname: "sim".to_owned(),
            memory: MemoryMiB::from_bytes_floor(64 << 30),
            dom0_memory: MemoryMiB::from_bytes_floor(2 << 30),
            cpus: 16,
            cpu_model: "Simulated CPU @ 2.40GHz".to_owned(),
            cpu_features: CpuFeatures::new("GenuineIntel", SIMULATED),
            xen: XenVersion { major: 4, minor: 17, extra: ".5-sim".to_owned() },
            capabilities: ["pv", "hvm", "hap"].map(str::to_owned).to_vec(),
            bridges: vec!["xenbr0".to_owned()],
            interfaces: ["eth8", "eth9"].map(str::to_owned).to_vec(),
            unknown_bridges: UnknownBridges::default(),
            files: Files::default(),
        }
    }
}

impl HostModel {
    pub(crate) fn topology(&self) -> CpuTopology {
        let threads_per_core = if self.cpus.is_multiple_of(2) { 2 } else { 1 };
        CpuTopology {
            cpus: self.cpus,
            cores_per_socket: (self.cpus / threads_per_core).max(1),
            threads_per_core,
            nodes: 1,
            khz: 2_400_000,
        }
    }

    /// Each bridge with one uplink, `eth0` for the first.
    pub(crate) fn bridges(&self) -> Vec<Bridge> {
        self.bridges
            .iter()
            .enumerate()
            .map(|(index, name)| Bridge {
                name: name.clone(),
                uplinks: vec![format!("eth{index}")],
                mtu: 1500,
            })
            .collect()
    }
}

fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time such as 10s")))
}

/// `4.17.5`, `4.20`, `4.17.5-debian`.
fn xen_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<XenVersion, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = text.split_once('.').and_then(|(major, rest)| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (minor, extra) = rest.split_at(digits);
        Some(XenVersion { major: major.parse().ok()?, minor: minor.parse().ok()?, extra: extra.to_owned() })
    });
    parsed.ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a version such as 4.17.5")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;

    #[test]
    fn a_file_names_only_what_it_changes() {
        let config = SimConfig::from_toml(
            r#"
            seed = 7
            faults = ["fail the 3rd create with no-memory"]
            [host]
            memory = "8GiB"
            xen = "4.20.1-debian"
            unknown_bridges = "accept"
            [guest]
            boot = "2s..5s"
            patience = "1s"
            manners = { "deaf-*" = "deaf", "once" = "powers-off-at-boot" }
            [delays]
            attach-disk = "400ms median 5s p99"
            "#,
        )
        .unwrap();
        assert_eq!(config.seed, 7);
        assert_eq!(config.faults, [FaultRule::fail(Operation::Create, Failure::NoMemory).nth(3)]);
        assert_eq!(config.host.memory.mib(), 8192);
        assert_eq!(config.host.xen, XenVersion { major: 4, minor: 20, extra: ".1-debian".into() });
        assert_eq!(config.host.bridges, ["xenbr0"]);
        assert_eq!(config.guest.manners_of("deaf-1"), Manners::Deaf);
        assert_eq!(config.guest.manners_of("web"), Manners::Polite);
        assert_eq!(config.delays.get(Operation::AttachDisk).to_string(), "400ms median 5s p99");
        assert_eq!(config.delays.get(Operation::Create), Delay::ZERO);
    }

    #[test]
    fn problems_name_their_place() {
        for (text, problem) in [
            ("speed = 1", "speed"),
            ("[host]\nmemory = \"lots\"", "memory"),
            ("[host]\nxen = \"new\"", "4.17.5"),
            ("[delays]\nattach = \"1s\"", "attach"),
            ("[delays]\ncreate = \"soon\"", "soon"),
            ("[guest]\nmanners = { a = \"rude\" }", "rude"),
            ("faults = [\"fail all\"]", "fail all"),
        ] {
            let error = SimConfig::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
