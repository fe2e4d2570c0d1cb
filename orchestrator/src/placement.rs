//! Which host takes a VM, and why. Pure: the same inputs give the same, explained choice; a dry run is the
//! same code.
//!
//! Ruled out: where a VM that is to move is already; hosts that a running guest cannot run on upon; hosts in maintenance, not heard, without the memory, without a network's bridge, or that do not reach
//! every SR that the VM needs: a local one is reached by its host, a shared one by all that have it attached. Among the
//! rest: more free memory after the start is better, fewer virtual CPUs
//! per physical one is better, a host that has none of the VMs to stay apart from, or those to be together with, is much
//! better. Both are preferences: a VM runs alone, or beside another, rather than not at all.
//!
//! [`crate::balance`] asks the same rules about VMs that run already: [`fits`] and [`company`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use xenith_common_ids::{HostId, PoolId, VmId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_types::CpuFeatures;
use xenith_hypervisor_agent_types::network::is_network_device;
use xenith_orchestrator_types::vm::{Candidate, Placement};

/// A host as placement sees it.
#[derive(Debug, Clone)]
pub struct HostView {
    pub host: HostId,
    pub name: String,
    pub pool: PoolId,
    pub heard: bool,
    pub maintenance: bool,
    pub memory_total: u64,
    /// MiB, less what is promised to starts under way.
    pub memory_free: u64,
    pub cpus: u32,
    pub vcpus_used: u32,
    pub bridges: BTreeSet<String>,
    pub vms: BTreeSet<VmId>,
    /// What a running guest must find again; `None`: not known.
    pub machine: Option<Machine>,
}

/// The processors and the Xen of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub cpu: String,
    pub xen: (u32, u32),
    /// `None`: it does not tell.
    pub features: Option<CpuFeatures>,
}

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    pub memory: u64,
    pub vcpus: u32,
    pub pool: Option<PoolId>,
    pub bridges: BTreeSet<String>,
    /// Asked for by name.
    pub only: Option<HostId>,
    pub apart_from: BTreeSet<VmId>,
    pub together_with: BTreeSet<VmId>,
    /// Where its disks and the ISO in its drive are, or will be made.
    pub srs: Vec<NeededSr>,
    /// Where it is now, which is no place to move to.
    pub not: Option<HostId>,
    /// What it runs on now, when it is to run on.
    pub like: Option<Machine>,
    /// What it was given of the processors' features, when it is to run on; `None`: it was started without a level, and has
    /// all of what it runs on.
    pub given: Option<CpuFeatures>,
}

/// An SR that a VM cannot do without, and the hosts that reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededSr {
    pub name: String,
    /// Shared: a thousand VMs have their disks in one SR of a thousand hosts.
    pub hosts: Arc<BTreeSet<HostId>>,
}

/// Memory counts 1000 at most, virtual CPUs 500; each VM to stay apart from or to be together with decides before both.
const COMPANY: i64 = 10_000;

#[must_use]
pub fn place(wish: &Wish, hosts: &[HostView]) -> Placement {
    let mut candidates: Vec<Candidate> = hosts.iter().map(|host| judge(wish, host)).collect();
    // Equal scores: by name, so that the same question gets the same answer.
    candidates.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.name.cmp(&b.name)));
    let host = candidates.first().filter(|best| best.score.is_some()).map(|best| best.host);
    Placement { host, candidates }
}

/// Whether a host can take a VM at all.
#[must_use]
pub fn fits(wish: &Wish, host: &HostView) -> bool {
    obstacles(wish, host).next().is_none()
}

/// How many a host has of the VMs to stay apart from, and of those to be together with.
#[must_use]
pub fn company(wish: &Wish, host: &HostView) -> (usize, usize) {
    let count = |of: &BTreeSet<VmId>| of.iter().filter(|vm| host.vms.contains(vm)).count();
    (count(&wish.apart_from), count(&wish.together_with))
}

fn judge(wish: &Wish, host: &HostView) -> Candidate {
    let out: Vec<String> = obstacles(wish, host).map(|obstacle| obstacle.to_string()).collect();
    if !out.is_empty() {
        return Candidate { host: host.host, name: host.name.clone(), score: None, reasons: out };
    }
    let left = host.memory_free - wish.memory;
    let memory = i64::try_from(left * 1000 / host.memory_total.max(1)).unwrap_or(0);
    let vcpus_after = u64::from(host.vcpus_used + wish.vcpus);
    let cpus = u64::from(host.cpus.max(1));
    // 1 virtual per physical CPU or less is best, 8 and more are equally bad.
    let ratio_percent = vcpus_after * 100 / cpus;
    let load = 500 - i64::try_from(ratio_percent.saturating_sub(100).min(700) * 500 / 700).unwrap_or(500);
    let (shunned, sought) = company(wish, host);
    let points = |count: usize| COMPANY * i64::try_from(count).unwrap_or(i64::MAX / COMPANY / 2);
    let (apart, together) = (points(shunned), points(sought));
    let mut reasons = vec![
        format!("{left} MiB of memory left (+{memory})"),
        format!("{} on {cpus} (+{load})", counted(vcpus_after, "virtual CPU")),
    ];
    if !wish.srs.is_empty() {
        let names: Vec<_> = wish.srs.iter().map(|sr| sr.name.as_str()).collect();
        reasons.push(format!("reaches all SRs that it needs: {}", names.join(", ")));
    }
    if shunned > 0 {
        reasons.push(format!("has {shunned} of the VMs to stay apart from (-{apart})"));
    }
    if !wish.together_with.is_empty() {
        let all = counted(wish.together_with.len(), "VM");
        reasons.push(format!("has {sought} of {all} to be together with (+{together})"));
    }
    let score = memory + load + together - apart;
    Candidate { host: host.host, name: host.name.clone(), score: Some(score), reasons }
}

/// Why a host cannot take a VM. Words are made of it only where somebody reads them: a plan for a whole pool asks a
/// million times.
enum Obstacle<'a> {
    AnotherAskedFor,
    There,
    Unlike(String),
    Sr(&'a str),
    OtherPool,
    Maintenance,
    Unheard,
    Memory { free: u64, needed: u64 },
    Bridge(&'a str),
}

impl fmt::Display for Obstacle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherAskedFor => f.write_str("another host is asked for"),
            Self::There => f.write_str("has it already"),
            Self::Unlike(why) => f.write_str(why),
            Self::Sr(name) => write!(f, "does not reach SR {name}, which this VM needs"),
            Self::OtherPool => f.write_str("is in another pool"),
            Self::Maintenance => f.write_str("is in maintenance"),
            Self::Unheard => f.write_str("is not heard"),
            Self::Memory { free, needed } => {
                write!(f, "has {free} MiB of memory free, {needed} are needed")
            }
            Self::Bridge(bridge) => {
                // One that the host was to make.
                let why = if is_network_device(bridge) { "; `xenith network status` says why" } else { "" };
                write!(f, "has no bridge {bridge}{why}")
            }
        }
    }
}

fn obstacles<'a>(wish: &'a Wish, host: &'a HostView) -> impl Iterator<Item = Obstacle<'a>> {
    let asked = [
        wish.only.is_some_and(|only| only != host.host).then_some(Obstacle::AnotherAskedFor),
        (wish.not == Some(host.host)).then_some(Obstacle::There),
    ];
    let unlike = unlike(wish, host.machine.as_ref());
    let srs = wish.srs.iter().filter(move |sr| !sr.hosts.contains(&host.host));
    let (free, needed) = (host.memory_free, wish.memory);
    let of_host = [
        wish.pool.is_some_and(|pool| pool != host.pool).then_some(Obstacle::OtherPool),
        host.maintenance.then_some(Obstacle::Maintenance),
        (!host.heard).then_some(Obstacle::Unheard),
        (free < needed).then_some(Obstacle::Memory { free, needed }),
    ];
    let bridges = wish.bridges.difference(&host.bridges);
    asked
        .into_iter()
        .flatten()
        .chain(unlike.map(Obstacle::Unlike))
        .chain(srs.map(|sr| Obstacle::Sr(&sr.name)))
        .chain(of_host.into_iter().flatten())
        .chain(bridges.map(|bridge| Obstacle::Bridge(bridge)))
}

/// Why a guest that runs on one machine cannot run on, on another. Its kernel asked once what the processor can do; Xen
/// reads the memory that an older one wrote, and not the other way round.
pub(crate) fn unlike(wish: &Wish, machine: Option<&Machine>) -> Option<String> {
    let like = wish.like.as_ref()?;
    let Some(machine) = machine else { return Some("has not said what its processors are".to_owned()) };
    let lacking = match &wish.given {
        Some(given) => lacks_given(given, machine),
        None => lacks_all(like, machine),
    };
    if lacking.is_some() {
        return lacking;
    }
    let ((major, minor), (old_major, old_minor)) = (machine.xen, like.xen);
    (machine.xen < like.xen).then(|| {
        format!(
            "runs Xen {major}.{minor}, older than {old_major}.{old_minor}, for which a VM must be shut down"
        )
    })
}

/// Of a guest that was started under a level, whatever the model of its processors.
fn lacks_given(given: &CpuFeatures, machine: &Machine) -> Option<String> {
    let Some(features) = &machine.features else {
        return Some("has not said what its processors can do".to_owned());
    };
    (!features.has_all_of(given)).then(|| {
        format!(
            "lacks CPU features that the VM was started with ({}); shut it down and start it: it gets what the level of \
             the pool is by then",
            some_of(&features.lacks(given))
        )
    })
}

/// Of a guest that has all of what it runs on. Equal models may have unequal features, by their firmware; of unequal
/// ones Xen does not tell all.
fn lacks_all(like: &Machine, machine: &Machine) -> Option<String> {
    const WAY_OUT: &str =
        "for which a VM must be shut down, or be started under a level (xenith pool set-cpu-level)";
    if machine.cpu != like.cpu {
        return Some(format!(
            "has other processors ({}; the VM runs on {}), {WAY_OUT}",
            machine.cpu, like.cpu
        ));
    }
    match (&like.features, &machine.features) {
        (Some(has), Some(features)) if !features.has_all_of(has) => Some(format!(
            "lacks CPU features that the VM was started with ({}), {WAY_OUT}",
            some_of(&features.lacks(has))
        )),
        _ => None,
    }
}

/// As many as somebody reads.
pub(crate) fn some_of(names: &[String]) -> String {
    const MOST: usize = 10;
    let more = names.len().saturating_sub(MOST);
    let told = names[..names.len() - more].join(", ");
    if more == 0 { told } else { format!("{told} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, memory_free: u64) -> HostView {
        HostView {
            host: HostId::new(),
            name: name.into(),
            pool: PoolId::from_bytes([1; 16]),
            heard: true,
            maintenance: false,
            memory_total: 16_384,
            memory_free,
            cpus: 8,
            vcpus_used: 0,
            bridges: BTreeSet::from(["xenbr0".to_owned()]),
            vms: BTreeSet::new(),
            machine: Some(machine("Xeon", (4, 17))),
        }
    }

    fn machine(cpu: &str, xen: (u32, u32)) -> Machine {
        Machine { cpu: cpu.into(), xen, features: None }
    }

    fn sr<const N: usize>(name: &str, hosts: [HostId; N]) -> NeededSr {
        NeededSr { name: name.into(), hosts: Arc::new(hosts.into()) }
    }

    type Change = fn(&mut Wish, &mut HostView, &mut HostView, VmId);
    /// What is so, who wins, and words of the reason.
    type Case = (&'static str, Change, Option<&'static str>, &'static str);

    fn decide(table: &[Case]) {
        let friend = VmId::new();
        for (case, change, winner, reason) in table {
            let mut wish = Wish {
                memory: 1024,
                vcpus: 2,
                bridges: BTreeSet::from(["xenbr0".to_owned()]),
                ..Wish::default()
            };
            let (mut a, mut b) = (host("a", 8192), host("b", 8192));
            change(&mut wish, &mut a, &mut b, friend);
            let placement = place(&wish, &[a.clone(), b.clone()]);
            let name = placement.host.map(|host| if host == a.host { "a" } else { "b" });
            assert_eq!(name, *winner, "{case}: {placement:?}");
            let told = placement.candidates.iter().flat_map(|candidate| &candidate.reasons);
            assert!(told.clone().any(|text| text.contains(reason)), "{case}: {placement:?}");
        }
    }

    #[test]
    fn who_wins_and_why_the_others_lose() {
        decide(&[
            ("more memory", |_, _, b, _| b.memory_free = 16_000, Some("b"), "memory left"),
            ("equal: by name", |_, _, _, _| {}, Some("a"), "memory left"),
            ("maintenance", |_, a, _, _| a.maintenance = true, Some("b"), "is in maintenance"),
            ("not heard", |_, a, _, _| a.heard = false, Some("b"), "is not heard"),
            ("no bridge", |_, a, _, _| a.bridges.clear(), Some("b"), "has no bridge xenbr0"),
            (
                "an SR that only one has",
                |wish, a, b, _| {
                    wish.srs = vec![sr("fast", [b.host])];
                    a.memory_free = 16_000;
                },
                Some("b"),
                "does not reach SR fast, which this VM needs",
            ),
            (
                "an SR that both have",
                |wish, a, b, _| {
                    wish.srs = vec![sr("nas", [a.host, b.host])];
                    b.memory_free = 16_000;
                },
                Some("b"),
                "reaches all SRs that it needs: nas",
            ),
            (
                "two SRs, of which only one host has both",
                |wish, a, b, _| {
                    wish.srs = vec![sr("nas", [a.host, b.host]), sr("fast", [b.host])];
                    a.memory_free = 16_000;
                },
                Some("b"),
                "reaches all SRs that it needs: nas, fast",
            ),
            (
                "two SRs, of which no host has both",
                |wish, a, b, _| wish.srs = vec![sr("slow", [a.host]), sr("fast", [b.host])],
                None,
                "does not reach SR slow",
            ),
            (
                "asked for by name",
                |wish, a, b, _| {
                    wish.only = Some(b.host);
                    a.memory_free = 16_000;
                },
                Some("b"),
                "another host is asked for",
            ),
            (
                "another pool",
                |wish, a, b, _| {
                    wish.pool = Some(b.pool);
                    a.pool = PoolId::from_bytes([2; 16]);
                    a.memory_free = 16_000;
                },
                Some("b"),
                "is in another pool",
            ),
            ("one is one", |wish, _, _, _| wish.vcpus = 1, Some("a"), "1 virtual CPU on "),
            ("busy CPUs", |_, a, _, _| a.vcpus_used = 64, Some("b"), "virtual CPUs"),
            ("nobody", |wish, _, _, _| wish.memory = 65_536, None, "65536 are needed"),
        ]);
    }

    #[test]
    fn a_vm_that_runs_goes_where_it_can_run_on() {
        decide(&[
            ("where it is", |wish, a, _, _| wish.not = Some(a.host), Some("b"), "has it already"),
            (
                "runs on, and one has other processors",
                |wish, a, _, _| {
                    wish.like = Some(machine("Xeon", (4, 17)));
                    a.machine = Some(machine("Opteron", (4, 17)));
                },
                Some("b"),
                "has other processors (Opteron; the VM runs on Xeon)",
            ),
            (
                "runs on, and one has an older Xen",
                |wish, a, b, _| {
                    wish.like = Some(machine("Xeon", (4, 17)));
                    a.machine = Some(machine("Xeon", (4, 9)));
                    b.machine = Some(machine("Xeon", (4, 18)));
                },
                Some("b"),
                "runs Xen 4.9, older than 4.17",
            ),
            (
                "runs on, and of one nothing is known",
                |wish, a, _, _| {
                    wish.like = Some(machine("Xeon", (4, 17)));
                    a.machine = None;
                },
                Some("b"),
                "has not said what its processors are",
            ),
        ]);
    }

    fn features(ebx: u32) -> Option<CpuFeatures> {
        CpuFeatures::new("GenuineIntel", [1, 1, 1, 1, 1, ebx, 0, 0])
    }

    /// Xen is as new, and the features are these.
    fn can(cpu: &str, ebx: u32) -> Option<Machine> {
        Some(Machine { features: features(ebx), ..machine(cpu, (4, 17)) })
    }

    #[test]
    fn a_vm_that_runs_finds_what_it_was_given() {
        const AVX512: u32 = 1 << 16;
        const AVX2: u32 = 1 << 5;
        decide(&[
            (
                "under a level, to another model that has all of it",
                |wish, a, b, _| {
                    (wish.like, wish.given) = (can("new", AVX2 | AVX512), features(AVX2));
                    (a.machine, b.machine) = (can("old", AVX2), None);
                },
                Some("a"),
                "has not said what its processors are",
            ),
            (
                "under a higher level than the host has",
                |wish, a, b, _| {
                    (wish.like, wish.given) = (can("new", AVX2 | AVX512), features(AVX2 | AVX512));
                    (a.machine, b.machine) = (can("old", AVX2), can("newer", AVX2 | AVX512 | 1));
                },
                Some("b"),
                "lacks CPU features that the VM was started with (avx512f); shut it down and start it",
            ),
            (
                "under a level, and the host does not tell",
                |wish, a, _, _| {
                    (wish.like, wish.given) = (can("new", AVX2), features(AVX2));
                    a.machine = Some(machine("new", (4, 17)));
                },
                None,
                "has not said what its processors can do",
            ),
            (
                "without one, to another model that has more",
                |wish, a, b, _| {
                    wish.like = can("new", AVX2);
                    (a.machine, b.machine) = (can("newer", AVX2 | AVX512), can("new", AVX2));
                },
                Some("b"),
                "started under a level (xenith pool set-cpu-level)",
            ),
            (
                "without one, to the same model with less",
                |wish, a, b, _| {
                    wish.like = can("new", AVX2 | AVX512);
                    (a.machine, b.machine) = (can("new", AVX2), can("new", AVX2 | AVX512));
                },
                Some("b"),
                "started with (avx512f), for which a VM must be shut down",
            ),
            (
                "a start goes anywhere",
                |_, a, b, _| (a.machine, b.machine) = (can("old", 0), None),
                Some("a"),
                "memory left",
            ),
        ]);
    }

    #[test]
    fn company_counts_before_room() {
        decide(&[
            (
                "apart",
                |wish, a, b, friend| {
                    wish.apart_from.insert(friend);
                    a.vms.insert(friend);
                    b.memory_free = 2000;
                },
                Some("b"),
                "stay apart",
            ),
            (
                "together",
                |wish, _, b, friend| {
                    wish.together_with.insert(friend);
                    b.vms.insert(friend);
                    b.memory_free = 2000;
                },
                Some("b"),
                "has 1 of 1 VM to be together with (+10000)",
            ),
            (
                "together, but there is no room",
                |wish, _, b, friend| {
                    wish.together_with.insert(friend);
                    b.vms.insert(friend);
                    b.memory_free = 1000;
                },
                Some("a"),
                "has 0 of 1 VM to be together with (+0)",
            ),
            (
                "together with more of them",
                |wish, a, b, friend| {
                    let other = VmId::new();
                    wish.together_with.extend([friend, other, VmId::new()]);
                    a.vms.insert(friend);
                    b.vms.extend([friend, other]);
                    b.memory_free = 2000;
                },
                Some("b"),
                "has 2 of 3 VMs to be together with (+20000)",
            ),
            (
                "together here, apart there",
                |wish, a, b, friend| {
                    let foe = VmId::new();
                    wish.together_with.insert(friend);
                    wish.apart_from.insert(foe);
                    a.vms.extend([friend, foe]);
                    b.memory_free = 16_000;
                },
                Some("b"),
                "stay apart from (-10000)",
            ),
        ]);
    }

    #[test]
    fn nobody_is_left_where_the_rules_leave_no_host() {
        let (a, b) = (host("a", 8192), host("b", 8192));
        let nowhere = [
            ("no host has the SRs", Wish { srs: vec![sr("nas", [])], ..Wish::default() }),
            (
                "the named one has not the SR",
                Wish { only: Some(a.host), srs: vec![sr("fast", [b.host])], ..Wish::default() },
            ),
            ("a pool without hosts", Wish { pool: Some(PoolId::from_bytes([9; 16])), ..Wish::default() }),
            ("a host that is gone", Wish { only: Some(HostId::new()), ..Wish::default() }),
        ];
        for (case, wish) in nowhere {
            let placement = place(&wish, &[a.clone(), b.clone()]);
            assert_eq!(placement.host, None, "{case}");
            assert!(
                placement.candidates.iter().all(|host| !host.reasons.is_empty()),
                "{case}: {placement:?}"
            );
        }
    }
}
