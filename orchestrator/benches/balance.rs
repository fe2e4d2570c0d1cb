//! How long a plan for a pool of 1,000 hosts with 100,000 VMs takes, and how long a look at its sums.
//!
//! `cargo bench -p xenith-orchestrator --bench balance [-- HOSTS VMS-A-HOST]`. Seed 20260901.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_common_ids::{HostId, PoolId, VmId};
use xenith_orchestrator::balance::{HostLoad, Plan, Settings, VmView, Vms, over, plan};
use xenith_orchestrator::placement::{HostView, Machine, NeededSr, Wish};
use xenith_orchestrator_types::balance::BalanceGoal;

const SEED: u64 = 20_260_901;
/// What is promised.
const MOST: Duration = Duration::from_secs(5);
/// Hosts that share an SR.
const SHARING: usize = 50;
const GIB: u64 = 1024;

/// xorshift64*: what is random here need not be good, only the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let (hosts, each) = (arguments.next().unwrap_or(1000), arguments.next().unwrap_or(100));
    let pool = pool(hosts, each);
    println!("{hosts} hosts, {} VMs", hosts * each);
    let mut slow = false;
    for (name, goal, most) in [
        ("performance, as many as 1,000 moves", BalanceGoal::Performance, 1000),
        ("performance, all that it takes", BalanceGoal::Performance, usize::MAX),
        ("density, as many as 1,000 moves", BalanceGoal::Density, 1000),
        ("density, all that it takes", BalanceGoal::Density, usize::MAX),
    ] {
        let settings = Settings { goal, threshold: 100, min_gain: 50, ceiling: 800, most };
        let given = pool.clone();
        let began = Instant::now();
        let made = plan(given, &settings);
        let took = began.elapsed();
        slow |= took > MOST;
        tell(name, &made, took);
        let began = Instant::now();
        let looked = over(&pool, &settings, 32);
        println!("  the sums alone: {:?}, {} hosts to look at", began.elapsed(), looked.len());
    }
    assert!(!slow, "a plan took longer than {MOST:?}");
}

fn tell(name: &str, plan: &Plan, took: Duration) {
    println!(
        "{name}: {took:?}, {} moves, {} hosts changed, {} empty, {} notes",
        plan.moves.len(),
        plan.hosts.len(),
        plan.empty.len(),
        plan.notes.len()
    );
}

/// One host of ten is nearly full, one of ten nearly empty; one VM of twenty is to stay apart from another one, one of
/// fifty is to be together with one; fifty hosts share an SR.
fn pool(hosts: usize, each: usize) -> Vec<HostLoad> {
    let mut random = Random(SEED);
    let pool = PoolId::new();
    let ids: Vec<HostId> = (0..hosts).map(|_| HostId::new()).collect();
    let vms: Vec<VmId> = (0..hosts * each).map(|_| VmId::new()).collect();
    let srs: Vec<NeededSr> = ids
        .chunks(SHARING)
        .enumerate()
        .map(|(number, hosts)| NeededSr {
            name: format!("nas-{number}"),
            hosts: Arc::new(hosts.iter().copied().collect()),
        })
        .collect();
    let mut made = Vec::with_capacity(hosts);
    for (number, host) in ids.iter().enumerate() {
        // MiB of one VM: about 90 %, 10 % or 50 % of 512 GiB with a hundred VMs.
        let size = match number % 10 {
            0 => 4600,
            1 => 512,
            _ => 2560,
        };
        let own = &vms[number * each..(number + 1) * each];
        let mut load = HostLoad {
            view: view(*host, pool, number),
            memory_used: 0,
            cpu: 0,
            count: each,
            vms: Vms::NotLookedAt,
        };
        let views = own.iter().map(|vm| {
            let mut wish = wish(&load.view, size + random.below(256), &srs[number / SHARING]);
            let other = vms[usize::try_from(random.below(vms.len() as u64)).unwrap_or(0)];
            match random.below(100) {
                0..5 => _ = wish.apart_from.insert(other),
                5..7 => _ = wish.together_with.insert(own[0]),
                _ => {}
            }
            let cpu = random.below(400);
            VmView { vm: *vm, name: format!("vm-{vm}"), wish, cpu, stays: None }
        });
        let views: Vec<VmView> = views.collect();
        for vm in &views {
            load.view.memory_free = load.view.memory_free.saturating_sub(vm.wish.memory);
            load.memory_used += vm.wish.memory;
            load.view.vcpus_used += vm.wish.vcpus;
            load.view.vms.insert(vm.vm);
            load.cpu += vm.cpu;
        }
        load.vms = Vms::Are(views);
        made.push(load);
    }
    made
}

fn view(host: HostId, pool: PoolId, number: usize) -> HostView {
    HostView {
        host,
        name: format!("xen-{number:04}"),
        pool,
        heard: true,
        maintenance: false,
        memory_total: 512 * GIB,
        memory_free: 512 * GIB,
        cpus: 64,
        vcpus_used: 0,
        bridges: BTreeSet::from(["xenbr0".to_owned(), "xenbr1".to_owned()]),
        vms: BTreeSet::new(),
        machine: Some(Machine { cpu: "EPYC".into(), xen: (4, 17), features: None }),
    }
}

fn wish(host: &HostView, memory: u64, sr: &NeededSr) -> Wish {
    Wish {
        memory,
        vcpus: 2,
        pool: Some(host.pool),
        bridges: BTreeSet::from(["xenbr0".to_owned()]),
        srs: vec![sr.clone()],
        not: Some(host.host),
        like: host.machine.clone(),
        ..Wish::default()
    }
}
