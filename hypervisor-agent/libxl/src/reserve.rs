//! Finding memory for a domain: reserve it, or let dom0 make room first.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_backend::HypervisorError;

use crate::Libxl;
use crate::domains::list;
use crate::error::{Subject, from_failure};
use crate::info::{Dominfo, Physinfo};
use crate::memory::{Reservation, Shortage, Snapshot};
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

impl Libxl {
    /// Makes a reservation with `reserve`, after dom0 gave up memory if it must and may.
    pub(crate) async fn reserve<F>(&self, reserve: F) -> Result<Reservation, HypervisorError>
    where
        F: Fn(Snapshot<'_>) -> Result<Reservation, Shortage>,
    {
        let now = self.reader.ask(moment).await??;
        let shortage = match reserve(now.snapshot()) {
            Ok(reservation) => return Ok(reservation),
            Err(shortage) => shortage,
        };
        let _one_at_a_time = self.ballooning.lock().await;
        let Some(target) = self.options.dom0_memory.shrunk(now.dom0_kib(), shortage) else {
            return Err(no_memory(shortage));
        };
        tracing::info!(target_mib = target >> 10, "dom0 gives up memory for a guest");
        let shrink = move |context: &Context| context.set_memory_target(DomId::DOM0, target);
        let shrunk = self.workers.run(shrink).await?;
        shrunk.map_err(|failure| from_failure(&failure, Subject::Domain(DomId::DOM0)))?;
        let deadline = Instant::now() + BALLOON_PATIENCE;
        loop {
            let now = self.reader.ask(moment).await??;
            match reserve(now.snapshot()) {
                Ok(reservation) => return Ok(reservation),
                Err(shortage) if Instant::now() >= deadline => return Err(no_memory(shortage)),
                Err(_not_yet) => sleep(BALLOON_POLL).await,
            }
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
