//! Finding memory for a domain: reserve it, or let dom0 make room first.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_backend::HypervisorError;

use crate::Libxl;
use crate::domains::list;
use crate::error::{Subject, from_failure};
use crate::info::{Dominfo, Physinfo};
use crate::memory::{Dom0Memory, Reservation, Shortage, Snapshot};
use crate::raw::Context;

/// Left to Xen for what it allocates besides guests' memory: page tables, virtual CPUs, grant tables.
const FOR_XEN_KIB: u64 = 16 << 10;
/// A dom0 that has not given its memory up by then does not want to.
const BALLOON_PATIENCE: Duration = Duration::from_secs(30);
const BALLOON_POLL: Duration = Duration::from_millis(200);

/// The machine's memory at one moment.
#[derive(Debug)]
pub struct Moment {
    pub physinfo: Physinfo,
    pub domains: Vec<Dominfo>,
}

/// Both lists in one question, so that no other question of ours comes between.
pub fn moment(context: &Context) -> Result<Moment, HypervisorError> {
    let json = context.physinfo().map_err(|failure| from_failure(&failure, Subject::Host))?;
    let physinfo = Physinfo::parse(&json).map_err(|error| HypervisorError::Failed {
        operation: "reading what libxl says of the machine",
        code: "JSON".to_owned(),
        log: error.to_string(),
    })?;
    Ok(Moment { physinfo, domains: list(context)? })
}

impl Moment {
    fn snapshot(&self) -> Snapshot<'_> {
        let free_kib = self.physinfo.free_kib().saturating_sub(FOR_XEN_KIB);
        Snapshot { free_kib, domains: &self.domains }
    }

    /// KiB that dom0 has.
    pub fn dom0_kib(&self) -> u64 {
        self.domains.iter().find(|info| info.domid == DomId::DOM0.0).map_or(0, |info| info.current_memkb)
    }
}

/// What finding memory asks of the machine. A seam, so that the order of the steps is tested without Xen.
trait Machine {
    fn look(&self) -> impl Future<Output = Result<Moment, HypervisorError>> + Send;

    /// Asks dom0 to shrink to `target` KiB, which it does as fast as it can.
    fn shrink_dom0(&self, target: u64) -> impl Future<Output = Result<(), HypervisorError>> + Send;
}

impl Machine for Libxl {
    async fn look(&self) -> Result<Moment, HypervisorError> {
        self.reader.ask(moment).await?
    }

    async fn shrink_dom0(&self, target: u64) -> Result<(), HypervisorError> {
        let shrink = move |context: &Context| context.set_memory_target(DomId::DOM0, target);
        let shrunk = self.workers.run(shrink).await?;
        shrunk.map_err(|failure| from_failure(&failure, Subject::Domain(DomId::DOM0)))
    }
}

impl Libxl {
    /// Makes a reservation with `reserve`, after dom0 gave up memory if it must and may.
    pub(crate) async fn reserve<F>(&self, reserve: F) -> Result<Reservation, HypervisorError>
    where
        F: Fn(Snapshot<'_>) -> Result<Reservation, Shortage>,
    {
        find(self, &self.ballooning, self.dom0_memory, reserve).await
    }
}

/// `ballooning` is held from the look that dom0's new size follows from until the memory is reserved. A look from
/// before it was had would not know what dom0 gave up for others meanwhile: the size that follows from it can be
/// larger than what dom0 has by now, and dom0 would take back what was reserved for them.
async fn find<F>(
    machine: &impl Machine,
    ballooning: &Mutex<()>,
    dom0: Dom0Memory,
    reserve: F,
) -> Result<Reservation, HypervisorError>
where
    F: Fn(Snapshot<'_>) -> Result<Reservation, Shortage>,
{
    if let Ok(reservation) = reserve(machine.look().await?.snapshot()) {
        return Ok(reservation);
    }
    let _one_at_a_time = ballooning.lock().await;
    let now = machine.look().await?;
    let shortage = match reserve(now.snapshot()) {
        Ok(reservation) => return Ok(reservation),
        Err(shortage) => shortage,
    };
    let Some(target) = dom0.shrunk(now.dom0_kib(), shortage) else {
        return Err(no_memory(shortage));
    };
    tracing::info!(target_mib = target >> 10, "dom0 gives up memory for a guest");
    machine.shrink_dom0(target).await?;
    let deadline = Instant::now() + BALLOON_PATIENCE;
    loop {
        match reserve(machine.look().await?.snapshot()) {
            Ok(reservation) => return Ok(reservation),
            Err(shortage) if Instant::now() >= deadline => return Err(no_memory(shortage)),
            Err(_not_yet) => sleep(BALLOON_POLL).await,
        }
    }
}

/// What is needed is rounded up and what is there down, so that the message never contradicts itself.
fn no_memory(shortage: Shortage) -> HypervisorError {
    let needed = shortage.needed.saturating_add(1023).saturating_mul(1024);
    HypervisorError::NoMemory {
        needed: MemoryMiB::from_bytes_floor(needed),
        free: MemoryMiB::from_bytes_floor(shortage.available.saturating_mul(1024)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex as Plain, PoisonError};

    use uuid::Uuid;

    use super::*;
    use crate::memory::Ledger;

    const GIB: u64 = 1 << 20;

    /// A dom0 that does at once what it is asked, in whichever direction.
    #[derive(Debug)]
    struct Host {
        free: u64,
        dom0: u64,
        /// The sizes that dom0 was asked for.
        asked: Vec<u64>,
    }

    struct FakeMachine(Plain<Host>);

    impl FakeMachine {
        fn new(free: u64, dom0: u64) -> Self {
            Self(Plain::new(Host { free: free + FOR_XEN_KIB, dom0, asked: Vec::new() }))
        }

        fn host(&self) -> std::sync::MutexGuard<'_, Host> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Machine for FakeMachine {
        async fn look(&self) -> Result<Moment, HypervisorError> {
            let host = self.host();
            let physinfo = Physinfo { free_pages: host.free / 4, ..Physinfo::default() };
            let dom0 = Dominfo { domid: DomId::DOM0.0, current_memkb: host.dom0, ..Dominfo::default() };
            Ok(Moment { physinfo, domains: vec![dom0] })
        }

        async fn shrink_dom0(&self, target: u64) -> Result<(), HypervisorError> {
            // Time for others to look and find too little.
            tokio::task::yield_now().await;
            let mut host = self.host();
            host.free = host.free + host.dom0 - target;
            host.dom0 = target;
            host.asked.push(target);
            Ok(())
        }
    }

    fn giving_down_to(mib: u64) -> Dom0Memory {
        Dom0Memory::GivesDownTo(MemoryMiB::new(mib).unwrap())
    }

    #[tokio::test]
    async fn of_two_shortages_the_second_takes_nothing_of_what_the_first_got() {
        let (machine, ledger, ballooning) = (FakeMachine::new(0, 8 * GIB), Ledger::default(), Mutex::new(()));
        let guest = |number, kib| {
            let ledger = ledger.clone();
            let reserve = move |now: Snapshot<'_>| ledger.reserve_build(Uuid::from_u128(number), kib, now);
            find(&machine, &ballooning, giving_down_to(1024), reserve)
        };
        // Both find too little before dom0 gives anything.
        let (large, small) = tokio::join!(guest(1, 2 * GIB), guest(2, GIB));
        let _held = (large.unwrap(), small.unwrap());
        let host = machine.host();
        assert_eq!(host.asked, [6 * GIB, 5 * GIB], "dom0 only gives");
        assert_eq!(host.free - FOR_XEN_KIB, 3 * GIB, "what both were promised is there");
    }

    #[tokio::test]
    async fn dom0_is_not_asked_for_what_came_free_meanwhile() {
        let (machine, ledger, ballooning) = (FakeMachine::new(0, 8 * GIB), Ledger::default(), Mutex::new(()));
        let reserve = |now: Snapshot<'_>| ledger.reserve_build(Uuid::from_u128(1), GIB, now);
        let others = ballooning.lock().await;
        let waiting = find(&machine, &ballooning, giving_down_to(1024), reserve);
        let freeing = async {
            tokio::task::yield_now().await;
            machine.host().free += GIB;
            drop(others);
        };
        let (reserved, ()) = tokio::join!(waiting, freeing);
        let _held = reserved.unwrap();
        assert!(machine.host().asked.is_empty());
    }

    #[tokio::test]
    async fn a_dom0_that_must_keep_what_it_has_is_not_asked() {
        for (name, policy) in [("fixed", Dom0Memory::Fixed), ("at its minimum", giving_down_to(8 * 1024))] {
            let (machine, ledger) = (FakeMachine::new(GIB, 8 * GIB), Ledger::default());
            let reserve = |now: Snapshot<'_>| ledger.reserve_build(Uuid::from_u128(1), 2 * GIB, now);
            let refused = find(&machine, &Mutex::new(()), policy, reserve).await.unwrap_err();
            assert!(matches!(refused, HypervisorError::NoMemory { .. }), "{name}: {refused}");
            assert!(machine.host().asked.is_empty(), "{name}");
        }
    }
}
