//! The last steps of a restore that only shows that it can be done: wait for the guest's word, note the verdict, take
//! everything down again.
//!
//! The VM runs from the backup, without a network card, so that two of one kind never meet. A guest that says nothing is
//! a verdict, not a failure: what was made is taken down in any case. The verdict is the commit point; a crash before it
//! asks the guest again.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_hypervisor_agent_types::{GuestFacts, ObservedVm};
use xenith_orchestrator_saga::{Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::backup::BackupProof;

use crate::backup_runner::verdict_event;
use crate::events::Happened;

use super::backup_restore::{BackupRestore, Params, delete_disk, erase, forget, power_off, vm};

/// How often the guest is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is wanted of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Proof {
    /// For the guest to say something.
    pub minutes: u32,
}

pub fn steps(params: &Params, proof: Proof) -> Vec<Step<BackupRestore>> {
    let patience = Duration::from_secs(60 * u64::from(proof.minutes) + 120);
    let mut steps = vec![
        Step::new("answer", answer).deadline(patience),
        Step::new("verdict", verdict).cannot_be_undone("it is told whether it boots"),
        Step::new("stop", power_off),
        Step::new("forget", forget),
    ];
    for new in &params.new_vdis {
        steps.push(Step::new("clear", delete_disk).for_item(new.vdi.to_string()));
    }
    steps.push(Step::new("erase", erase));
    steps
}

/// What a guest said that has booted.
fn word(guest: &GuestFacts) -> Option<String> {
    let address = || guest.addresses.first().map(|address| format!("it has the address {address}"));
    let data = || guest.data.iter().next().map(|(key, value)| format!("{key} is {value}"));
    guest.os.clone().or_else(address).or_else(|| guest.pv_drivers.clone()).or_else(data)
}

async fn answer(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<BackupProof, StepError> {
    let params = ctx.params();
    let minutes = params.proof.map_or(0, |proof| proof.minutes);
    let (id, fleet) = (vm(ctx)?.id, saga.0.fleet()?);
    let began = Instant::now();
    let verdict = |answered, said: String| BackupProof {
        at: OffsetDateTime::now_utc(),
        answered,
        said: said.chars().take(200).collect(),
        seconds: u32::try_from(began.elapsed().as_secs()).unwrap_or(u32::MAX),
    };
    loop {
        let seen = fleet.vm(id).map(|(_, seen)| seen);
        let ours = |seen: &ObservedVm| seen.incarnation == params.start;
        if let Some(seen) = seen.filter(|seen| ours(seen)) {
            if let Some(said) = word(&seen.guest) {
                return Ok(verdict(true, said));
            }
            if !seen.power.has_domain() {
                return Ok(verdict(false, format!("it ended by itself: it is {}", seen.power)));
            }
        }
        if began.elapsed() > Duration::from_secs(60 * u64::from(minutes)) {
            return Ok(verdict(false, format!("it said nothing within {minutes} minutes")));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
        }
    }
}

async fn verdict(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    let (params, db) = (ctx.params(), &saga.0.db);
    let proof: BackupProof = ctx.output("answer")?;
    let key = (params.repository, params.backup.clone());
    db.store.commit(db.proofs.put_in(Transaction::new(), &key, &proof)).await?;
    // A crash between the two repeats the step, so that it is told; twice rather than never.
    if let Some(definition) = db.backups.get(&key).await?.and_then(|backup| backup.value.definition) {
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
        let data = [("role".to_owned(), "web".to_owned())].into();
        assert_eq!(word(&GuestFacts { data, ..silent }).as_deref(), Some("role is web"));
    }
}
