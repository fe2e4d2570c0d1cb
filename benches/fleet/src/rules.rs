//! How soon a changed rule is on every host that it concerns, and that no other host is told.
//!
//! A host filters by a change when its agent has loaded it into the simulated kernel: the agent's journal, its table and
//! the difference to the one before are the real ones. Seen by looking every few milliseconds, from a thread of its own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::filter::Rule;
use xenith_orchestrator_api::{security_group, vm};
use xenith_orchestrator_client::Client;
use xenith_orchestrator_types::ListRequest;
use xenith_orchestrator_types::network::NicChange;
use xenith_orchestrator_types::security_group::{CreateSecurityGroup, SetSecurityGroupRules};
use xenith_orchestrator_types::vm::VmRef;

use crate::clients;
use crate::hosts::Host;
use crate::orchestrator::{Door, Orchestrator};
use crate::report::{Promises, Times, line, usage};

/// Milliseconds.
const MUST: f64 = 2000.0;
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);
/// Changes of one NIC, and of a member of a tag.
const SMALL: usize = 10;
/// Longer than it takes the orchestrator to look at everything once more by itself.
const QUIET: Duration = Duration::from_secs(6);

/// What it took.
#[derive(Debug, Default)]
struct Measured {
    /// From the call to each host, to the last one, and to the answer.
    each: Times,
    last: Times,
    answered: Times,
    /// An address of a member of a tag, to each host.
    members: Times,
    /// The settings of one NIC, to its host.
    nic: Times,
    /// Hosts that were told of these.
    told: u64,
}

pub async fn change(
    orchestrator: &Orchestrator,
    hosts: &[Host],
    changes: usize,
    promises: &mut Promises,
) -> Result<()> {
    let sims: Vec<Arc<SimHypervisor>> = hosts.iter().map(|host| Arc::clone(&host.sim)).collect();
    let (door, used, begun) = (orchestrator.door, usage(orchestrator.pid()?)?.cpu, Instant::now());
    let mut measured = clients::apart(move || measure(door, sims, changes)).await?;
    let cpu = (usage(orchestrator.pid()?)?.cpu - used).as_secs_f64() / begun.elapsed().as_secs_f64();
    promises.times("rule changed to a host filtering by it, ms (must 2,000)", &mut measured.each, MUST);
    line("- to the last host of a change, ms", measured.last.show());
    line("- to the answer to who changed it, ms", measured.answered.show());
    let what = "address of a tag's member to a host filtering by it, ms (must 2,000)";
    promises.times(what, &mut measured.members, MUST);
    line("settings of one NIC to its host, ms", measured.nic.show());
    let what = "- hosts told by one such change (must 1)";
    let told = measured.told as f64 / SMALL as f64;
    line(what, told);
    promises.at_most(what, told, 1.0);
    line("CPU of the orchestrator meanwhile, of one", format!("{:.0} %", cpu * 100.0));
    Ok(())
}

async fn measure(door: Door, sims: Vec<Arc<SimHypervisor>>, changes: usize) -> Result<Measured> {
    let client = door.client(0).await?;
    let mut measured = Measured::default();
    let group = CreateSecurityGroup {
        name: "web".to_owned(),
        tag: "web".to_owned(),
        pool: None,
        description: String::new(),
        ingress: Some(rules(1)?),
        egress: None,
    };
    let (before, begun) = (loads(&sims), Instant::now());
    client.call::<security_group::Create>(&group).await?;
    loaded(&sims, &before, &filters(1), begun).await.context("the first rules")?;
    for port in 2..=u16::try_from(changes + 1)? {
        let (before, begun) = (loads(&sims), Instant::now());
        let group =
            SetSecurityGroupRules { group: "web".to_owned(), ingress: Some(rules(port)?), egress: None };
        client.call::<security_group::SetRules>(&group).await?;
        measured.answered.add(begun.elapsed());
        measured.each.extend(loaded(&sims, &before, &filters(port), begun).await?);
        measured.last.add(begun.elapsed());
    }
    let member = one_with(&client, "tag:gateway").await?;
    for number in 1..=SMALL {
        let (before, begun) = (loads(&sims), Instant::now());
        let address = format!("10.9.0.{number}");
        let change =
            NicChange { addresses: Some(BTreeSet::from([address.parse::<IpAddr>()?])), ..member.clone() };
        client.call::<vm::SetNic>(&change).await?;
        measured.members.extend(loaded(&sims, &before, &address, begun).await?);
    }
    // Of a VM that no rule names, so that it concerns nobody else.
    let other = one_with(&client, "-tag:gateway").await?;
    tokio::time::sleep(QUIET).await;
    let first: u64 = loads(&sims).into_iter().sum();
    for number in 1..=SMALL {
        let (before, begun) = (loads(&sims), Instant::now());
        let change = NicChange { rate_mbit: Some(u32::try_from(number)?), ..other.clone() };
        client.call::<vm::SetNic>(&change).await?;
        while loads(&sims) == before {
            ensure!(begun.elapsed() < PATIENCE, "no host was told of a NIC's settings");
            tokio::time::sleep(LOOK).await;
        }
        measured.nic.add(begun.elapsed());
    }
    tokio::time::sleep(QUIET).await;
    measured.told = loads(&sims).into_iter().sum::<u64>() - first;
    Ok(measured)
}

/// What a group says that opens this port to the gateways.
fn rules(port: u16) -> Result<Vec<Rule>> {
    Ok(vec![format!("tcp:{port} tag:gateway").parse()?])
}

/// What a host has loaded then.
fn filters(port: u16) -> String {
    format!("tcp dport {{ {port} }} accept")
}

fn loads(sims: &[Arc<SimHypervisor>]) -> Vec<u64> {
    sims.iter().map(|sim| sim.filter_loads()).collect()
}

/// Waits until every host has loaded something that has this in it. How long each took since `begun`.
async fn loaded(sims: &[Arc<SimHypervisor>], before: &[u64], text: &str, begun: Instant) -> Result<Times> {
    let mut waiting: Vec<(&Arc<SimHypervisor>, u64)> = sims.iter().zip(before.iter().copied()).collect();
    let mut times = Times::default();
    while !waiting.is_empty() {
        let late = begun.elapsed() > PATIENCE;
        ensure!(!late, "{} of {} hosts do not filter by a change", waiting.len(), sims.len());
        tokio::time::sleep(LOOK).await;
        waiting.retain(|(sim, before)| {
            let is_there = sim.filter_loads() > *before && sim.newest_filter_has(text);
            if is_there {
                times.add(begun.elapsed());
            }
            !is_there
        });
    }
    Ok(times)
}

/// The first NIC of one running VM that a filter lets through, to be changed.
async fn one_with(client: &Client, filter: &str) -> Result<NicChange> {
    let request =
        ListRequest { filter: format!("power:running {filter}"), limit: 1, ..ListRequest::default() };
    let row = client.call::<vm::List>(&request).await?.items.pop().context("no VM is like that")?;
    let vm = row.id.to_string();
    let mut nics = client.call::<vm::Nics>(&VmRef { vm: vm.clone() }).await?;
    let mac = nics.pop().context("it has no NIC")?.mac;
    Ok(NicChange { vm, mac, lock: None, addresses: None, link: None, rate_mbit: None })
}
