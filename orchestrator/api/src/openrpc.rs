//! The OpenRPC 1.3 document: what `rpc.discover` answers and `openrpc.json` holds.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};
use xenith_orchestrator_types::Reason;

use crate::{Kind, MethodInfo, SUBSCRIPTIONS, SubscriptionInfo};

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
    let whole = (info.params)(generator);
    let mut params = members(&whole, generator);
    if info.kind.is_mutation() {
        params.push(json!({
            "name": "idempotency_key",
            "summary": "The same key again within a day gets the first answer.",
            "required": false,
            "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
        }));
    }
    let mut result = (info.result)(generator).to_value();
    if info.kind == Kind::Plannable {
        params.push(json!({
            "name": "dry_run",
            "summary": "Makes all checks and answers with the plan; nothing changes.",
            "required": false,
            "schema": { "type": "boolean", "default": false },
        }));
        let plan = json!({
            "description": "With `dry_run`: what would be done.",
            "type": "object",
            "properties": { "plan": {} },
            "required": ["plan"],
            "additionalProperties": false,
        });
        result = json!({ "anyOf": [result, plan] });
    }
    json!({
        "name": info.name,
        "summary": info.summary,
        "paramStructure": "by-name",
        "params": params,
        "result": { "name": "result", "schema": result },
        "x-params": whole,
        "x-permission": info.permission,
        "x-mutation": info.kind.is_mutation(),
        "x-dry-run": info.kind == Kind::Plannable,
    })
}

fn subscription(info: &SubscriptionInfo, generator: &mut SchemaGenerator) -> Value {
    let whole = (info.params)(generator);
    let params = members(&whole, generator);
    let item = (info.item)(generator);
    json!({
        "name": info.name,
        "summary": info.summary,
        "paramStructure": "by-name",
        "params": params,
        "result": { "name": "subscription", "schema": { "type": ["string", "integer"] } },
        "x-params": whole,
        "x-permission": info.permission,
        "x-unsubscribe": info.unsubscribe,
        "x-notification": info.notification,
        "x-item": item,
    })
}

/// A content descriptor for each property of the object that a method takes: parameters are sent by name, so each
/// property is a parameter. `x-params` keeps the object as a whole, for programs that make types of it.
fn members(whole: &Schema, generator: &SchemaGenerator) -> Vec<Value> {
    let reference = whole.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let schema = match reference {
        Some(name) => generator.definitions().get(name),
        None => Some(whole.as_value()),
    };
    let Some(schema) = schema else { return Vec::new() };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let descriptor = |(name, property): (&String, &Value)| {
        let mut descriptor = json!({
            "name": name,
            "required": required.contains(&name.as_str()),
            "schema": property,
        });
        if let Some(text) = property.get("description") {
            descriptor["summary"] = text.clone();
        }
        descriptor
    };
    let mut descriptors: Vec<Value> = properties.map(descriptor).collect();
    // As OpenRPC wants it: what may be left out comes last.
    descriptors.sort_by_key(|descriptor| descriptor["required"] != true);
    descriptors
}
