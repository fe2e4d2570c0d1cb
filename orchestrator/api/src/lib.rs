//! The API, declared once: name, parameters, result, the permission needed, and a sentence for the manual.
//!
//! From one declaration come the trait that the orchestrator implements (so that a method cannot be
//! forgotten), the marker type that clients call by (so that parameters and result fit), the authorisation
//! table (so that a method cannot be left open) and the OpenRPC document. jsonrpsee's own macro knows neither
//! permissions nor schemas; it still does the transport (`docs/adr/0004-api-declared-once.md`).
//!
//! Every mutation takes, besides its parameters, `idempotency_key` (the same key again within a day gets the
//! first answer) and, where the declaration says `plan`, `dry_run` (the checks are made, nothing changes).

#[macro_use]
mod declare;
mod caller;
mod nouns;
mod openrpc;
mod subscription;

pub use caller::{Call, Caller, Sight};
pub use declare::{Kind, Method, MethodInfo, Registrar};
pub use nouns::*;
pub use openrpc::openrpc;
pub use subscription::{
    HostChange, InventoryChange, NounChange, SUBSCRIPTIONS, SubscriptionInfo, VdiChange, VmChange,
    WatchEvents, WatchRows, WatchTasks,
};

/// Every method, in the order of the document.
#[must_use]
pub fn methods() -> Vec<MethodInfo> {
    nouns::all_methods()
}
