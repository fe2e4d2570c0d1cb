//! The management interface of a host, on the wire: JSON inside one field (see `hypervisor_agent_types::management`).

use xenith_hypervisor_agent_types::management::{ManagementCommand, ManagementReply};

use crate::wire::execute_request::Command as Wire;
use crate::{WireError, wire};

pub(crate) fn to_wire(command: &ManagementCommand) -> Wire {
    let command_json = serde_json::to_string(command).expect("a command is plain data");
    Wire::Management(wire::Management { command_json })
}

pub(crate) fn from_wire(management: &wire::Management) -> Result<Box<ManagementCommand>, WireError> {
    serde_json::from_str(&management.command_json)
        .map_err(|error| WireError::new("management.command_json", error))
}

pub(crate) fn reply_to_wire(reply: &ManagementReply) -> wire::ManagementDone {
    wire::ManagementDone { reply_json: serde_json::to_string(reply).expect("an answer is plain data") }
}

pub(crate) fn reply_from_wire(done: &wire::ManagementDone) -> Result<ManagementReply, WireError> {
    serde_json::from_str(&done.reply_json).map_err(|error| WireError::new("management.reply_json", error))
}

#[cfg(test)]
mod tests {
    use xenith_common_units::MacAddr;
    use xenith_hypervisor_agent_types::management::{
        Addressing, Card, Keeping, Management, ManagementState, ManagementTrial,
    };

    use super::*;

    #[test]
    fn commands_and_answers_come_as_they_went() {
        let management = Management {
            cards: vec![MacAddr::from_xen_block([1, 2, 3])],
            bond: None,
            vlan: None,
            address: Addressing::Dhcp,
            gateway: None,
            dns: vec![],
        };
        let change = "1".to_owned();
        let trial = ManagementTrial { change: change.clone(), wanted: management.clone(), seconds: 60 };
        for command in [
            ManagementCommand::Look,
            ManagementCommand::Try(trial),
            ManagementCommand::Keep { change: change.clone() },
            ManagementCommand::GoBack { change },
        ] {
            let Wire::Management(wire) = to_wire(&command) else { panic!("it is of the interface") };
            assert_eq!(*from_wire(&wire).unwrap(), command);
        }
        let cards = vec![Card { name: "eth0".into(), mac: management.cards[0] }];
        let state = ManagementState { management, cards, on_trial: None, kept: Some("1".into()) };
        for reply in [
            ManagementReply::State(Box::new(state)),
            ManagementReply::Keeping { keeping: Keeping::WentBack },
            ManagementReply::Nothing,
        ] {
            assert_eq!(reply_from_wire(&reply_to_wire(&reply)).unwrap(), reply);
        }
        let odd = wire::Management { command_json: r#"{"do":"keep","change":"1","force":true}"#.into() };
        let error = from_wire(&odd).unwrap_err().to_string();
        assert!(error.contains("force"), "{error}");
    }
}
