//! What of an old record does not come back when today's program reads and writes it. The tests of the orchestrator share
//! this file.

use serde_json::Value;

/// Fields of `before` that `after` has not, or has otherwise. What is empty may be left out.
pub fn lost(before: &Value, after: &Value, at: &str, found: &mut Vec<String>) {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in before {
                match after.get(name) {
                    Some(after) => lost(value, after, &format!("{at}.{name}"), found),
                    None if empty(value) => {}
                    None => found.push(format!("{at}.{name} is gone")),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (number, (before, after)) in before.iter().zip(after).enumerate() {
                lost(before, after, &format!("{at}[{number}]"), found);
            }
        }
        _ if before == after => {}
        _ => found.push(format!("{at} was {before} and is {after}")),
    }
}
