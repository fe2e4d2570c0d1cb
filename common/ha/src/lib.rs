//! High availability: when a host has to end itself, when it counts as ended, and what follows. No IO and no clock.
//!
//! The agent asks the [`Guard`] whether its watchdog may be fed. The orchestrator asks the [`Judge`] whether a host that
//! is not heard is proved to run nothing, and the functions of [`duty`] what is to be done then. Both are given the
//! time as a [`Moment`] of their own clock; no two clocks are ever compared.
//!
//! What always holds, whatever messages do, whichever process dies, and as long as no clock is off by more than
//! [`DRIFT_PER_MILLE`]: a host that [`Judge`] calls fenced has been reset, or ran nothing and the run of its agent that was
//! heard is over ([`Guard::is_over`]). `tests/it` holds these functions, and no copy of them, against ten thousand simulated
//! partitions; `docs/adr/0075-high-availability.md` has the proof.

pub mod duty;
mod guard;
mod judge;
mod time;

pub use guard::{Autostart, Challenge, Guard};
pub use judge::{Judge, LeaseMark, Proof, Reading, Verdict};
pub use time::{BadTiming, DRIFT_PER_MILLE, Moment, Timing};
