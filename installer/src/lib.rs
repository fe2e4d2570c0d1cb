//! The installer: from answers and what the machine has to a plan, and from the plan to a Xen host.
//!
//! ```text
//! answers (a file, or the text screens)  +  facts (disks, cards, firmware)
//!        -> plan: ordered steps, each safe to repeat, shown before anything is written
//!        -> apply: progress, a log, and on a failure the step and the device named
//! ```
//!
//! The same binary lives on the installed host: it tells the boot loader that a boot was good, puts a new image into
//! the other slot, and shows the status on the console. What always holds: nothing is written to a disk before the plan
//! was confirmed; a disk that was written in part is installed again like any other.

pub mod answers;
pub mod apply;
pub mod boot_state;
pub mod check;
pub mod console;
pub mod disks;
pub mod existing;
pub mod facts;
pub mod image;
pub mod layout;
pub mod live;
pub mod mirror;
pub mod nics;
pub mod own_orchestrator;
pub mod plan;
pub mod screen;
pub mod session;
pub mod source;
pub mod upgrade;
