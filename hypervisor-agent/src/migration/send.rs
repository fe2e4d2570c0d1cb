//! A VM's memory to another host, which has opened an arrival for it ([`super::arrive`]).
//!
//! One try: what breaks off is begun anew by who asked for it, because half of a memory that goes on changing is worth
//! nothing. It goes over as many connections as both hosts have processors for and the memory is worth ([`super::streams`]);
//! the first carries the definition, and what the receiver says on it is what counts. Each connection has a client of its
//! own: one encrypts on one thread, however many connections it has. A peer that vanishes without a word is given up within
//! [`SILENCE`], as the guest may stand still at that moment.

use std::io::{self, PipeReader};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use reqwest::blocking::{Body, Client, ClientBuilder, Response};
use uuid::Uuid;
use xenith_common_ids::VmId;
use xenith_common_text::chain;
use xenith_hypervisor_agent_api::SendVm;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::frame::Framed;
use super::streams::{Dealt, StreamCount, deal, streams};
use super::{Preamble, Waits};
use crate::progress::Progress;
use crate::transfer::way_to;

/// Also of a receiver that takes nothing: one that makes room for the guest does not for a while.
const SILENCE: Duration = Duration::from_secs(60);

/// The way to the receiver, looked at before anything is asked of the guest.
pub struct Way {
    /// Of each connection.
    clients: Vec<Client>,
    streams: StreamCount,
    url: String,
    ticket: String,
}

impl Way {
    /// Blocks until the receiver has said that it waits for this VM. `most` connections are used.
    pub fn find(vm: VmId, order: &SendVm, most: StreamCount) -> Result<Self, Fault> {
        let (http, base) = client(order)?;
        let url = format!("{base}/v1/vms/{vm}/memory");
        let looked = answer(http.get(&url).bearer_auth(&order.ticket).timeout(SILENCE).send())?;
        let takes = looked.json::<Waits>().map_or(StreamCount::ONE, |waits| waits.streams);
        let streams = most.min(takes);
        let mut clients = vec![http];
        while clients.len() < streams.get() {
            clients.push(client(order)?.0);
        }
        Ok(Self { clients, streams, url, ticket: order.ticket.clone() })
    }

    /// Blocks until the receiver says that the VM is complete there. `total` is what the VM has, in bytes.
    pub fn send(
        &self,
        preamble: &Preamble,
        memory: PipeReader,
        (progress, total): (&Arc<Progress>, u64),
    ) -> Result<(), Fault> {
        let preamble = serde_json::to_vec(preamble).map_err(|error| internal(&error))?;
        let shown = Arc::clone(progress);
        // A guest that writes is read more than once.
        let step = move |done: u64| {
            shown.set(done.min(total), total);
            shown.check().map_err(io::Error::other)
        };
        let sent = match self.clients.as_slice() {
            [only] => {
                let framed = Framed::new(&preamble, memory, step).map_err(|error| internal(&error))?;
                self.put(only, &self.url, Body::new(framed))
            }
            _ => self.send_parts(&preamble, memory, step),
        };
        if progress.check().is_err() {
            return Err(Fault::new(FaultReason::WrongState, "the migration was cancelled"));
        }
        sent
    }

    fn put(&self, client: &Client, url: &str, body: Body) -> Result<(), Fault> {
        answer(client.put(url).bearer_auth(&self.ticket).body(body).send()).map(drop)
    }

    /// Over several connections. The memory is let go as soon as one of them is lost, which ends who writes it.
    fn send_parts(
        &self,
        preamble: &[u8],
        memory: PipeReader,
        step: impl FnMut(u64) -> io::Result<()>,
    ) -> Result<(), Fault> {
        let (to, parts) = streams(preamble, self.streams).map_err(|error| internal(&error))?;
        let attempt = Uuid::new_v4();
        thread::scope(|scope| {
            let send = |number: usize, part: Dealt| {
                let client = &self.clients[number];
                let url = self.url_of(number, attempt);
                scope.spawn(move || self.put(client, &url, Body::new(part)))
            };
            let sending: Vec<_> =
                parts.into_iter().enumerate().map(|(number, part)| send(number, part)).collect();
            // Who is told: the connections, which end without their mark, and by the receiver's answer we.
            let _told = deal(memory, &to, step);
            drop(to);
            let panicked = |_| Err(internal(&"a thread that sends memory has panicked"));
            let ended = sending.into_iter().map(|sending| sending.join().unwrap_or_else(panicked));
            verdict(ended.collect())
        })
    }

    fn url_of(&self, number: usize, attempt: Uuid) -> String {
        let Self { url, streams, .. } = self;
        match number {
            0 => format!("{url}?streams={}&attempt={attempt}", streams.get()),
            number => format!("{url}/{number}?attempt={attempt}"),
        }
    }
}

fn internal(error: &dyn std::fmt::Display) -> Fault {
    Fault::new(FaultReason::Internal, error)
}

fn client(order: &SendVm) -> Result<(Client, String), Fault> {
    let (http, base) = way_to(&order.address, &order.server_name, &order.authority_pem)?;
    let http = ClientBuilder::from(http)
        .timeout(None)
        .tcp_keepalive(SILENCE / 4)
        .tcp_keepalive_interval(SILENCE / 4)
        .tcp_keepalive_retries(3_u32)
        .tcp_user_timeout(SILENCE)
        .build()
        .map_err(|error| internal(&error))?;
    Ok((http, base))
}

/// Of all connections, the first one's first: the receiver's word is told on it. That not all came is explained by one
/// that was lost.
fn verdict(ended: Vec<Result<(), Fault>>) -> Result<(), Fault> {
    let mut ended = ended.into_iter();
    match ended.next() {
        Some(Err(told)) if told.reason == FaultReason::NotReady => Err(match ended.find_map(Result::err) {
            Some(lost) => Fault::new(
                told.reason,
                format_args!("{}; of another connection: {}", told.message, lost.message),
            ),
            None => told,
        }),
        Some(told) => told,
        None => Err(internal(&"memory was sent over no connection")),
    }
}

fn answer(response: reqwest::Result<Response>) -> Result<Response, Fault> {
    let response = response.map_err(|error| {
        let why = chain(&error);
        Fault::new(FaultReason::NotReady, format_args!("the connection to the receiving host broke: {why}"))
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let told = response.json::<serde_json::Value>().ok();
    let told = told.and_then(|body| body["error"].as_str().map(ToOwned::to_owned));
    let told = told.unwrap_or_else(|| status.to_string());
    // Its ticket has ended, somebody before us is not noticed as gone, or not all came: a new try may help.
    let passing = matches!(status.as_u16(), 401 | 409 | 503);
    let reason = if passing { FaultReason::NotReady } else { FaultReason::Hypervisor };
    Err(Fault::new(reason, format_args!("the receiving host says: {told}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(reason: FaultReason, message: &str) -> Result<(), Fault> {
        Err(Fault::new(reason, message))
    }

    #[test]
    fn the_first_connection_has_the_last_word() {
        use FaultReason::{Hypervisor, NotReady};
        let (lost, room) = (fault(NotReady, "it broke"), fault(Hypervisor, "no room"));
        let part = fault(NotReady, "not all came");
        for (case, ended, verdict_is) in [
            ("all went well", vec![Ok(()), Ok(())], Ok(())),
            ("it is complete there", vec![Ok(()), lost.clone()], Ok(())),
            ("it cannot be built", vec![room.clone(), lost.clone()], room.clone()),
            ("only the first knows why", vec![part.clone(), Ok(())], part.clone()),
            (
                "another was lost",
                vec![part, Ok(()), lost],
                fault(NotReady, "not all came; of another connection: it broke"),
            ),
        ] {
            assert_eq!(verdict(ended), verdict_is, "{case}");
        }
    }
}
