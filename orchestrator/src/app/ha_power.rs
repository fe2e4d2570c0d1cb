//! Power control for high availability: a host that is not heard and whose lease stands still is switched off, and its
//! controller says that it is.
//!
//! What always holds: nothing is written here. What a controller said is noted with the moment at which it was asked, and
//! counts when the next round of [`super::ha_keep`] puts it to the judge: a host that was heard since is not fenced. Only
//! *off* counts, read after the order; an order that was taken, an answer that does not come, and one that is not understood
//! prove nothing. Rounds of high availability never wait for a controller.

use std::sync::Arc;
use std::time::Duration;

use xenith_common_ids::HostId;
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::power::{MachinePower, PowerOrder};

use super::App;
use crate::model::PowerControlRecord;
use crate::power::{Controller, PowerError};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Times that a machine is looked at after it was told to go off, before it is told again.
const LOOKS: u32 = 10;

/// Until the orchestrator stops.
pub(crate) async fn keep(app: Arc<App>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match app.to_be_cut().await {
            Ok(hosts) => {
                let cut = hosts.iter().map(|(host, record)| app.cut(*host, record));
                futures::future::join_all(cut).await;
            }
            Err(error) => tracing::debug!(%error, "it cannot be read which hosts are to be switched off"),
        }
    }
}

impl App {
    async fn to_be_cut(&self) -> Result<Vec<(HostId, PowerControlRecord)>, StoreError> {
        let (kept, _) = self.db.ha_hosts.all().await?;
        let suspected = kept
            .into_iter()
            .filter(|kept| kept.value.believed.is_some() && kept.value.fenced.is_none() && !kept.value.rests)
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
        // It may have been heard while its controller was asked.
        if !self.ha.may_be_cut(host) {
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
