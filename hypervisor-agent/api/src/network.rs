//! What a host must have of networks, on the wire: JSON inside one field (see `hypervisor_agent_types::network`). A
//! field that an older agent does not know is refused, not left out: a rule that is not understood would be a rule that
//! is not kept.

use xenith_hypervisor_agent_types::network::{HostNetworks, Realised};

use crate::wire::execute_request::Command as Wire;
use crate::{WireError, wire};

pub(crate) fn to_wire(networks: &HostNetworks) -> Wire {
    let networks_json = serde_json::to_string(networks).expect("networks are plain data");
    Wire::Networks(wire::Networks { networks_json })
}

pub(crate) fn from_wire(networks: &wire::Networks) -> Result<Box<HostNetworks>, WireError> {
    serde_json::from_str(&networks.networks_json)
        .map_err(|error| WireError::new("networks.networks_json", error))
}

pub(crate) fn realised_to_wire(realised: &Realised) -> wire::NetworksRealised {
    let realised_json = serde_json::to_string(realised).expect("what became of them is plain data");
    wire::NetworksRealised { realised_json }
}

pub(crate) fn realised_from_wire(done: &wire::NetworksRealised) -> Result<Box<Realised>, WireError> {
    serde_json::from_str(&done.realised_json).map_err(|error| WireError::new("networks.realised_json", error))
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::NetworkId;
    use xenith_hypervisor_agent_types::mesh::Encryption;
    use xenith_hypervisor_agent_types::network::{HostNetwork, Mtu, Uplink};

    use super::*;

    #[test]
    fn networks_come_as_they_went_and_nothing_is_left_out() {
        let mtu = Mtu::try_from(9000).unwrap();
        let peers = vec!["10.0.0.2".parse().unwrap()];
        let network = HostNetwork {
            network: NetworkId::new(),
            name: "lan".into(),
            uplink: Uplink::Internal,
            mtu,
            peers,
            encryption: Encryption::None,
        };
        let networks = HostNetworks { networks: vec![network], ..HostNetworks::default() };
        let Wire::Networks(wire) = to_wire(&networks) else { panic!("it is of networks") };
        assert_eq!(*from_wire(&wire).unwrap(), networks);
        let odd = wire.networks_json.replace("\"peers\"", "\"later\"");
        let error = from_wire(&wire::Networks { networks_json: odd }).unwrap_err().to_string();
        assert!(error.contains("later"), "{error}");
    }
}
