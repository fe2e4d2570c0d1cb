//! Raw bindings to Xen's toolstack library `libxenlight`, found at run time.
//!
//! The library is opened with `dlopen`, not linked: its name carries the Xen version
//! (`libxenlight.so.4.17`), so a linked agent would start only on hosts with exactly that version, and not at
//! all where there is no Xen. One agent binary serves every version in [`SONAMES`], because no struct whose
//! layout differs between versions has a layout here; the safe wrapper moves those as JSON, with the
//! library's own `_to_json` and `_from_json`.
//!
//! What always holds: `src/bindings_<version>.rs` is generated and never edited (the `regenerate` example
//! writes it, a test compares it with the installed headers); a loaded [`Library`] has every function that
//! the bindings name, so no call can hit a missing symbol. Rejected: a `build.rs` that runs bindgen, which
//! would ask every build machine for libclang and the Xen headers.
//!
//! Only `xenith-hypervisor-agent-libxl` uses this crate.
#![allow(unsafe_code)]

#[rustfmt::skip]
#[allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    missing_docs,
    rust_2018_idioms,
    clippy::all,
    clippy::too_many_lines,
)]
mod bindings_4_17;
mod load;

pub use bindings_4_17::*;
pub use load::{Library, LoadError, SONAMES, load, load_first};
