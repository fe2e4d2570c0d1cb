//! What attaching and detaching SRs share: which host works on what is in one.

use xenith_common_ids::{HostId, SrId};
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::template::Template;
use xenith_orchestrator_types::vdi::Vdi;

use super::Deps;

impl Deps {
    /// Makes sure that what is in an SR, and no VM's, is at a host which reaches it: at `preferred` where that does.
    /// Otherwise it could be neither resized nor deleted. Where nobody reaches the SR, it waits for the next who does.
    pub(super) async fn bring_within_reach(
        &self,
        sr: SrId,
        preferred: Option<HostId>,
    ) -> Result<(), StoreError> {
        let Some(record) = self.db.srs.get(&sr).await? else { return Ok(()) };
        let hosts = record.value.hosts;
        let to = preferred.filter(|host| hosts.contains(host)).or_else(|| hosts.first().copied());
        let Some(to) = to else { return Ok(()) };
        let stray = |vdi: &Vdi| {
            // One that is held is where its saga works on it.
            vdi.sr == sr && vdi.attached_to.is_none() && vdi.held_by.is_none() && !hosts.contains(&vdi.host)
        };
        for vdi in self.db.vdis.all().await?.0.into_iter().filter(|vdi| stray(&vdi.value)) {
            let bring = |vdi: &mut Vdi| {
                if stray(vdi) {
                    vdi.host = to;
                }
            };
            self.db.vdis.modify(&vdi.key, bring).await?;
        }
        let stray = |template: &Template| {
            let all_here = !template.disks.is_empty() && template.disks.iter().all(|disk| disk.sr == sr);
            template.ready && all_here && !hosts.contains(&template.host)
        };
        for template in self.db.templates.all().await?.0.into_iter().filter(|one| stray(&one.value)) {
            let bring = |template: &mut Template| {
                if stray(template) {
                    template.host = to;
                }
            };
            self.db.templates.modify(&template.key, bring).await?;
        }
        Ok(())
    }

    /// Whether no host is said to reach the SR any more: it was forgotten, or let go of everywhere.
    pub(super) async fn is_out_of_reach(&self, sr: SrId) -> Result<bool, StoreError> {
        if let Some(declared) = self.db.srs.get(&sr).await? {
            return Ok(declared.value.hosts.is_empty());
        }
        let (hosts, _) = self.db.hosts.all().await?;
        Ok(hosts.iter().all(|host| host.value.local_sr != Some(sr)))
    }
}
