//! A running VM goes to another host: its memory is sent ([`send`]) and taken in ([`arrive`]).
//!
//! ```text
//! orchestrator            source                                destination
//!      │ open an arrival ────────────────────────────────────────▶ ticket
//!      │ send ───────────▶ Sending: preamble, memory ────────────▶ Receiving
//!      │                   suspended  ◀──── "complete" ─────────── Up(Paused), in its journal
//!      │ ◀──────────────── Sent, in its journal
//!      │ unpause ────────────────────────────────────────────────▶ Up(Running)
//!      │ destroy, forget ▶ gone
//! ```
//!
//! What always holds: a VM runs on one host. The source is the only one that may run it until it has written `Sent`,
//! and after that again when it is told to take it back, which is told only after the destination has destroyed its
//! copy. The destination runs it only when it is unpaused, which is told only after the source has answered `Sent`.
//! Neither side changes its mind by itself, also not after a crash of its agent or of its host: the table in
//! [`crate::vm::adopt`] says what each finds, and [`VmRecord::away`] keeps a source that was rebooted from starting the
//! VM with its host. docs/adr/0066-hand-over.md has every crash, line by line.
//!
//! The memory goes over several connections where it is large enough and both hosts have the processors ([`streams`]).
//!
//! Who else touches this: nobody. Nothing about it is on disk but the two journals; a ticket ends with its agent.
//!
//! [`VmRecord::away`]: crate::journal::VmRecord::away

pub mod arrive;
pub mod frame;
mod gather;
pub mod send;
pub mod streams;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::IncarnationId;
use xenith_hypervisor_agent_types::{CpuFeatures, VmSpec};

pub use arrive::Arrivals;
pub use streams::StreamCount;

/// What comes before the memory. New fields need `#[serde(default)]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preamble {
    pub incarnation: IncarnationId,
    /// What the domain was built from and has been changed to since: the definition may be newer, and the memory fits
    /// this only.
    pub applied: VmSpec,
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// What the guest must find of the processors' features; `None`: it was started without a level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_given: Option<CpuFeatures>,
}

/// What a receiver says of itself before anything is sent. An older one names no count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Waits {
    waits: bool,
    /// The most connections that it takes the memory over.
    #[serde(default)]
    streams: StreamCount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_of_any_age_says_how_many_connections_it_takes() {
        let three = StreamCount::try_from(3).unwrap();
        for (said, streams) in [
            (r#"{"waits":true}"#, Some(StreamCount::ONE)),
            (r#"{"waits":true,"streams":3}"#, Some(three)),
            (r#"{"waits":true,"streams":3,"later":1}"#, Some(three)),
            (r#"{"waits":true,"streams":0}"#, None),
            (r#"{"waits":true,"streams":200}"#, None),
        ] {
            let read = serde_json::from_str::<Waits>(said).ok().map(|waits| waits.streams);
            assert_eq!(read, streams, "{said}");
        }
        let told = serde_json::to_string(&Waits { waits: true, streams: three }).unwrap();
        assert_eq!(told, r#"{"waits":true,"streams":3}"#);
    }
}
