//! The steps of a restore that only shows that it can be done: wait for the guest's word, or for its ports, note the
//! verdict, take everything down again.
//!
//! The VM runs from the backup. It has no network card, or where ports have to answer one on a bridge that its host
//! makes for it and that has no uplink: so two of one kind never meet, although the card has the VM's own MAC address
//! (guests configure a card by that). Only the host knows of that card; the record has none. A guest that says nothing is
//! a verdict, not a failure: what was made is taken down in any case. The verdict is the commit point; a crash before it
//! asks the guest again.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{BackupRunId, IncarnationId, NetworkId, TaskId};
use xenith_common_text::counted;
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::backup::{BackupCommand, BackupReply};
use xenith_hypervisor_agent_types::{
    DeathReason, GuestFacts, NicSpec, ObservedVm, PortQuestion, Power, ProofBridge,
};
use xenith_orchestrator_saga::{Step, StepCtx, StepError};
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::backup::{BackupProof, BackupRun, PortProof, RunProof};

use crate::backup_runner::verdict_event;
use crate::db::Db;
use crate::events::Happened;

use super::backup_restore::{BackupRestore, PATIENT, Params, delete_disk, erase, forget, power_off, vm};

/// How often the guest is looked at where nothing is heard of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is wanted of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proof {
    /// For the guest to say something, or its ports to answer.
    pub minutes: u32,
    /// That have to answer, and how.
    #[serde(default)]
    pub ports: Option<Ports>,
    /// That it is a proof of.
    #[serde(default)]
    pub run: Option<BackupRunId>,
}

/// Ports that have to answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ports {
    pub ports: Vec<NonZeroU16>,
    /// Of the network card on the proof's bridge.
    pub mac: MacAddr,
}

fn ports(params: &Params) -> Option<&Ports> {
    params.proof.as_ref().and_then(|proof| proof.ports.as_ref())
}

/// Makes the bridge, where ports have to answer.
pub fn network_step(params: &Params) -> Option<Step<BackupRestore>> {
    let make = |_| Step::new("network", make_network).undo(remove_network);
    ports(params).map(make)
}

/// The card on it.
pub fn nic(params: &Params) -> Option<NicSpec> {
    let (ports, vm) = (ports(params)?, params.vm.as_ref()?);
    // No network of ours: nobody looks this id up, for only the host has this definition.
    let network = NetworkId::from_uuid(*vm.id.as_uuid());
    Some(NicSpec { mac: ports.mac, network, bridge: ProofBridge::of(vm.id).to_string() })
}

pub fn steps(params: &Params, proof: &Proof) -> Vec<Step<BackupRestore>> {
    let patience = Duration::from_secs(60 * u64::from(proof.minutes) + 120);
    let mut steps = vec![
        Step::new("answer", answer).retry(PATIENT).deadline(patience),
        Step::new("verdict", verdict).cannot_be_undone("it is told whether it boots"),
        Step::new("stop", power_off),
        Step::new("forget", forget),
    ];
    if proof.ports.is_some() {
        steps.push(Step::new("unplug", remove_network));
    }
    for new in &params.new_vdis {
        steps.push(Step::new("clear", delete_disk).for_item(new.vdi.to_string()));
    }
    steps.push(Step::new("erase", erase));
    steps
}

async fn make_network(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    let command = BackupCommand::EnsureProofNetwork { vm: vm(ctx)?.id };
    saga.0.backup_command(ctx, ctx.params().host, command).await.map(drop)
}

async fn remove_network(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    let command = BackupCommand::RemoveProofNetwork { vm: vm(ctx)?.id };
    saga.0.backup_command(ctx, ctx.params().host, command).await.map(drop)
}

/// What a guest said that has booted.
fn word(guest: &GuestFacts) -> Option<String> {
    let address = || guest.addresses.first().map(|address| format!("it has the address {address}"));
    let data = || guest.data.iter().next().map(|(key, value)| format!("{key} is {value}"));
    guest.os.clone().or_else(address).or_else(|| guest.pv_drivers.clone()).or_else(data)
}

/// The same of the run that is to prove it.
fn says(seen: &ObservedVm, run: Option<IncarnationId>) -> Option<String> {
    word(&seen.guest).filter(|_| seen.incarnation == run)
}

/// That its run is over, which was its only one: what is off has no incarnation, and before its start has not died.
fn end(power: Power, last_death: Option<DeathReason>) -> Option<String> {
    let is_over = !power.has_domain() && last_death.is_some();
    is_over.then(|| format!("it ended by itself: it is {power}"))
}

/// What came of it, from when it was begun: whether the guest answered, and in words.
fn proof(began: Instant, (answered, said): (bool, &str)) -> BackupProof {
    BackupProof {
        at: OffsetDateTime::now_utc(),
        answered,
        said: said.chars().take(200).collect(),
        seconds: u32::try_from(began.elapsed().as_secs()).unwrap_or(u32::MAX),
        ports: vec![],
    }
}

async fn answer(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<BackupProof, StepError> {
    let minutes = ctx.params().proof.as_ref().map_or(0, |proof| proof.minutes);
    match ports(ctx.params()) {
        Some(ports) => port_answers(saga, ctx, (ports, minutes)).await,
        None => guest_word(saga, ctx, minutes).await,
    }
}

async fn port_answers(
    saga: &BackupRestore,
    ctx: &StepCtx<BackupRestore>,
    (wanted, minutes): (&Ports, u32),
) -> Result<BackupProof, StepError> {
    let (params, id, began) = (ctx.params(), vm(ctx)?.id, Instant::now());
    let Ports { ports, mac } = wanted.clone();
    let question = PortQuestion { vm: id, mac, ports, seconds: minutes.saturating_mul(60) };
    let reply = saga.0.backup_command(ctx, params.host, BackupCommand::AskPorts(question)).await?;
    let BackupReply::Ports { answered } = reply else {
        return Err(StepError::permanent(format!("the host answered something else: {reply:?}")));
    };
    let of = |port: &NonZeroU16| PortProof { port: *port, answered: answered.contains(port) };
    let ports: Vec<PortProof> = wanted.ports.iter().map(of).collect();
    let seen = saga.0.fleet()?.vm(id).map(|(_, seen)| seen);
    let besides =
        seen.and_then(|seen| end(seen.power, seen.last_death).or_else(|| says(&seen, params.start)));
    let said = told(&ports, minutes, besides);
    Ok(BackupProof { ports, ..proof(began, (said.0, &said.1)) })
}

/// The verdict on ports, in words.
fn told(ports: &[PortProof], minutes: u32, besides: Option<String>) -> (bool, String) {
    let named = |answered: bool| {
        let those = ports.iter().filter(|port| port.answered == answered).map(|port| port.port.to_string());
        let those: Vec<String> = those.collect();
        let (noun, verb) = if those.len() == 1 { ("port", "s") } else { ("ports", "") };
        let does = if answered {
            format!("answer{verb}")
        } else {
            format!("did not answer within {}", counted(minutes, "minute"))
        };
        (!those.is_empty()).then(|| format!("{noun} {} {does}", those.join(", ")))
    };
    let all = ports.iter().all(|port| port.answered);
    let said: Vec<String> = named(false).into_iter().chain(named(true)).chain(besides).collect();
    (all, said.join("; "))
}

async fn guest_word(
    saga: &BackupRestore,
    ctx: &StepCtx<BackupRestore>,
    minutes: u32,
) -> Result<BackupProof, StepError> {
    let params = ctx.params();
    let (id, fleet) = (vm(ctx)?.id, saga.0.fleet()?);
    let began = Instant::now();
    loop {
        if let Some((_, seen)) = fleet.vm(id) {
            if let Some(said) = says(&seen, params.start) {
                return Ok(proof(began, (true, &said)));
            }
            if let Some(end) = end(seen.power, seen.last_death) {
                return Ok(proof(began, (false, &end)));
            }
        }
        if began.elapsed() > Duration::from_secs(60 * u64::from(minutes)) {
            return Ok(proof(
                began,
                (false, &format!("it said nothing within {}", counted(minutes, "minute"))),
            ));
        }
        let is_told = |seen: Option<&ObservedVm>| {
            seen.is_some_and(|seen| {
                says(seen, params.start).or_else(|| end(seen.power, seen.last_death)).is_some()
            })
        };
        tokio::select! {
            _ = fleet.wait_for(id, LOOK_EVERY, is_told) => {}
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
        }
    }
}

/// Writes into a run's record how one of its proofs stands.
pub async fn note_in_run(db: &Db, run: BackupRunId, noted: &RunProof) -> Result<(), StoreError> {
    let change = |run: &mut BackupRun| {
        match run.proofs.iter_mut().find(|known| known.vm == noted.vm) {
            // Its verdict may have come before who began it noted that it is begun.
            Some(known) if noted.proof.is_none() => known.task = known.task.or(noted.task),
            Some(known) => *known = noted.clone(),
            None => run.proofs.push(noted.clone()),
        }
    };
    db.backup_runs.modify(&run, change).await.map(drop)
}

async fn verdict(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    let (params, db) = (ctx.params(), &saga.0.db);
    let proof: BackupProof = ctx.output("answer")?;
    let of_run = params.proof.as_ref().and_then(|proof| proof.run);
    let key = (params.repository, params.backup.clone());
    db.store.commit(db.proofs.put_in(Transaction::new(), &key, &proof)).await?;
    // A crash between the two repeats the step, so that it is told; twice rather than never.
    if let Some(definition) = db.backups.get(&key).await?.and_then(|backup| backup.value.definition) {
        if let Some(run) = of_run {
            let (name, task) = (definition.spec.name.to_string(), TaskId::from_bytes(*ctx.saga().as_bytes()));
            let proof = Some(proof.clone());
            let noted = RunProof { vm: definition.vm, name, task: Some(task), message: None, proof };
            note_in_run(db, run, &noted).await?;
        }
        let (severity, message) = verdict_event(definition.spec.name.as_str(), &proof);
        let pool = db.vms.get(&definition.vm).await?.map(|vm| vm.value.pool);
        let (kind, subject) = ("backup.proof", format!("vm/{}", definition.vm));
        saga.0.tell(Happened { severity, kind, subject, message, pool }).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_a_word() {
        let silent = GuestFacts::default();
        assert_eq!(word(&silent), None);
        let named = GuestFacts { os: Some("Debian 12".to_owned()), ..GuestFacts::default() };
        assert_eq!(word(&named).as_deref(), Some("Debian 12"));
        let data = [("role", "web")].into_iter().collect();
        assert_eq!(word(&GuestFacts { data, ..silent }).as_deref(), Some("role is web"));
    }

    #[test]
    fn a_guest_that_has_ended_says_nothing_more() {
        for (case, power, last_death, expected) in [
            ("its start is not heard yet", Power::Stopped, None, None),
            ("it runs", Power::Running, None, None),
            ("it is started again", Power::Starting, Some(DeathReason::Crash), None),
            ("off", Power::Stopped, Some(DeathReason::PowerOff), Some("it ended by itself: it is stopped")),
            ("dead", Power::Crashed, Some(DeathReason::Crash), Some("it ended by itself: it is crashed")),
        ] {
            assert_eq!(end(power, last_death).as_deref(), expected, "{case}");
        }
    }

    #[test]
    fn ports_in_words() {
        let port = |port, answered| PortProof { port: NonZeroU16::new(port).unwrap(), answered };
        let (ssh, web) = (port(22, true), port(443, true));
        let debian = || Some("Debian 12".to_owned());
        for (ports, besides, expected) in [
            (vec![ssh], debian(), (true, "port 22 answers; Debian 12")),
            (vec![ssh, web], None, (true, "ports 22, 443 answer")),
            (
                vec![ssh, port(80, false), port(443, false)],
                debian(),
                (false, "ports 80, 443 did not answer within 3 minutes; port 22 answers; Debian 12"),
            ),
        ] {
            let (answered, said) = told(&ports, 3, besides);
            assert_eq!((answered, said.as_str()), expected);
        }
    }
}
