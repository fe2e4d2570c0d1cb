//! Somebody who has the files: sends a disk to every upload that waits for one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::blocking::Client;
use xenith_common_block::MemorySource;
use xenith_common_ids::{HostId, VdiId};
use xenith_common_pki::{Peer, authority_client_config};
use xenith_orchestrator::db::Db;
use xenith_orchestrator::imports::LiveImports;
use xenith_orchestrator_types::import::ImportPhase;
use xenith_vmware_import::upload::{Mark, Takes, send};

/// Of the disk that is sent.
pub const CAPACITY: u64 = 200 * 1024;
const TICKET: &str = "a ticket";

/// Never ends.
pub async fn send_all(db: Db, imports: Arc<LiveImports>, authority: String) {
    loop {
        tokio::time::sleep(Duration::from_millis(2)).await;
        send_vdis(&db, &imports, &authority).await;
        let Ok((records, _)) = db.imports.all().await else { continue };
        for record in records.into_iter().filter(|record| record.value.phase == ImportPhase::Uploading) {
            let Some(port) = imports.port(record.value.host) else { continue };
            let hash = blake3::hash(TICKET.as_bytes()).to_hex().to_string();
            let give = |record: &mut xenith_orchestrator::model::ImportRecord| {
                record.ticket_hash = Some(hash.clone())
            };
            let _gone = db.imports.modify(&record.key, give).await;
            imports.nudge();
            let (host, authority) = (record.value.host, authority.clone());
            for disk in record.value.disks {
                let authority = authority.clone();
                let send = move || send_one(&authority, (host, port), disk.vdi);
                // What it says does not matter: it is sent again until the phase is another.
                let _told = tokio::task::spawn_blocking(send).await;
            }
            imports.nudge();
        }
    }
}

/// To every VDI that waits for it.
async fn send_vdis(db: &Db, imports: &LiveImports, authority: &str) {
    let Ok((vdis, _)) = db.vdis.all().await else { return };
    for vdi in vdis {
        let Some(port) = imports.port(vdi.value.host) else { continue };
        if !imports.set_ticket(vdi.key, blake3::hash(TICKET.as_bytes()).to_hex().to_string()) {
            continue;
        }
        imports.nudge();
        let (host, authority) = (vdi.value.host, authority.to_owned());
        let send = move || send_one(&authority, (host, port), vdi.key);
        // What it says does not matter: it is sent again until the VDI is whole.
        let _told = tokio::task::spawn_blocking(send).await;
        imports.nudge();
    }
}

fn send_one(authority: &str, (host, port): (HostId, u16), vdi: VdiId) -> reqwest::Result<()> {
    let name = Peer::Host(host).server_name().to_str().into_owned();
    let tls = authority_client_config(authority, &[b"http/1.1"]).unwrap();
    let http = Client::builder()
        .tls_backend_preconfigured(tls)
        .resolve(&name, SocketAddr::from(([127, 0, 0, 1], port)))
        .timeout(Duration::from_secs(10))
        .build()?;
    let url = format!("https://{name}:{port}/v1/vdis/{vdi}");
    let mark: Mark = http.get(&url).bearer_auth(TICKET).send()?.error_for_status()?.json()?;
    if mark.whole {
        return Ok(());
    }
    let bytes: Vec<u8> = (0..CAPACITY).map(|at| (at % 251) as u8).collect();
    let mut body = Vec::new();
    send(&MemorySource::new(bytes), (&mark, Takes::Plain), &mut body, &mut |_| Ok(())).unwrap();
    http.put(&url).bearer_auth(TICKET).body(body).send()?.error_for_status().map(drop)
}
