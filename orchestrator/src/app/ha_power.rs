//! Power control for high availability: a host that is not heard and whose lease stands still is switched off, and its
//! controller says that it is.
//!
//! What always holds: nothing is written here. What a controller said is noted with the moment at which it was asked, and
//! counts when the next round of [`super::ha_keep`] puts it to the judge: a host that was heard since is not fenced. Only
//! *off* counts, read after the order; an order that was taken, an answer that does not come, and one that is not understood
//! prove nothing. Rounds of high availability never wait for a controller, and no host waits for the controller of another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{MissedTickBehavior, interval};
use xenith_common_ids::HostId;
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::power::{MachinePower, PowerOrder};

use super::App;
use crate::ha::HaHostRecord;
use crate::model::PowerControlRecord;
use crate::power::{Controller, PowerError};

const LOOK_EVERY: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(2) };
/// Times that a machine is looked at after it was told to go off, before it is told again.
const LOOKS: u32 = 10;

/// Whether it is armed, as far as anybody goes by that.
const fn counts(kept: &HaHostRecord) -> bool {
    kept.believed.is_some() && kept.fenced.is_none() && !kept.rests
}

/// Until the orchestrator stops.
pub(crate) async fn keep(app: Arc<App>) {
    let look = || {
        let app = Arc::clone(&app);
        async move {
            app.to_be_cut().await.unwrap_or_else(|error| {
                tracing::debug!(%error, "it cannot be read which hosts are to be switched off");
                Vec::new()
            })
        }
    };
    let cut = |host: HostId, record: PowerControlRecord| {
        let app = Arc::clone(&app);
        async move { app.cut(host, &record).await }
    };
    each_by_itself(look, cut).await;
}

/// Looks again and again, and cuts each host that is found and is not being cut already. Until it is dropped.
async fn each_by_itself<R, L, C>(look: impl Fn() -> L, cut: impl Fn(HostId, R) -> C)
where
    L: Future<Output = Vec<(HostId, R)>>,
    C: Future<Output = ()>,
{
    let (mut cutting, mut under_way) = (FuturesUnordered::new(), BTreeSet::new());
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(host) = cutting.next() => {
                under_way.remove(&host);
            }
            _ = tick.tick() => {
                for (host, record) in look().await {
                    if under_way.insert(host) {
                        let cut = cut(host, record);
                        cutting.push(async move {
                            cut.await;
                            host
                        });
                    }
                }
            }
        }
    }
}

impl App {
    async fn to_be_cut(&self) -> Result<Vec<(HostId, PowerControlRecord)>, StoreError> {
        let (kept, _) = self.db.ha_hosts.all().await?;
        let suspected = kept
            .into_iter()
            .filter(|kept| counts(&kept.value))
            .map(|kept| kept.key)
            .filter(|host| self.ha.may_be_cut(*host));
        Ok(suspected.filter_map(|host| Some((host, self.views.host(host)?.power.clone()?))).collect())
    }

    async fn cut(&self, host: HostId, record: &PowerControlRecord) {
        if let Err(error) = self.try_cut(host, record).await {
            tracing::warn!(%host, %error, "a host that is not heard cannot be switched off; its lease is waited for");
            self.ha.note_problem(host, Some(error.to_string()));
        }
    }

    async fn try_cut(&self, host: HostId, record: &PowerControlRecord) -> Result<(), PowerError> {
        let controller = Controller::open(record, &self.vault)?;
        if self.is_off(host, &controller).await? {
            return Ok(());
        }
        if !self.may_be_cut_still(host).await {
            return Ok(());
        }
        tracing::warn!(%host, "the host is not heard and its lease stands still: it is switched off");
        controller.order(PowerOrder::Off).await?;
        for _ in 0..LOOKS {
            if self.is_off(host, &controller).await? {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// While its controller was asked, the host may have been heard, or somebody has turned high availability off.
    async fn may_be_cut_still(&self, host: HostId) -> bool {
        let Some(known) = self.views.host(host).filter(|known| !known.is_disarmed()) else { return false };
        let pool = self.db.ha_pools.get(&known.pool).await;
        let kept = self.db.ha_hosts.get(&host).await;
        let counts = kept.ok().flatten().is_some_and(|kept| counts(&kept.value));
        counts && pool.is_ok_and(|pool| pool.is_some()) && self.ha.may_be_cut(host)
    }

    /// Asked now. Noted with the moment before that.
    async fn is_off(&self, host: HostId, controller: &Controller) -> Result<bool, PowerError> {
        let asked = self.ha.now();
        let off = controller.power().await? == MachinePower::Off;
        if off {
            self.ha.note_off(host, asked);
        }
        Ok(off)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use time::OffsetDateTime;
    use xenith_common_ha::{Proof, Timing};
    use xenith_common_ids::SrId;
    use xenith_hypervisor_agent_types::ha::Arms;

    use super::*;
    use crate::ha::FencedRecord;

    #[test]
    fn only_a_host_that_is_armed_is_cut() {
        let arms = Some(Arms { sr: SrId::from_bytes([1; 16]), timing: Timing::default() });
        let fenced = || {
            let (proof, at) = (Proof::Lease, OffsetDateTime::UNIX_EPOCH);
            Some(FencedRecord { proof, at, moved: BTreeSet::new() })
        };
        for (case, believed, fenced, rests, expected) in [
            ("it is armed", arms, None, false, true),
            ("it may be, or high availability was turned off", None, None, false, false),
            ("it is off already, or as good as", arms, fenced(), false, false),
            ("it was restored from a backup", arms, None, true, false),
        ] {
            let kept = HaHostRecord { believed, fenced, rests, ..HaHostRecord::default() };
            assert_eq!(counts(&kept), expected, "{case}");
        }
    }

    #[tokio::test]
    async fn no_host_waits_for_the_controller_of_another() {
        let [hangs, other] = [1, 2].map(|number| HostId::from_bytes([number; 16]));
        let (looks, cut) = (Mutex::new(0), Mutex::new(Vec::new()));
        let look = || {
            let mut looks = looks.lock().unwrap();
            *looks += 1;
            let found = if *looks == 1 { vec![(hangs, ())] } else { vec![(hangs, ()), (other, ())] };
            async move { found }
        };
        let begin = |host: HostId, (): ()| {
            cut.lock().unwrap().push(host);
            async move {
                if host == hangs {
                    std::future::pending::<()>().await;
                }
            }
        };
        let other_is_cut = async {
            while !cut.lock().unwrap().contains(&other) {
                tokio::task::yield_now().await;
            }
        };
        let watched = async {
            tokio::select! {
                () = each_by_itself(look, begin) => {}
                () = other_is_cut => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(10), watched).await.expect("the other host waits");
        let twice = cut.lock().unwrap().iter().filter(|host| **host == hangs).count();
        assert_eq!(twice, 1, "one that is being cut is not cut again");
    }
}
