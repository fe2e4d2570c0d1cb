//! Contents of VDIs on their way out: to who has a ticket ([`download`]), to another host ([`send`]), and from SR to
//! SR of this host; whole, or what changed between two snapshots ([`changes`]).
//!
//! What always holds: only what stands still is read (a snapshot, or a VDI that no VM has open), and nobody deletes or
//! changes it meanwhile ([`Storage::open_source`]). Nothing about an outgoing transfer is kept on disk: after a crash
//! whoever wanted it asks again, and the receiver's own mark says from where.

pub mod changes;
pub mod download;
mod pace;
mod send;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};
use xenith_common_block::{BlockError, CopyProgress, copy};
use xenith_common_ids::{SrId, VdiId};
use xenith_common_pki::authority_client_config;
use xenith_hypervisor_agent_api::{CommandResult, TransferCommand};
use xenith_hypervisor_agent_storage::StorageError;
use xenith_hypervisor_agent_types::{Fault, FaultReason, VdiFacts, VdiSize};

use crate::disk::Storage;
use crate::import::Imports;
use crate::progress::Progress;
use changes::Changes;
use pace::Pace;

pub async fn execute(
    storage: Storage,
    imports: Arc<Imports>,
    command: TransferCommand,
    progress: Arc<Progress>,
) -> Result<CommandResult, Fault> {
    match command {
        TransferCommand::OpenDownload { vdi, ticket_hash, idle } => {
            blocking(move || imports.open_download(vdi, ticket_hash, idle))
                .await
                .map(CommandResult::UploadOpen)
        }
        TransferCommand::CloseDownload { vdi } => {
            imports.downloads.close(vdi);
            Ok(CommandResult::Nothing)
        }
        TransferCommand::Send(order) => {
            blocking(move || send::send(&storage, &order, &progress)).await.map(|()| CommandResult::Nothing)
        }
        TransferCommand::Copy { from, to, sr, size, bandwidth } => {
            let copied = blocking(move || storage.copy_vdi(from, (to, sr, size), (bandwidth, &progress)));
            copied.await.map(CommandResult::Vdi)
        }
        TransferCommand::Patch { from, base, to, bandwidth } => {
            let patched = blocking(move || storage.patch_vdi((base, from), to, (bandwidth, &progress)));
            patched.await.map(CommandResult::Copied)
        }
        TransferCommand::SendChanges { send, base } => {
            let sent = blocking(move || send::send_changes(&storage, &send, base, &progress));
            sent.await.map(CommandResult::Copied)
        }
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(call).await.map_err(|error| Fault::new(FaultReason::Internal, error))?
}

/// A client for the listener of another host, and what its addresses begin with. It waits for ever unless it is told
/// otherwise.
pub(crate) fn way_to(
    address: &str,
    server_name: &str,
    authority_pem: &str,
) -> Result<(ClientBuilder, String), Fault> {
    let tls = authority_client_config(authority_pem, &[b"http/1.1"])
        .map_err(|error| Fault::invalid("authority_pem", error))?;
    let (_, port) = address.rsplit_once(':').ok_or_else(|| Fault::invalid("address", "it has no port"))?;
    let unknown = |error: io::Error| {
        Fault::new(FaultReason::NotReady, format_args!("{address} cannot be found: {error}"))
    };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(unknown)?.collect();
    let http = Client::builder()
        .tls_backend_preconfigured(tls)
        .resolve_to_addrs(server_name, &addresses)
        .connect_timeout(Duration::from_secs(10))
        .no_proxy();
    Ok((http, format!("https://{server_name}:{port}")))
}

fn cancelled() -> Fault {
    Fault::new(FaultReason::WrongState, "the transfer was cancelled")
}

fn failed(error: BlockError) -> Fault {
    match error {
        BlockError::Cancelled => cancelled(),
        other => StorageError::from(other).into(),
    }
}

impl Storage {
    /// The new VDI is there completely or not at all: it is filled under an id that nobody knows.
    fn copy_vdi(
        &self,
        from: VdiId,
        (to, sr, size): (VdiId, SrId, VdiSize),
        (bandwidth, progress): (u64, &Arc<Progress>),
    ) -> Result<VdiFacts, Fault> {
        let mut pace = Pace::new(bandwidth);
        let _hold = self.hold_for_import(sr, to)?;
        let _filling = self.copying.begin(to, progress);
        let driver = self.driver(sr)?;
        match driver.facts(to) {
            Ok(facts) => return Ok(facts),
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let source = self.open_source(from)?;
        let aside = crate::disk::scratch(to);
        driver.delete(aside)?;
        driver.ensure(aside, size)?;
        let filled = driver.open_sink(aside).map_err(Fault::from).and_then(|sink| {
            let step = |done: CopyProgress| {
                progress.set(done.copied + done.skipped, done.total);
                pace.keep(done.copied, progress)
            };
            copy(&*source, &*sink, step).map(|_| ()).map_err(failed)
        });
        let done = filled.and_then(|()| Ok(driver.rename(aside, to)?));
        if done.is_err() {
            driver.delete(aside)?;
        }
        done
    }

    /// Brings `to`, which is a copy of `base`, to the contents of `from`, and makes them durable.
    fn patch_vdi(
        &self,
        (base, from): (VdiId, VdiId),
        to: VdiId,
        (bandwidth, progress): (u64, &Arc<Progress>),
    ) -> Result<u64, Fault> {
        self.copying.give_up(to);
        let _filling = self.copying.begin(to, progress);
        // Somebody who asked before and does not wait for the answer any more was at it: worth another try. Held before it is
        // found what changed, which may take long: else an order of before could come to write its changes over later ones.
        let sink = self.open_sink(to).map_err(|fault| Fault { reason: FaultReason::NotReady, ..fault })?;
        let changes = Changes::between(self, base, from)?;
        changes::same_size(sink.size(), changes.size())?;
        let (mut pace, total) = (Pace::new(bandwidth), changes.total());
        let step = &mut |looked| {
            progress.set(looked, total);
            pace.keep(looked, progress)
        };
        let given = changes.each(&mut |offset, bytes| changes::put(&*sink, offset, bytes), step);
        let given = given.map_err(failed)?;
        sink.flush().map_err(failed)?;
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_storage::file::FileDriver;

    use super::*;
    use crate::disk::InUse;

    #[test]
    fn a_copy_is_held_before_it_is_found_what_changed() {
        let (folder, sr, copy) = (tempfile::tempdir().unwrap(), SrId::new(), VdiId::new());
        let driver = FileDriver::open(sr, folder.path().to_owned());
        let storage = Storage::new(Arc::new(driver), InUse::default());
        storage.ensure(sr, copy, VdiSize::from_bytes(1 << 20).unwrap()).unwrap();
        let earlier = storage.open_sink(copy).unwrap();
        // Of snapshots that nobody has made: to look for them is to be late.
        let patched = |storage: &Storage| {
            storage.patch_vdi((VdiId::new(), VdiId::new()), copy, (0, &Arc::default())).unwrap_err()
        };
        assert_eq!(patched(&storage).reason, FaultReason::NotReady);
        drop(earlier);
        assert_eq!(patched(&storage).reason, FaultReason::NotFound);
    }

    #[test]
    fn who_fills_a_copy_is_ended_by_who_asks_anew_or_deletes_it() {
        let (folder, sr, copy) = (tempfile::tempdir().unwrap(), SrId::new(), VdiId::new());
        let driver = FileDriver::open(sr, folder.path().to_owned());
        let storage = Storage::new(Arc::new(driver), InUse::default());
        storage.ensure(sr, copy, VdiSize::from_bytes(1 << 20).unwrap()).unwrap();
        let held = storage.open_sink(copy).unwrap();
        let ends: [(&str, &dyn Fn() -> Fault); 2] = [
            ("asked anew", &|| {
                let of = (VdiId::new(), VdiId::new());
                storage.patch_vdi(of, copy, (0, &Arc::default())).unwrap_err()
            }),
            ("deleted", &|| storage.delete(sr, copy).unwrap_err()),
        ];
        for (case, end) in ends {
            let before = Arc::new(Progress::default());
            let filling = storage.copying.begin(copy, &before);
            let refused = end();
            assert!(before.check().is_err(), "{case}: {refused}");
            drop(filling);
        }
        drop(held);
        storage.delete(sr, copy).unwrap();
    }
}
