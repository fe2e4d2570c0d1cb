//! A VM's memory to another host, which has opened an arrival for it ([`super::arrive`]).
//!
//! One try: what breaks off is begun anew by who asked for it, because half of a memory that goes on changing is worth
//! nothing. It goes over as many connections as both hosts have processors for and the memory is worth ([`super::streams`]);
//! the first carries the definition, and what the receiver says on it is what counts. Each connection encrypts on a thread of
//! its own, beside one that makes its frames. A peer that vanishes without a word is given up within [`SILENCE`], as the guest
//! may stand still at that moment.

use std::io::{self, PipeReader, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use uuid::Uuid;
use xenith_common_ids::VmId;
use xenith_common_text::chain;
use xenith_hypervisor_agent_api::SendVm;
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::upload::{PipeWriter, ReceivingHost, Reply, pipe_of};

use super::frame::Framed;
use super::streams::{Dealt, StreamCount, deal, streams};
use super::{Preamble, Waits};
use crate::progress::Progress;
use crate::transfer::way_to;

/// Also of a receiver that takes nothing: one that makes room for the guest does not for a while.
const SILENCE: Duration = Duration::from_secs(60);
/// What is handed over to a connection at once, and how many of these wait there: they are on their way when the guest is
/// suspended, which is why it is no more.
const HANDED: usize = 256 << 10;
const WAITING: usize = 2;

/// The way to the receiver, looked at before anything is asked of the guest.
pub struct Way {
    host: ReceivingHost,
    streams: StreamCount,
    url: String,
    ticket: String,
}

impl Way {
    /// Blocks until the receiver has said that it waits for this VM. `most` connections are used.
    pub fn find(vm: VmId, order: &SendVm, most: StreamCount) -> Result<Self, Fault> {
        let (host, base) = receiver(order)?;
        let url = format!("{base}/v1/vms/{vm}/memory");
        let looked = answer(host.ask(|http| http.get(&url).bearer_auth(&order.ticket).timeout(SILENCE)))?;
        let takes = looked.json::<Waits>().map_or(StreamCount::ONE, |waits| waits.streams);
        Ok(Self { host, streams: most.min(takes), url, ticket: order.ticket.clone() })
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
        let sent = if self.streams == StreamCount::ONE {
            let framed = Framed::new(&preamble, memory, step).map_err(|error| internal(&error))?;
            self.put(&self.url, framed)
        } else {
            self.send_parts(&preamble, memory, step)
        };
        if progress.check().is_err() {
            return Err(Fault::new(FaultReason::WrongState, "the migration was cancelled"));
        }
        sent
    }

    /// Over one connection. What makes the frames is let go of as soon as the connection is lost.
    fn put(&self, url: &str, frames: impl Read + Send) -> Result<(), Fault> {
        let (writer, pieces) = pipe_of(WAITING);
        thread::scope(|scope| {
            scope.spawn(move || pour(frames, writer));
            answer(self.host.ask(|http| http.put(url).bearer_auth(&self.ticket).body(pieces))).map(drop)
        })
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
                let url = self.url_of(number, attempt);
                scope.spawn(move || self.put(&url, part))
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

fn receiver(order: &SendVm) -> Result<(ReceivingHost, String), Fault> {
    let (http, base) = way_to(&order.address, &order.server_name, &order.authority_pem)?;
    let http = http
        .tcp_keepalive(SILENCE / 4)
        .tcp_keepalive_interval(SILENCE / 4)
        .tcp_keepalive_retries(3_u32)
        .tcp_user_timeout(SILENCE);
    let host = ReceivingHost::new(http).map_err(|error| internal(&chain(&error)))?;
    Ok((host, base))
}

/// Hands frames over as soon as they are made: the receiver may need them before it takes what comes on another connection.
fn pour(mut frames: impl Read, mut writer: PipeWriter) {
    let mut piece = vec![0; HANDED];
    loop {
        let poured = match frames.read(&mut piece) {
            Ok(0) => return,
            Ok(length) => writer.write_all(&piece[..length]).and_then(|()| writer.flush()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => return writer.fail(error),
        };
        if poured.is_err() {
            // The connection is lost, which who asked over it tells.
            return;
        }
    }
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

fn answer(reply: Result<Reply, ImportError>) -> Result<Reply, Fault> {
    let reply = reply.map_err(|error| {
        let why = chain(&error);
        Fault::new(FaultReason::NotReady, format_args!("the connection to the receiving host broke: {why}"))
    })?;
    let status = reply.status;
    if status.is_success() {
        return Ok(reply);
    }
    let told = reply.problem();
    // Its ticket has ended, somebody before us is not noticed as gone, or not all came: a new try may help.
    let passing = matches!(status.as_u16(), 401 | 409 | 503);
    let reason = if passing { FaultReason::NotReady } else { FaultReason::Hypervisor };
    Err(Fault::new(reason, format_args!("the receiving host says: {told}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what it has, and then its error, or its end.
    struct Frames(Vec<Vec<u8>>, Option<io::Error>);

    impl Read for Frames {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match (self.0.pop(), self.1.take()) {
                (Some(frame), error) => {
                    self.1 = error;
                    buffer[..frame.len()].copy_from_slice(&frame);
                    Ok(frame.len())
                }
                (None, Some(error)) => Err(error),
                (None, None) => Ok(0),
            }
        }
    }

    #[test]
    fn frames_that_cannot_be_read_break_the_connection_off() {
        for (case, error) in [("an end", None), ("an error", Some(io::Error::other("cancelled")))] {
            let (broken, (writer, pieces)) = (error.is_some(), pipe_of(4));
            pour(Frames(vec![vec![2; 9], vec![1; 9]], error), writer);
            let body = futures::executor::block_on(read_all(pieces.into()));
            assert_eq!(body.ok(), (!broken).then(|| [[1; 9], [2; 9]].concat()), "{case}");
        }
    }

    /// The whole of a body.
    async fn read_all(body: reqwest::Body) -> Result<Vec<u8>, axum::Error> {
        let bytes = axum::body::to_bytes(axum::body::Body::new(body), usize::MAX).await;
        bytes.map(|bytes| bytes.to_vec())
    }

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
