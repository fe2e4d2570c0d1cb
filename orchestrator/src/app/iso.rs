//! ISO libraries.

use async_trait::async_trait;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::iso::IsoApi;
use xenith_orchestrator_types::sr::SrContent;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::{ApiError, Empty};

use super::App;

#[async_trait]
impl IsoApi for App {
    async fn list(&self, call: &Call, _: Empty) -> Result<Vec<Vdi>, ApiError> {
        let mut libraries = self.srs(call).await?;
        libraries.retain(|sr| sr.record.content == SrContent::Iso);
        let isos = libraries.iter().flat_map(|sr| self.views.vdis_in(sr.id));
        let mut isos: Vec<Vdi> = isos.map(|vdi| (*vdi).clone()).collect();
        isos.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        Ok(isos)
    }
}
