//! ISO libraries.

use std::sync::Arc;

use async_trait::async_trait;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::iso::IsoApi;
use xenith_orchestrator_types::sr::SrContent;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::{ApiError, ListRequest, Page};

use super::App;
use super::listings::filtered;
use super::listings::storage::IsoRow;
use super::sr::FoundSr;

#[async_trait]
impl IsoApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Vdi>, ApiError> {
        let mut libraries = self.srs(call).await?;
        libraries.retain(|sr| sr.record.content == SrContent::Iso);
        let row = |(library, vdi): (&FoundSr, Arc<Vdi>)| IsoRow {
            library: library.record.name.clone(),
            host: self.host_name(vdi.host),
            vdi: Arc::unwrap_or_clone(vdi),
        };
        let isos =
            libraries.iter().flat_map(|sr| self.views.vdis_in(sr.id).into_iter().map(move |vdi| (sr, vdi)));
        Ok(filtered(isos.map(row).collect(), &request)?.map(|row: IsoRow| row.vdi))
    }
}
