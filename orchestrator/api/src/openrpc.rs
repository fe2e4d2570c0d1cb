//! The OpenRPC 1.3 document: what `rpc.discover` answers and `openrpc.json` holds.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use xenith_orchestrator_types::Reason;

use crate::{MethodInfo, SUBSCRIPTIONS, SubscriptionInfo};

/// The whole document, the same for every build of one version.
#[must_use]
pub fn openrpc() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut methods: Vec<Value> = crate::methods().iter().map(|info| method(info, &mut generator)).collect();
    methods.extend(SUBSCRIPTIONS.iter().map(|info| subscription(info, &mut generator)));
    let errors: Vec<Value> = Reason::ALL
        .iter()
        .map(|reason| json!({ "code": reason.code(), "message": reason.as_str() }))
        .collect();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "Xenith",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "AGPL-3.0-only" },
        },
        "methods": methods,
        "components": { "schemas": generator.take_definitions(true), "errors": errors },
    })
}

fn method(info: &MethodInfo, generator: &mut SchemaGenerator) -> Value {
    let params = (info.params)(generator);
    let result = (info.result)(generator);
    json!({
        "name": info.name,
        "summary": info.summary,
        "paramStructure": "by-name",
        "params": [{ "name": "params", "required": true, "schema": params }],
        "result": { "name": "result", "schema": result },
        "x-permission": info.permission,
        "x-mutation": info.kind.is_mutation(),
        "x-dry-run": info.kind == crate::Kind::Plannable,
    })
}

fn subscription(info: &SubscriptionInfo, generator: &mut SchemaGenerator) -> Value {
    let params = (info.params)(generator);
    let item = (info.item)(generator);
    json!({
        "name": info.name,
        "summary": info.summary,
        "paramStructure": "by-name",
        "params": [{ "name": "params", "required": true, "schema": params }],
        "result": { "name": "subscription", "schema": { "type": ["string", "integer"] } },
        "x-permission": info.permission,
        "x-unsubscribe": info.unsubscribe,
        "x-notification": info.notification,
        "x-item": item,
    })
}
