//! The OpenRPC document as text. Putting it together takes milliseconds, and strangers may ask for it: it is made once.

use std::sync::LazyLock;

use serde_json::value::{RawValue, to_raw_value};
use xenith_orchestrator_api::openrpc;

static DOCUMENT: LazyLock<Box<RawValue>> =
    LazyLock::new(|| to_raw_value(&openrpc()).expect("a JSON value can be written as JSON"));

pub fn document() -> &'static RawValue {
    &DOCUMENT
}
