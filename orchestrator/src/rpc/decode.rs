//! Parameters from JSON to typed values. An error names the field that is wrong: `disks[1].size`.

use jsonrpsee::types::Params;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};
use xenith_orchestrator_types::ApiError;

/// What the whole of the parameters is called where no field of them is to blame.
const WHOLE: &str = "params";

/// Parameters come by name. None at all is an empty object.
pub fn object(params: &Params<'static>) -> Result<Map<String, Value>, ApiError> {
    let wrong = |detail: &dyn std::fmt::Display| {
        ApiError::invalid(WHOLE, format_args!("must be an object with named members ({detail})"))
    };
    match params.as_str() {
        None => Ok(Map::new()),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(Value::Array(items)) if items.is_empty() => Ok(Map::new()),
            Ok(_) => Err(wrong(&"an array or a plain value was sent")),
            Err(error) => Err(wrong(&error)),
        },
    }
}

/// For subscriptions: parameters as typed values.
pub fn typed<T: DeserializeOwned>(params: &Params<'static>) -> Result<T, ApiError> {
    decode(&Value::Object(object(params)?))
}

pub fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let problem = error.inner().to_string();
        let field = field_of(value, error.path(), &problem);
        ApiError::invalid(if field.is_empty() { WHOLE } else { &field }, problem)
    })
}

/// The path to the value that is wrong. serde's path ends at the object that a member is missing in, and at the whole
/// of an enum whose variant is told by a member; the word in its message says which member it is.
fn field_of(value: &Value, path: &Path, problem: &str) -> String {
    let mut field = String::new();
    let mut at = Some(value);
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                field.push_str(&format!("[{index}]"));
                at = at.and_then(|at| at.get(index));
            }
            Segment::Map { key } => {
                join(&mut field, key);
                at = at.and_then(|at| at.get(key));
            }
            // The variant is a member too: `{"pool": "x"}`.
            Segment::Enum { variant } => {
                if let Some(inner) = at.and_then(|at| at.get(variant)) {
                    join(&mut field, variant);
                    at = Some(inner);
                }
            }
            Segment::Unknown => {}
        }
    }
    let member = quoted(problem, "missing field ").or_else(|| {
        let member = quoted(problem, "unknown field ")?;
        at.and_then(|at| at.get(member)).is_some().then_some(member)
    });
    let tag = || {
        let word = quoted(problem, "unknown variant ")?;
        let members = at.and_then(Value::as_object)?;
        members.iter().find(|(_, value)| value.as_str() == Some(word)).map(|(name, _)| name.as_str())
    };
    if let Some(member) = member.or_else(tag) {
        join(&mut field, member);
    }
    field
}

fn join(field: &mut String, member: &str) {
    if !field.is_empty() {
        field.push('.');
    }
    field.push_str(member);
}

/// The word in backticks behind `start`.
fn quoted<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.strip_prefix(start)?.strip_prefix('`')?.split('`').next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use xenith_orchestrator_types::vm::CreateVm;

    use super::*;

    #[test]
    fn an_error_names_the_field_and_what_is_allowed() {
        let good = json!({
            "name": "web1",
            "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
            "vcpus": { "online": 1, "max": 2 },
            "memory": { "target": 512, "max": 1024 },
        });
        let with = |pointer: &str, value: Value| {
            let mut vm = good.clone();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            vm.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(member.into(), value);
            vm
        };
        let mut nameless = good.clone();
        nameless.as_object_mut().unwrap().remove("name");
        let cases = [
            ("a wrong type", with("/vcpus/online", json!("x")), "vcpus.online", "expected u32"),
            ("a wrong value", with("/name", json!("")), "name", ""),
            ("a missing member", nameless, "name", "missing"),
            ("a missing member inside", with("/vcpus", json!({ "online": 1 })), "vcpus.max", "missing"),
            ("an unknown member", with("/colour", json!(1)), "colour", "unknown field"),
            ("an unknown member inside", with("/vcpus/colour", json!(1)), "vcpus.colour", "unknown field"),
            ("an unknown variant", with("/on_crash", json!("cry")), "on_crash", "restart"),
            ("an unknown tag", with("/platform/kind", json!("kvm")), "platform.kind", "`pvh`"),
            ("a member of a tagged enum", with("/platform/colour", json!(1)), "platform.colour", "unknown"),
            (
                "an element of an array",
                with("/disks", json!([{ "size": 1_073_741_824 }, { "access": "sometimes" }])),
                "disks[1].access",
                "unknown variant",
            ),
            ("no object", json!(7), "params", "struct CreateVm"),
        ];
        assert!(decode::<CreateVm>(&good).is_ok(), "{:?}", decode::<CreateVm>(&good));
        for (case, value, field, says) in cases {
            let error = decode::<CreateVm>(&value).unwrap_err();
            assert_eq!(error.data.field.as_deref(), Some(field), "{case}: {error}");
            assert!(error.message.contains(says), "{case}: {error}");
        }
    }
}
