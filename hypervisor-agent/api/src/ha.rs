//! High availability on the wire: JSON inside one field (see `hypervisor_agent_types::ha`). A request that an older agent does
//! not know is refused: half of it would be worse than nothing.

use xenith_common_ids::Epoch;
use xenith_hypervisor_agent_types::ha::{HaAnswer, HaRequest};

use crate::{WireError, wire};

#[must_use]
pub fn ha_request_to_wire(epoch: Epoch, request: &HaRequest) -> wire::HaRequest {
    let request_json = serde_json::to_string(request).expect("a request is plain data");
    wire::HaRequest { epoch: epoch.0, request_json }
}

pub fn ha_request_from_wire(request: &wire::HaRequest) -> Result<HaRequest, WireError> {
    serde_json::from_str(&request.request_json).map_err(|error| WireError::new("request_json", error))
}

#[must_use]
pub fn ha_answer_to_wire(answer: &HaAnswer) -> wire::HaReply {
    wire::HaReply { answer_json: serde_json::to_string(answer).expect("an answer is plain data") }
}

pub fn ha_answer_from_wire(reply: &wire::HaReply) -> Result<HaAnswer, WireError> {
    serde_json::from_str(&reply.answer_json).map_err(|error| WireError::new("answer_json", error))
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::{AgentRunId, HostId, SrId};
    use xenith_hypervisor_agent_types::ha::{Arms, Timing};

    use super::*;

    #[test]
    fn requests_come_as_they_went() {
        let (sr, run) = (SrId::new(), AgentRunId::new());
        for request in [
            HaRequest::Beat { challenge: Some(u64::MAX), allow_autostart: Some(run) },
            HaRequest::Beat { challenge: None, allow_autostart: None },
            HaRequest::Arm(Arms { sr, timing: Timing::default() }),
            HaRequest::Disarm { challenge: 7 },
            HaRequest::Look { sr, hosts: vec![HostId::new()] },
        ] {
            let wire = ha_request_to_wire(Epoch(3), &request);
            assert_eq!(wire.epoch, 3);
            assert_eq!(ha_request_from_wire(&wire).unwrap(), request);
        }
    }

    #[test]
    fn a_timing_that_cannot_work_is_refused_by_name() {
        let request_json = format!(
            r#"{{"arm": {{"sr": "{}", "timing": {{"lease_s": 10, "watchdog_s": 10, "beat_s": 5}}}}}}"#,
            SrId::new()
        );
        let error =
            ha_request_from_wire(&wire::HaRequest { epoch: 1, request_json }).unwrap_err().to_string();
        assert!(error.contains("too short"), "{error}");
    }
}
