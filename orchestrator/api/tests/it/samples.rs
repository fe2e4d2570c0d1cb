//! A value that a schema of the document allows.

use serde_json::{Map, Value, json};

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// What text of these formats and patterns looks like. A new one is an error of the test that wants a line here.
const TEXTS: [(&str, &str); 11] = [
    ("uuid", ID),
    ("date-time", "2026-11-23T08:00:00Z"),
    ("ip", "10.0.0.1"),
    ("^([0-9a-fA-F]{1,4}:)?[0-9a-fA-F]{1,2}:[01]?[0-9a-fA-F]\\.[0-7]$", "0000:03:00.0"),
    ("^([0-9a-f]{2}:){5}[0-9a-f]{2}$", "02:00:00:00:00:01"),
    ("^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$", "0-3"),
    ("^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", "web-1"),
    ("^xvd[a-z]$", "xvdb"),
    ("^(any|tcp|udp|icmp)(:[0-9,-]+)?( .+)?$", "tcp:22"),
    ("^[A-Za-z0-9_][A-Za-z0-9._-]{0,14}$", "eth0"),
    ("^(dhcp|[0-9A-Fa-f.:]+/[0-9]{1,3})$", "192.0.2.10/24"),
];

pub fn sample(schema: &Value, document: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return sample(document.pointer(&reference[1..]).unwrap(), document);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values[0].clone();
    }
    if let Some(all) = schema["allOf"].as_array() {
        return sample(&all[0], document);
    }
    let choices = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    if let Some(choices) = choices {
        let some = choices.iter().find(|choice| choice["type"] != "null").unwrap();
        return sample(some, document);
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("string") => {
            let kind = schema["format"].as_str().or(schema["pattern"].as_str());
            let text = kind.map_or("text", |kind| {
                let known = TEXTS.iter().find(|(known, _)| *known == kind);
                known.unwrap_or_else(|| panic!("no text of the kind {kind}")).1
            });
            json!(text)
        }
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("array") => match schema["items"].as_array() {
            Some(items) => items.iter().map(|item| sample(item, document)).collect(),
            None => json!([sample(&schema["items"], document)]),
        },
        Some("object") => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let members = properties.map(|(name, of)| (name.clone(), sample(of, document)));
            members.collect::<Map<_, _>>().into()
        }
        _ => json!("anything"),
    }
}
