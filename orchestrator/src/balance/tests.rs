//! What [`super`] says that always holds, over pools made up at random; and what a plan is to find, a line per case.
//!
//! Nothing here asks the planner's own state: a plan is held against the hosts and VMs that it was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use xenith_common_ids::PoolId;

use super::*;
use crate::placement::{Machine, NeededSr};

const POOL: [u8; 16] = [1; 16];

fn host_id(number: usize) -> HostId {
    HostId::from_bytes([u8::try_from(number).expect("few hosts"); 16])
}

fn vm_id(number: usize) -> VmId {
    VmId::from_bytes([u8::try_from(number).expect("few VMs"); 16])
}

fn host(number: usize, memory_total: u64, cpus: u32) -> HostLoad {
    HostLoad {
        view: HostView {
            host: host_id(number),
            name: format!("xen{number}"),
            pool: PoolId::from_bytes(POOL),
            heard: true,
            maintenance: false,
            memory_total,
            memory_free: memory_total,
            cpus,
            vcpus_used: 0,
            bridges: BTreeSet::from(["xenbr0".to_owned()]),
            vms: BTreeSet::new(),
            machine: Some(Machine { cpu: "Xeon".into(), xen: (4, 17), features: None }),
        },
        memory_used: 0,
        cpu: 0,
        count: 0,
        vms: Vms::Are(Vec::new()),
    }
}

/// A VM that runs on a host; one without memory is off.
fn put(hosts: &mut [HostLoad], at: usize, (number, memory, cpu): (usize, u64, u64)) {
    let host = &mut hosts[at];
    let vm = vm_id(number);
    let wish = Wish {
        memory,
        vcpus: 1,
        pool: Some(host.view.pool),
        bridges: BTreeSet::from(["xenbr0".to_owned()]),
        not: Some(host.view.host),
        like: host.view.machine.clone().filter(|_| memory > 0),
        ..Wish::default()
    };
    host.view.memory_free -= memory;
    host.memory_used += memory;
    host.cpu += cpu;
    host.count += 1;
    if memory > 0 {
        host.view.vms.insert(vm);
        host.view.vcpus_used += 1;
    }
    let view = VmView { vm, name: format!("vm{number}"), wish, cpu, stays: None };
    match &mut host.vms {
        Vms::Are(vms) => vms.push(view),
        Vms::NotLookedAt => unreachable!("the hosts of tests are looked at"),
    }
}

fn vms(host: &HostLoad) -> &[VmView] {
    match &host.vms {
        Vms::Are(vms) => vms,
        Vms::NotLookedAt => &[],
    }
}

fn change(hosts: &mut [HostLoad], number: usize, change: impl Fn(&mut VmView)) {
    for host in hosts {
        if let Vms::Are(vms) = &mut host.vms {
            vms.iter_mut().filter(|vm| vm.vm == vm_id(number)).for_each(&change);
        }
    }
}

fn settings(goal: BalanceGoal) -> Settings {
    Settings { goal, threshold: 100, min_gain: 50, ceiling: 800, most: 50 }
}

/// Where each VM is: before, and if all moves are made.
fn places(hosts: &[HostLoad], plan: &Plan) -> BTreeMap<VmId, (HostId, HostId)> {
    let mut places = BTreeMap::new();
    for host in hosts {
        places.extend(vms(host).iter().map(|vm| (vm.vm, (host.view.host, host.view.host))));
    }
    for one in &plan.moves {
        let place = places.get_mut(&one.vm).expect("a VM of the pool");
        assert_eq!(place.1, one.from, "{} moves once, from where it is", one.name);
        place.1 = one.to;
    }
    places
}

fn all(hosts: &[HostLoad]) -> BTreeMap<VmId, &VmView> {
    hosts.iter().flat_map(vms).map(|vm| (vm.vm, vm)).collect()
}

fn no_hard_rule_is_broken(hosts: &[HostLoad], plan: &Plan) {
    let of: BTreeMap<HostId, &HostLoad> = hosts.iter().map(|host| (host.view.host, host)).collect();
    let known = all(hosts);
    let mut room: BTreeMap<HostId, u64> = of.iter().map(|(id, host)| (*id, host.view.memory_free)).collect();
    for one in &plan.moves {
        let (vm, to) = (known[&one.vm], of[&one.to]);
        assert!(vm.stays.is_none(), "{} stays", one.name);
        assert_ne!(one.from, one.to);
        assert!(to.view.heard && !to.view.maintenance, "{} takes VMs", to.view.name);
        assert!(vm.wish.srs.iter().all(|sr| sr.hosts.contains(&one.to)), "{} reaches the SRs", to.view.name);
        assert!(vm.wish.bridges.is_subset(&to.view.bridges), "{} has the bridges", to.view.name);
        assert!(vm.wish.like.is_none() || vm.wish.like == to.view.machine, "{} is alike", to.view.name);
        // What leaves gives no room: so it holds in every order, and whichever moves are not made.
        let room = room.get_mut(&one.to).expect("a host of the pool");
        *room = room.checked_sub(vm.wish.memory).unwrap_or_else(|| panic!("{} has no room", to.view.name));
    }
}

/// Pairs that name each other, one way or the other, and run.
fn pairs(hosts: &[HostLoad], of: fn(&Wish) -> &BTreeSet<VmId>) -> BTreeSet<(VmId, VmId)> {
    let known = all(hosts);
    let runs = |vm: &VmId| known.get(vm).is_some_and(|vm| !vm.is_off());
    let named = known.values().flat_map(|vm| of(&vm.wish).iter().map(move |other| (vm.vm, *other)));
    let both = named.filter(|(a, b)| runs(a) && runs(b));
    both.map(|(a, b)| (a.min(b), a.max(b))).collect()
}

fn company_is_no_worse(hosts: &[HostLoad], plan: &Plan) {
    let places = places(hosts, plan);
    for (a, b) in pairs(hosts, |wish| &wish.apart_from) {
        let (a, b) = (places[&a], places[&b]);
        let met = [(a.0, b.1), (a.1, b.0), (a.1, b.1)].iter().any(|(a, b)| a == b);
        assert!(a.0 == b.0 || !met, "two that are to stay apart meet, in some order of the moves");
    }
    let friends = pairs(hosts, |wish| &wish.together_with);
    let count = |of: fn((HostId, HostId)) -> HostId| {
        friends.iter().filter(|(a, b)| of(places[a]) == of(places[b])).count()
    };
    assert!(
        count(|(before, _)| before) <= count(|(_, after)| after),
        "the plan joins, and separates no more"
    );
}

fn full_after(hosts: &[HostLoad], plan: &Plan) -> BTreeMap<HostId, u64> {
    let known = all(hosts);
    let mut used: BTreeMap<HostId, (u64, u64)> =
        hosts.iter().map(|host| (host.view.host, (host.memory_used, host.cpu))).collect();
    for one in &plan.moves {
        let vm = known[&one.vm];
        let from = used.get_mut(&one.from).expect("a host of the pool");
        *from = (from.0 - vm.wish.memory, from.1 - vm.cpu);
        let to = used.get_mut(&one.to).expect("a host of the pool");
        *to = (to.0 + vm.wish.memory, to.1 + vm.cpu);
    }
    let full = |host: &HostLoad| {
        let (memory, cpu) = used[&host.view.host];
        (host.view.host, Fullness::of(memory, &host.view, cpu).most())
    };
    hosts.iter().map(full).collect()
}

fn the_goal_is_not_missed(hosts: &[HostLoad], settings: &Settings, plan: &Plan) {
    let after = full_after(hosts, plan);
    for one in &plan.hosts {
        assert_eq!(one.after.most(), after[&one.host], "{} is told as it would be", one.name);
    }
    let before = hosts.iter().filter(|host| host.is_open()).map(|host| host.fullness().most()).max();
    let worst = hosts.iter().filter(|host| host.is_open()).map(|host| after[&host.view.host]).max();
    assert!(worst <= before.max(Some(settings.ceiling)), "no host is fuller than the fullest was");
    let places = places(hosts, plan);
    for empty in &plan.empty {
        assert!(places.values().all(|(_, after)| after != empty), "a host that is told to be empty is");
    }
    assert!(plan.moves.len() <= settings.most);
}

/// A pool as numbers, so that a failure shrinks.
#[derive(Debug, Clone)]
struct Made {
    hosts: Vec<(u64, u32, u8)>,
    /// Host, memory, processors, which hosts reach its SR, and what else is so.
    vms: Vec<(usize, u64, u64, u8, u8)>,
    /// Two VMs, and whether they are to stay apart.
    rules: Vec<(usize, usize, bool)>,
}

impl Made {
    fn build(&self) -> Vec<HostLoad> {
        let mut hosts: Vec<HostLoad> = Vec::new();
        for (number, (memory, cpus, other)) in (1..).zip(&self.hosts) {
            let mut host = host(number, memory * 1024, *cpus);
            match other % 12 {
                0 => host.view.maintenance = true,
                1 => host.view.heard = false,
                2 => host.view.bridges.clear(),
                3 => {
                    host.view.machine = Some(Machine { cpu: "Opteron".into(), xen: (4, 17), features: None })
                }
                _ => {}
            }
            hosts.push(host);
        }
        for (number, (at, memory, cpu, reach, other)) in (1..).zip(&self.vms) {
            let at = at % hosts.len();
            let off = other.is_multiple_of(8);
            let (memory, cpu) = if off { (0, 0) } else { (memory * 512, *cpu) };
            if hosts[at].view.memory_free < memory {
                continue;
            }
            put(&mut hosts, at, (number, memory, cpu));
            let here = hosts[at].view.host;
            let reach: BTreeSet<HostId> = (0..hosts.len())
                .filter(|bit| (reach >> (bit % 8)) & 1 == 1)
                .map(|bit| hosts[bit].view.host)
                .chain([here])
                .collect();
            change(&mut hosts, number, |vm| {
                vm.wish.srs = vec![NeededSr { name: "nas".into(), hosts: Arc::new(reach.clone()) }];
                vm.stays = (other % 9 == 1).then_some("is protected against migration");
            });
        }
        for (a, b, apart) in &self.rules {
            let (a, b) = (a % self.vms.len() + 1, b % self.vms.len() + 1);
            let named =
                |vm: &VmView| vm.wish.apart_from.union(&vm.wish.together_with).any(|vm| *vm == vm_id(b));
            let known = all(&hosts);
            let mutual = known
                .get(&vm_id(b))
                .is_some_and(|vm| vm.wish.apart_from.union(&vm.wish.together_with).any(|vm| *vm == vm_id(a)));
            if a == b || mutual || known.get(&vm_id(a)).is_some_and(|vm| named(vm)) {
                continue;
            }
            change(&mut hosts, a, |vm| {
                let set = if *apart { &mut vm.wish.apart_from } else { &mut vm.wish.together_with };
                set.insert(vm_id(b));
            });
        }
        hosts
    }
}

fn made() -> impl Strategy<Value = Made> {
    let hosts = prop::collection::vec((8u64..64, 4u32..33, any::<u8>()), 1..8);
    let vms = prop::collection::vec((0usize..8, 1u64..17, 0u64..6000, any::<u8>(), any::<u8>()), 1..50);
    let rules = prop::collection::vec((0usize..50, 0usize..50, any::<bool>()), 0..14);
    (hosts, vms, rules).prop_map(|(hosts, vms, rules)| Made { hosts, vms, rules })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_keeps_every_rule_whatever_the_pool(
        made in made(),
        density in any::<bool>(),
        threshold in 0u64..300,
        min_gain in 0u64..200,
        most in 0usize..40,
    ) {
        let goal = if density { BalanceGoal::Density } else { BalanceGoal::Performance };
        let settings = Settings { goal, threshold, min_gain, ceiling: 800, most };
        let hosts = made.build();
        let made = plan(hosts.clone(), &settings);
        no_hard_rule_is_broken(&hosts, &made);
        company_is_no_worse(&hosts, &made);
        the_goal_is_not_missed(&hosts, &settings, &made);
        let other_way_round: Vec<HostLoad> = hosts.iter().rev().cloned().collect();
        prop_assert_eq!(plan(other_way_round, &settings), made, "the order of the hosts means nothing");
    }

    #[test]
    fn who_looks_at_the_sums_first_looks_where_a_plan_would(made in made()) {
        let settings = Settings { most: 100, ..settings(BalanceGoal::Performance) };
        let mut hosts = made.build();
        // Rules between VMs are another matter: those are looked for where something changed.
        for host in &mut hosts {
            if let Vms::Are(vms) = &mut host.vms {
                vms.iter_mut().for_each(|vm| vm.wish.apart_from.clear());
                vms.iter_mut().for_each(|vm| vm.wish.together_with.clear());
            }
        }
        let whole = plan(hosts.clone(), &settings);
        let looked = over(&hosts, &settings, usize::MAX);
        for host in &mut hosts {
            if !looked.contains(&host.view.host) {
                host.vms = Vms::NotLookedAt;
            }
        }
        prop_assert_eq!(plan(hosts, &settings), whole);
    }
}

/// Two hosts of 16 GiB, one with 14 VMs of 1 GiB.
fn lopsided() -> Vec<HostLoad> {
    let mut hosts = vec![host(1, 16_384, 8), host(2, 16_384, 8)];
    (1..=14).for_each(|number| put(&mut hosts, 0, (number, 1024, 100)));
    hosts
}

fn moved(plan: &Plan) -> Vec<(&str, u8)> {
    plan.moves.iter().map(|one| (one.name.as_str(), one.to.as_bytes()[0])).collect()
}

#[test]
fn a_full_host_gives_to_an_empty_one_until_both_are_about_the_mean() {
    let hosts = lopsided();
    let plan = plan(hosts.clone(), &settings(BalanceGoal::Performance));
    // 14 of 16 GiB; the mean is 7: half of the threshold above it is 7.8.
    assert_eq!(plan.moves.len(), 7, "{plan:?}");
    assert!(plan.moves.iter().all(|one| one.to == host_id(2) && one.memory == 1024));
    assert!(plan.moves[0].reason.starts_with("xen1 is at 88 % of its memory, the pool at 44 %"), "{plan:?}");
    assert_eq!(full_after(&hosts, &plan)[&host_id(1)], 437);
    assert_eq!(plan.notes, [""; 0]);
}

#[test]
fn what_is_not_worth_it_is_not_done_and_told() {
    type Change = fn(&mut Vec<HostLoad>, &mut Settings);
    let table: [(&str, Change, usize, &str); 7] = [
        ("as it is", |_, _| {}, 7, ""),
        ("below the threshold", |_, settings| settings.threshold = 450, 0, ""),
        ("less than the least gain", |_, settings| settings.min_gain = 600, 0, "which is not worth it"),
        (
            "all stay",
            |hosts, _| (1..=14).for_each(|vm| change(hosts, vm, |vm| vm.stays = Some("is held"))),
            0,
            "none of its VMs can go",
        ),
        ("no more than it may", |_, settings| settings.most = 3, 3, ""),
        ("the other is in maintenance", |hosts, _| hosts[1].view.maintenance = true, 0, ""),
        (
            "an SR that the other does not reach",
            |hosts, _| {
                (1..=14).for_each(|vm| {
                    change(hosts, vm, |vm| {
                        vm.wish.srs =
                            vec![NeededSr { name: "fast".into(), hosts: Arc::new([host_id(1)].into()) }];
                    });
                });
            },
            0,
            "none of its VMs can go",
        ),
    ];
    for (case, change, count, note) in table {
        let (mut hosts, mut settings) = (lopsided(), settings(BalanceGoal::Performance));
        change(&mut hosts, &mut settings);
        let plan = plan(hosts, &settings);
        assert_eq!(plan.moves.len(), count, "{case}: {plan:?}");
        let told = plan.notes.iter().any(|told| told.contains(note));
        assert!(told || note.is_empty(), "{case}: {plan:?}");
    }
}

#[test]
fn busy_processors_count_as_full_memory_does() {
    let mut hosts = vec![host(1, 65_536, 4), host(2, 65_536, 4)];
    put(&mut hosts, 0, (1, 1024, 1900));
    put(&mut hosts, 0, (2, 1024, 1800));
    put(&mut hosts, 0, (3, 8192, 10));
    let plan = plan(hosts, &settings(BalanceGoal::Performance));
    assert_eq!(moved(&plan), [("vm1", 2)], "{plan:?}");
    assert!(plan.moves[0].reason.contains("93 % of its processors"), "{plan:?}");
}

#[test]
fn company_goes_before_load() {
    let mut hosts = vec![host(1, 16_384, 8), host(2, 16_384, 8), host(3, 16_384, 8)];
    put(&mut hosts, 0, (1, 1024, 0));
    put(&mut hosts, 0, (2, 1024, 0));
    put(&mut hosts, 1, (3, 1024, 0));
    put(&mut hosts, 1, (4, 2048, 0));
    // One names the other; it holds for both.
    change(&mut hosts, 1, |vm| _ = vm.wish.apart_from.insert(vm_id(2)));
    change(&mut hosts, 3, |vm| _ = vm.wish.together_with.insert(vm_id(2)));
    let plan = plan(hosts, &Settings { threshold: 500, ..settings(BalanceGoal::Performance) });
    assert_eq!(plan.moves.len(), 2, "{plan:?}");
    assert!(plan.moves.iter().any(|one| one.reason.contains("to stay apart from")), "{plan:?}");
    let last = &plan.moves[1];
    assert!(last.reason.contains("to be together with"), "{plan:?}");
}

#[test]
fn those_that_belong_together_go_together() {
    let mut hosts = lopsided();
    for (a, b) in [(1, 2), (2, 3)] {
        change(&mut hosts, a, |vm| _ = vm.wish.together_with.insert(vm_id(b)));
    }
    for number in 4..=14 {
        change(&mut hosts, number, |vm| vm.stays = Some("is held"));
    }
    let plan = plan(hosts, &settings(BalanceGoal::Performance));
    assert_eq!(moved(&plan), [("vm1", 2), ("vm2", 2), ("vm3", 2)], "{plan:?}");
}

#[test]
fn hosts_are_emptied_that_others_can_take_all_of() {
    let mut hosts = (1..=4).map(|number| host(number, 16_384, 8)).collect::<Vec<_>>();
    put(&mut hosts, 0, (1, 8192, 0));
    put(&mut hosts, 1, (2, 2048, 0));
    put(&mut hosts, 1, (3, 0, 0));
    put(&mut hosts, 2, (4, 8192, 0));
    let dense = settings(BalanceGoal::Density);
    let packed = plan(hosts.clone(), &dense);
    assert_eq!(moved(&packed), [("vm2", 3), ("vm3", 3)], "what is off goes along: {packed:?}");
    assert_eq!(packed.empty, [host_id(4), host_id(2)], "{packed:?}");

    change(&mut hosts, 3, |vm| vm.stays = Some("has PCI devices of its host"));
    let packed = plan(hosts, &Settings { ceiling: 550, ..dense });
    assert_eq!((packed.moves.len(), packed.empty.len()), (0, 1), "{packed:?}");
    let told =
        packed.notes.iter().any(|note| note == "xen2 cannot be emptied: vm3 has PCI devices of its host");
    assert!(told, "{packed:?}");
}

#[test]
fn sums_alone_tell_where_to_look() {
    let mut hosts = lopsided();
    assert_eq!(over(&hosts, &settings(BalanceGoal::Performance), 8), [host_id(1)]);
    // 14 GiB on one host of 16, 7 on the other: neither could take all and stay below 80 %.
    (21..=27).for_each(|number| put(&mut hosts, 1, (number, 1024, 0)));
    assert!(over(&hosts, &settings(BalanceGoal::Density), 8).is_empty());
    hosts.push(host(3, 65_536, 8));
    put(&mut hosts, 2, (40, 1024, 0));
    assert_eq!(over(&hosts, &settings(BalanceGoal::Density), 1), [host_id(3)]);
}
