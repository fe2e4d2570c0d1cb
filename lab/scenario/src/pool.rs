//! Two hosts of a pool that share an SR. The first serves it, so that no third machine is needed.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use xenith_lab::LabHost;
use xenith_orchestrator_api::{host, sr};

use crate::programs::Programs;
use crate::stage::Stage;

/// A second share beside that of the SR is for whatever else both hosts have to reach.
const NAS: &str = "mkdir -p /srv/nas /srv/backups && for share in nas backups; do \
                   echo \"/srv/$share 10.77.0.0/24(rw,sync,no_root_squash,no_subtree_check)\"; done \
                   >/etc/exports && systemctl start nfs-server";
const SHARED_WITHIN: Duration = Duration::from_secs(180);

/// Both join, know each other's address on the LAN, and have the SR `nas`.
pub async fn join_pool([one, other]: [&Stage; 2], programs: &Programs) -> Result<()> {
    for stage in [one, other] {
        Box::pin(stage.enrol(programs)).await?;
        let address = stage.host.as_ref().and_then(LabHost::lan_address).context("no LAN")?;
        let peers = json!({ "host": stage.name, "address": address.to_string() });
        stage.orchestrator.call::<host::SetPeerAddress>(peers).await?;
    }
    one.dom0(NAS).await?;
    let spec = json!({ "kind": "nfs", "server": "10.77.0.1", "export": "/srv/nas" });
    let nas = json!({ "name": "nas", "host": one.name, "spec": spec });
    one.orchestrator.done::<sr::Create>(nas, SHARED_WITHIN).await?;
    let attach = json!({ "sr": "nas", "host": other.name });
    one.orchestrator.done::<sr::Attach>(attach, SHARED_WITHIN).await.map(drop)
}
