//! What the installer has to know, as a file: TOML, read strictly, every complaint with its line and field.
//!
//! The same value comes out of the text screens, so that a plan never knows who answered. [`Answers::parse`] is the
//! only way in from a file. What always holds: an [`Answers`] is consistent in itself; whether it fits the machine
//! (that disk, that card) is for [`crate::plan`] to say.

mod locate;
pub mod values;

use std::fmt;

use serde::Deserialize;
use xenith_hypervisor_agent_api::JoinToken;

use self::locate::{field_at, line_of};
use self::values::{
    Address, BondMode, HostName, Nameserver, NicName, PasswordHash, SshKey, TimeZone, VlanId,
};

/// The only version of the schema so far.
const VERSION: u32 = 1;

/// All answers. `docs/installer.md` describes each field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    pub target: Target,
    pub system: System,
    pub access: Access,
    pub network: Network,
    pub join: Option<Join>,
}

/// `[target]`: which disks, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// A path (`/dev/sda`, `/dev/disk/by-id/…`) or `serial:…`, once or, for a mirror, twice.
    pub disks: Vec<String>,
    /// The file's way of typing the name of the disk: everything on the disks above is lost.
    #[serde(default)]
    pub erase: bool,
    #[serde(default)]
    pub sr: SrKind,
    #[serde(default)]
    pub after: After,
}

/// The SR on the rest of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SrKind {
    /// XFS that shares blocks between files: snapshots and clones cost nothing.
    #[default]
    Xfs,
    /// A thin pool of LVM, which becomes an SR when the orchestrator is told of it.
    LvmThin,
    /// The partition is left empty.
    None,
}

/// What the machine does when it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum After {
    #[default]
    Reboot,
    PowerOff,
}

/// `[system]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    pub name: HostName,
    #[serde(default)]
    pub timezone: TimeZone,
    /// Empty: the pool of Debian.
    #[serde(default)]
    pub ntp: Vec<Nameserver>,
    #[serde(default)]
    pub role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    #[default]
    Host,
    /// The orchestrator runs in dom0 beside the agent.
    HostAndOrchestrator,
}

/// `[access]`: there is no default password; without a hash nobody logs in at the console.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    pub root_password_hash: Option<PasswordHash>,
    pub ssh_keys: Vec<SshKey>,
}

/// `[network]`: the management bridge and what it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Names or hardware addresses. Empty: the only card with a cable in it.
    pub nics: Vec<NicName>,
    pub bond: Option<BondMode>,
    pub vlan: Option<VlanId>,
    pub address: Addressing,
    pub dns: Vec<Nameserver>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressing {
    Dhcp,
    Static { address: Address, gateway: Option<std::net::IpAddr> },
}

/// `[join]`: the orchestrator that this host will belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    pub token: JoinToken,
    /// `host:port` under which the orchestrator reaches the agent, if not where it calls from.
    pub advertise: Option<String>,
    pub check: Check,
}

/// Whether the orchestrator is asked before anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Required,
    /// A machine that is installed where its orchestrator cannot be reached yet.
    Skipped,
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct AnswersError {
    pub line: usize,
    /// Dotted, such as `network.gateway`; empty where the file is no TOML.
    pub field: String,
    pub problem: String,
}

impl fmt::Display for AnswersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {}", self.problem)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    target: Target,
    system: System,
    #[serde(default)]
    access: Access,
    #[serde(default)]
    network: NetworkText,
    join: Option<JoinText>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NetworkText {
    nics: Vec<NicName>,
    bond: Option<BondMode>,
    vlan: Option<VlanId>,
    address: AddressText,
    gateway: Option<std::net::IpAddr>,
    dns: Vec<Nameserver>,
}

#[derive(Default, Deserialize)]
#[serde(try_from = "String")]
enum AddressText {
    #[default]
    Dhcp,
    Static(Address),
}

impl TryFrom<String> for AddressText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "dhcp" {
            return Ok(Self::Dhcp);
        }
        text.parse().map(Self::Static).map_err(|problem: String| format!("{problem}, or \"dhcp\""))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinText {
    token: TokenText,
    advertise: Option<String>,
    #[serde(default = "yes")]
    check: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct TokenText(JoinToken);

impl TryFrom<String> for TokenText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|error: xenith_hypervisor_agent_api::ParseJoinTokenError| error.to_string())
    }
}

impl Answers {
    /// Reads a file. The first thing that is wrong is told.
    pub fn parse(text: &str) -> Result<Self, AnswersError> {
        let file: FileText = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            AnswersError {
                line: line_of(text, offset),
                field: field_at(text, offset),
                problem: error.message().trim().replace('\n', "; "),
            }
        })?;
        let network = network(text, file.network)?;
        check_whole(text, &file.target, file.version)?;
        let join = file.join.map(|join| Join {
            token: join.token.0,
            advertise: join.advertise,
            check: if join.check { Check::Required } else { Check::Skipped },
        });
        if let Some(advertise) = join.as_ref().and_then(|join| join.advertise.as_deref())
            && !values::is_host_and_port(advertise)
        {
            return Err(wrong(text, "join", "advertise", "expected host:port"));
        }
        if file.system.role == Role::HostAndOrchestrator && join.is_some() {
            let problem = "a host with an orchestrator of its own joins that one; leave [join] out";
            return Err(wrong(text, "join", "token", problem));
        }
        Ok(Self { target: file.target, system: file.system, access: file.access, network, join })
    }
}

/// What no single field shows.
fn check_whole(text: &str, target: &Target, version: u32) -> Result<(), AnswersError> {
    if version != VERSION {
        return Err(wrong(text, "", "version", &format!("this installer reads version {VERSION}")));
    }
    match target.disks.as_slice() {
        [one] if !one.is_empty() => {}
        [one, two] if !one.is_empty() && !two.is_empty() && one != two => {}
        [_, _] => return Err(wrong(text, "target", "disks", "a mirror needs two different disks")),
        _ => return Err(wrong(text, "target", "disks", "name one disk, or two for a mirror")),
    }
    if !target.erase {
        let problem = "everything on these disks will be lost: say `erase = true` to allow it";
        return Err(wrong(text, "target", "erase", problem));
    }
    Ok(())
}

fn network(text: &str, network: NetworkText) -> Result<Network, AnswersError> {
    let bad = |key: &str, problem: &str| Err(wrong(text, "network", key, problem));
    if network.nics.len() > 1 && network.bond.is_none() {
        return bad("nics", "several cards need `bond`: active-backup or 802.3ad");
    }
    if network.bond.is_some() && network.nics.len() < 2 {
        return bad("bond", "a bond needs two cards or more in `nics`");
    }
    let address = match network.address {
        AddressText::Dhcp if network.gateway.is_some() => {
            return bad("gateway", "with DHCP the gateway comes from there; leave it out");
        }
        AddressText::Dhcp => Addressing::Dhcp,
        AddressText::Static(address) => {
            if let Some(gateway) = network.gateway
                && !address.reaches(gateway)
            {
                return bad("gateway", &format!("{gateway} is not in the network of {address}"));
            }
            Addressing::Static { address, gateway: network.gateway }
        }
    };
    Ok(Network { nics: network.nics, bond: network.bond, vlan: network.vlan, address, dns: network.dns })
}

fn wrong(text: &str, table: &str, key: &str, problem: &str) -> AnswersError {
    let field = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
    AnswersError { line: locate::line_of_field(text, table, key), field, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests;
