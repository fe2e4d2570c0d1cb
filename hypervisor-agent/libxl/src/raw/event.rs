//! libxl's events, read from their JSON: the struct's layout depends on the Xen version.

use serde::Deserialize;
use serde_json::Value;
use xenith_common_ids::DomId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawEvent {
    /// The domain ended; Xen's `SHUTDOWN_*` number.
    Shutdown { domid: DomId, reason: u8 },
    /// The domain is gone.
    Death { domid: DomId },
    /// An asynchronous operation is over.
    Complete { token: u64, rc: i32 },
    /// One that we did not ask for.
    Other,
}

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    domid: u32,
    #[serde(default)]
    for_user: u64,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

/// libxl leaves out fields with their default value, so a missing number is 0. The type is written only as the
/// name of the union's member: `type.domain_death`.
pub fn parse(json: &str) -> Option<RawEvent> {
    let event: Json = serde_json::from_str(json).ok()?;
    let member = event.rest.iter().find_map(|(name, member)| Some((name.strip_prefix("type.")?, member)));
    let (kind, member) = member?;
    let number = |field: &str| member.get(field).and_then(Value::as_i64).unwrap_or(0);
    let domid = DomId(event.domid);
    Some(match kind {
        "domain_shutdown" => {
            RawEvent::Shutdown { domid, reason: u8::try_from(number("shutdown_reason")).ok()? }
        }
        "domain_death" => RawEvent::Death { domid },
        "operation_complete" => {
            RawEvent::Complete { token: event.for_user, rc: i32::try_from(number("rc")).ok()? }
        }
        _ => RawEvent::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (name, json, expected) in [
            (
                "crash",
                r#"{"domid":3,"for_user":0,"type.domain_shutdown":{"shutdown_reason":3}}"#,
                Some(RawEvent::Shutdown { domid: DomId(3), reason: 3 }),
            ),
            (
                "defaults are left out",
                r#"{"domid":3,"type.domain_shutdown":{}}"#,
                Some(RawEvent::Shutdown { domid: DomId(3), reason: 0 }),
            ),
            ("death", r#"{"domid":7,"type.domain_death":{}}"#, Some(RawEvent::Death { domid: DomId(7) })),
            (
                "failed operation",
                r#"{"for_user":9,"type.operation_complete":{"rc":-9}}"#,
                Some(RawEvent::Complete { token: 9, rc: -9 }),
            ),
            ("unknown kind", r#"{"type.disk_eject":{"vdev":"hdc"}}"#, Some(RawEvent::Other)),
            ("not an event", "[]", None),
        ] {
            assert_eq!(parse(json), expected, "{name}");
        }
    }
}
