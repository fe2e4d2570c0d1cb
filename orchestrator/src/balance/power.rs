//! Which host of a pool is switched off because the others do without it, or on again because they do not, and why. Pure:
//! the same inputs give the same step.
//!
//! What always holds:
//!
//! * One host at a time. While one comes up, no other is switched.
//! * Only a host on which nothing is defined goes off, and only where so many stay on as must, and bear everything with room
//!   to spare: what makes it go off is further from the ceiling than what makes it come on.
//! * Room that is needed is not waited for: only going off waits for the cool-down.

use xenith_common_ids::HostId;
use xenith_common_text::counted;

use super::{HostLoad, percent};

/// Where a host is between on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    On,
    GoesDown,
    /// Switched off by a step of this.
    Asleep,
    ComesUp,
    /// It neither counts nor is switched: in maintenance, not heard.
    Out,
}

/// A host and its power.
#[derive(Debug, Clone)]
pub struct HostPower {
    pub load: HostLoad,
    pub standing: Standing,
    /// Why it stays on although nothing is defined there: "has no power control".
    pub stays: Option<&'static str>,
    /// It would take a VM that found no room elsewhere.
    pub is_wanted: bool,
}

/// Whether hosts may be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    May,
    /// Not now: one was switched a short while ago, or VMs are on their way.
    Waits,
    /// Nobody wants it any more: those that are off come on.
    Ended,
}

/// Fullness in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many hosts stay on.
    pub least: usize,
    /// Fuller than this, a host comes on.
    pub ceiling: u64,
    /// So much below that the others stay when one goes off.
    pub spare: u64,
    pub off: Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Off,
    On,
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub turn: Turn,
    pub host: HostId,
    pub name: String,
    pub reason: String,
}

impl Step {
    fn new(turn: Turn, of: &HostPower, reason: String) -> Self {
        let view = &of.load.view;
        Self { turn, host: view.host, name: view.name.clone(), reason }
    }
}

/// Hosts that are asleep are woken in the order in which they are given.
#[must_use]
pub fn next(hosts: &[HostPower], limits: &Limits) -> Option<Step> {
    if hosts.iter().any(|host| host.standing == Standing::ComesUp) {
        return None;
    }
    on(hosts, limits).or_else(|| off(hosts, limits))
}

fn awake(hosts: &[HostPower]) -> Vec<&HostPower> {
    hosts.iter().filter(|host| host.standing == Standing::On).collect()
}

/// How full they are as one, of what there is less left.
fn full<'a>(hosts: impl Iterator<Item = &'a HostPower>) -> u64 {
    let (mut memory, mut cpu) = ((0, 0), (0, 0));
    for HostPower { load, .. } in hosts {
        memory = (memory.0 + load.memory_used, memory.1 + load.view.memory_total);
        cpu = (cpu.0 + load.cpu, cpu.1 + u64::from(load.view.cpus));
    }
    (memory.0 * 1000 / memory.1.max(1)).max(cpu.0 / cpu.1.max(1))
}

fn on(hosts: &[HostPower], limits: &Limits) -> Option<Step> {
    let mut asleep = hosts.iter().filter(|host| host.standing == Standing::Asleep);
    let first = asleep.clone().next()?;
    let step = |host: &HostPower, reason: String| Some(Step::new(Turn::On, host, reason));
    if let Some(host) = asleep.clone().find(|host| host.load.count > 0) {
        return step(host, format!("{} defined there", are(host.load.count)));
    }
    if limits.off == Off::Ended {
        return step(first, "hosts of the pool are not switched off by load any more".to_owned());
    }
    let awake = awake(hosts);
    if awake.len() < limits.least {
        return step(
            first,
            format!("of the pool {} on, and {} must be", hosts_are(awake.len()), limits.least),
        );
    }
    let full = full(awake.iter().copied());
    if full > limits.ceiling {
        let (full, ceiling) = (percent(full), percent(limits.ceiling));
        return step(first, format!("the {} at {full}, more than {ceiling}", hosts_on(awake.len())));
    }
    let wanted = asleep.find(|host| host.is_wanted)?;
    step(wanted, "a VM found no room on the others".to_owned())
}

fn off(hosts: &[HostPower], limits: &Limits) -> Option<Step> {
    let going = hosts.iter().any(|host| host.standing == Standing::GoesDown);
    let awake = awake(hosts);
    if limits.off != Off::May || going || awake.len() <= limits.least.max(1) {
        return None;
    }
    let mut spared: Vec<&HostPower> =
        awake.iter().copied().filter(|host| host.load.count == 0 && host.stays.is_none()).collect();
    // The small ones first: what stays in one piece takes large VMs.
    spared.sort_by_cached_key(|host| (host.load.view.memory_total, host.load.view.name.clone()));
    let rest = |spared: &HostPower| {
        let host = spared.load.view.host;
        full(awake.iter().copied().filter(|other| other.load.view.host != host))
    };
    let spared = spared.into_iter().find(|host| rest(host) + limits.spare <= limits.ceiling)?;
    let reason = format!(
        "no VM is defined there, and without it the {} at {}",
        hosts_on(awake.len() - 1),
        percent(rest(spared))
    );
    Some(Step::new(Turn::Off, spared, reason))
}

fn are(vms: usize) -> String {
    format!("{} {}", counted(vms, "VM"), if vms == 1 { "is" } else { "are" })
}

fn hosts_are(hosts: usize) -> String {
    format!("{} {}", counted(hosts, "host"), if hosts == 1 { "is" } else { "are" })
}

fn hosts_on(hosts: usize) -> String {
    match hosts {
        1 => "host that is on is".to_owned(),
        many => format!("{many} hosts that are on are"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use xenith_common_ids::PoolId;

    use super::*;
    use crate::balance::Vms;
    use crate::placement::HostView;

    /// Of 100 MiB and 10 processors.
    fn host(name: &str, standing: Standing, used: u64, count: usize) -> HostPower {
        let view = HostView {
            host: HostId::new(),
            name: name.into(),
            pool: PoolId::from_bytes([1; 16]),
            heard: standing == Standing::On,
            maintenance: standing != Standing::On,
            memory_total: 100,
            memory_free: 100 - used,
            cpus: 10,
            vcpus_used: 0,
            bridges: BTreeSet::new(),
            vms: BTreeSet::new(),
            machine: None,
        };
        let load = HostLoad { view, memory_used: used, cpu: 0, count, vms: Vms::NotLookedAt };
        HostPower { load, standing, stays: None, is_wanted: false }
    }

    type Change = fn(&mut Vec<HostPower>, &mut Limits);

    /// Two hosts that are half full, one that is bare and on, one that is bare and off.
    fn told(change: Change) -> Option<(Turn, String, String)> {
        let mut hosts = vec![
            host("asleep", Standing::Asleep, 0, 0),
            host("full-1", Standing::On, 50, 5),
            host("full-2", Standing::On, 50, 5),
            host("bare", Standing::On, 2, 0),
        ];
        let mut limits = Limits { least: 2, ceiling: 800, spare: 100, off: Off::May };
        change(&mut hosts, &mut limits);
        next(&hosts, &limits).map(|step| (step.turn, step.name, step.reason))
    }

    #[test]
    fn one_host_is_switched_and_it_says_why() {
        let off = Some((Turn::Off, "bare"));
        let on = Some((Turn::On, "asleep"));
        let table: [(&str, Change, Option<(Turn, &str)>, &str); 15] = [
            ("it can be spared", |_, _| {}, off, "the 2 hosts that are on are at 50 %"),
            ("not so soon", |_, limits| limits.off = Off::Waits, None, ""),
            ("so many stay on", |_, limits| limits.least = 3, None, ""),
            ("it stays", |hosts, _| hosts[3].stays = Some("has no power control"), None, ""),
            ("a VM is there", |hosts, _| hosts[3].load.count = 1, None, ""),
            ("no room to spare", |hosts, _| hosts[1].load.memory_used = 95, None, ""),
            ("another goes down", |hosts, _| hosts[0].standing = Standing::GoesDown, None, ""),
            ("another comes up", |hosts, _| hosts[0].standing = Standing::ComesUp, None, ""),
            ("too few are on", |_, limits| limits.least = 4, on, "3 hosts are on, and 4 must be"),
            (
                "memory is full",
                |hosts, _| hosts[1..].iter_mut().for_each(|host| host.load.memory_used = 85),
                on,
                "the 3 hosts that are on are at 85 %, more than 80 %",
            ),
            (
                "processors are busy, whatever was switched lately",
                |hosts, limits| {
                    hosts[1..].iter_mut().for_each(|host| host.load.cpu = 9_000);
                    limits.off = Off::Waits;
                },
                on,
                "at 90 %",
            ),
            ("a VM found no room", |hosts, _| hosts[0].is_wanted = true, on, "found no room"),
            ("a VM is defined there", |hosts, _| hosts[0].load.count = 1, on, "1 VM is defined there"),
            ("it is not wanted any more", |_, limits| limits.off = Off::Ended, on, "any more"),
            (
                "nobody can be woken",
                |hosts, limits| (hosts[0].standing, limits.least) = (Standing::Out, 4),
                None,
                "",
            ),
        ];
        for (case, change, expected, said) in table {
            let found = told(change);
            let step = found.as_ref().map(|(turn, name, _)| (*turn, name.as_str()));
            assert_eq!(step, expected, "{case}: {found:?}");
            assert!(found.is_none_or(|(_, _, reason)| reason.contains(said)), "{case}");
        }
    }

    #[test]
    fn what_goes_off_does_not_come_on_again_by_its_own_going() {
        for used in 0..=100 {
            let limits = Limits { least: 1, ceiling: 800, spare: 100, off: Off::May };
            let mut hosts = vec![host("a", Standing::On, used, 1), host("b", Standing::On, 0, 0)];
            let Some(step) = next(&hosts, &limits) else { continue };
            assert_eq!((step.turn, step.name.as_str()), (Turn::Off, "b"), "{used}");
            hosts[1].standing = Standing::Asleep;
            assert_eq!(next(&hosts, &limits), None, "{used}");
        }
    }

    #[test]
    fn the_smallest_goes_and_the_last_one_never() {
        let limits = Limits { least: 0, ceiling: 800, spare: 100, off: Off::May };
        let mut hosts =
            vec![host("b", Standing::On, 0, 0), host("c", Standing::On, 0, 0), host("a", Standing::On, 0, 0)];
        assert_eq!(next(&hosts, &limits).unwrap().name, "a");
        hosts[1].load.view.memory_total = 50;
        assert_eq!(next(&hosts, &limits).unwrap().name, "c");
        hosts.truncate(1);
        assert_eq!(next(&hosts, &limits), None);
    }
}
