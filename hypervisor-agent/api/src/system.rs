//! The system of a host, on the wire: JSON inside one field (see `hypervisor_agent_types::system`).

use xenith_hypervisor_agent_types::system::{SystemCommand, SystemReply};

use crate::wire::execute_request::Command as Wire;
use crate::{WireError, wire};

pub(crate) fn to_wire(command: &SystemCommand) -> Wire {
    let command_json = serde_json::to_string(command).expect("a command is plain data");
    Wire::System(wire::System { command_json })
}

pub(crate) fn from_wire(system: &wire::System) -> Result<SystemCommand, WireError> {
    serde_json::from_str(&system.command_json).map_err(|error| WireError::new("system.command_json", error))
}

pub(crate) fn reply_to_wire(reply: &SystemReply) -> wire::SystemDone {
    wire::SystemDone { reply_json: serde_json::to_string(reply).expect("an answer is plain data") }
}

pub(crate) fn reply_from_wire(done: &wire::SystemDone) -> Result<SystemReply, WireError> {
    serde_json::from_str(&done.reply_json).map_err(|error| WireError::new("system.reply_json", error))
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::system::{HostSystem, PackagesDone, SystemSlot, SystemStanding};

    use super::*;

    #[test]
    fn commands_and_answers_come_as_they_went() {
        for command in [
            SystemCommand::Look,
            SystemCommand::Fetch { url: "http://h/live".into() },
            SystemCommand::Fill,
            SystemCommand::Drop,
            SystemCommand::Boot,
            SystemCommand::Restart { boot: "1".into() },
            SystemCommand::PowerOff { boot: "1".into() },
            SystemCommand::UpdatePackages,
            SystemCommand::Start { slot: SystemSlot::B, boot: "1".into() },
        ] {
            let Wire::System(wire) = to_wire(&command) else { panic!("it is of the system") };
            assert_eq!(from_wire(&wire).unwrap(), command);
        }
        let standing = SystemStanding::FellBack;
        let system = HostSystem { slot: SystemSlot::A, version: "1".into(), boot: "2".into(), standing };
        for reply in [
            SystemReply::System(system),
            SystemReply::Fetched { version: "3".into() },
            SystemReply::Boot { boot: "2".into() },
            SystemReply::Packages(PackagesDone { restart: true }),
            SystemReply::Nothing,
        ] {
            assert_eq!(reply_from_wire(&reply_to_wire(&reply)).unwrap(), reply);
        }
        let odd =
            wire::System { command_json: r#"{"do":"start","slot":"b","boot":"1","force":true}"#.into() };
        let error = from_wire(&odd).unwrap_err().to_string();
        assert!(error.contains("force"), "{error}");
    }
}
