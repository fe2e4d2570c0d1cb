//! A VM's memory to another host, which has opened an arrival for it ([`super::arrive`]).
//!
//! One connection, one try: what breaks off is begun anew by who asked for it, because half of a memory that goes on
//! changing is worth nothing. A peer that vanishes without a word is given up within [`SILENCE`], as the guest may stand
//! still at that moment.

use std::io::{self, PipeReader};
use std::sync::Arc;
use std::time::Duration;

use reqwest::blocking::{Body, Client, Response};
use xenith_common_ids::VmId;
use xenith_common_text::chain;
use xenith_hypervisor_agent_api::SendVm;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::Preamble;
use super::frame::Framed;
use crate::progress::Progress;
use crate::transfer::way_to;

/// Also of a receiver that takes nothing: one that makes room for the guest does not for a while.
const SILENCE: Duration = Duration::from_secs(60);

/// The way to the receiver, looked at before anything is asked of the guest.
pub struct Way {
    http: Client,
    url: String,
    ticket: String,
}

impl Way {
    /// Blocks until the receiver has said that it waits for this VM.
    pub fn find(vm: VmId, order: &SendVm) -> Result<Self, Fault> {
        let (http, base) = way_to(&order.address, &order.server_name, &order.authority_pem)?;
        let http = http
            .tcp_keepalive(SILENCE / 4)
            .tcp_keepalive_interval(SILENCE / 4)
            .tcp_keepalive_retries(3_u32)
            .tcp_user_timeout(SILENCE)
            .build()
            .map_err(|error| Fault::new(FaultReason::Internal, error))?;
        let url = format!("{base}/v1/vms/{vm}/memory");
        let way = Self { http, url, ticket: order.ticket.clone() };
        answer(way.http.get(&way.url).bearer_auth(&way.ticket).timeout(SILENCE).send())?;
        Ok(way)
    }

    /// Blocks until the receiver says that the VM is complete there. `total` is what the VM has, in bytes.
    pub fn send(
        &self,
        preamble: &Preamble,
        memory: PipeReader,
        (progress, total): (&Arc<Progress>, u64),
    ) -> Result<(), Fault> {
        let internal = |error: &dyn std::fmt::Display| Fault::new(FaultReason::Internal, error);
        let preamble = serde_json::to_vec(preamble).map_err(|error| internal(&error))?;
        let shown = Arc::clone(progress);
        // A guest that writes is read more than once.
        let step = move |done: u64| {
            shown.set(done.min(total), total);
            shown.check().map_err(io::Error::other)
        };
        let framed = Framed::new(&preamble, memory, step).map_err(|error| internal(&error))?;
        let put = self.http.put(&self.url).bearer_auth(&self.ticket).body(Body::new(framed)).send();
        if progress.check().is_err() {
            return Err(Fault::new(FaultReason::WrongState, "the migration was cancelled"));
        }
        answer(put)
    }
}

fn answer(response: reqwest::Result<Response>) -> Result<(), Fault> {
    let response = response.map_err(|error| {
        let why = chain(&error);
        Fault::new(FaultReason::NotReady, format_args!("the connection to the receiving host broke: {why}"))
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let told = response.json::<serde_json::Value>().ok();
    let told = told.and_then(|body| body["error"].as_str().map(ToOwned::to_owned));
    let told = told.unwrap_or_else(|| status.to_string());
    // Its ticket has ended, somebody before us is not noticed as gone, or not all came: a new try may help.
    let passing = matches!(status.as_u16(), 401 | 409 | 503);
    let reason = if passing { FaultReason::NotReady } else { FaultReason::Hypervisor };
    Err(Fault::new(reason, format_args!("the receiving host says: {told}")))
}
