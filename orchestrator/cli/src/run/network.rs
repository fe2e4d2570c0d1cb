//! What NICs plug into.

use xenith_hypervisor_agent_types::mesh::Encryption;
use xenith_hypervisor_agent_types::network::{BondMode, Uplink};
use xenith_orchestrator_api::network;
use xenith_orchestrator_types::network::{
    CreateNetwork, Network, NetworkEncryption, NetworkOnHost, NetworkRef, NetworkState,
};

use crate::app::App;
use crate::ask;
use crate::cli::{BondModeFlag, CreateNetworkArgs, EncryptionFlag, NetworkCommand};
use crate::error::CliError;
use crate::run::{list, print, said};
use crate::table::{Cell, Column, Row, Sheet, Tone};

impl Row for Network {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |network, _| Cell::new(&network.name)),
            Column::new("bridge", |network, _| Cell::new(&network.bridge)),
            Column::new("uplink", |network, _| Cell::maybe(network.uplink.as_ref().map(Uplink::to_string))),
            Column::new("pool", |network, names| Cell::new(names.pool(network.pool))),
            Column::new("description", |network, _| Cell::new(&network.description)),
            Column::on_request("encryption", |network, _| Cell::new(network.encryption.as_str())),
            Column::on_request("mtu", |network, _| Cell::maybe(network.mtu.map(|mtu| mtu.to_string()))),
            Column::on_request("id", |network, _| Cell::new(network.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for NetworkOnHost {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("host", |one, _| Cell::new(&one.name)),
            Column::new("state", |one, _| {
                let tone = match one.state {
                    NetworkState::Realised => Tone::Good,
                    NetworkState::Failed => Tone::Bad,
                    NetworkState::Unknown => Tone::Dim,
                };
                Cell::toned(tone, one.state.as_str())
            }),
            Column::new("reason", |one, _| Cell::maybe(one.reason.as_ref())),
            Column::on_request("id", |one, _| Cell::new(one.host.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.host.to_string()
    }
}

pub async fn run(app: &App, command: NetworkCommand) -> Result<(), CliError> {
    match command {
        NetworkCommand::List(listing) => list::<network::List, Network>(app, &listing).await,
        NetworkCommand::Create(args) => create(app, *args).await,
        NetworkCommand::Status { network, columns } => {
            let status = app.call::<network::Status>(&NetworkRef { network }).await?;
            print(app, &status.hosts, &columns).await
        }
        NetworkCommand::SetEncryption { network, encryption, keyed } => {
            let params = NetworkEncryption { network, encryption: wanted(encryption) };
            let network = app.change::<network::SetEncryption>(&params, &keyed).await?;
            shown(app, &network).await
        }
        NetworkCommand::Delete { network, confirm, keyed } => {
            ask::confirm(&format!("Delete the network {network}?"), confirm)?;
            app.change::<network::Delete>(&NetworkRef { network: network.clone() }, &keyed).await?;
            said(app, &format!("{network} is deleted; bridges that the hosts made for it go, others stay"));
            Ok(())
        }
    }
}

async fn create(app: &App, args: CreateNetworkArgs) -> Result<(), CliError> {
    let uplink = uplink(&args);
    let CreateNetworkArgs { name, made_of, mtu, encryption, pool, description, keyed, .. } = args;
    let bridge = made_of.bridge.unwrap_or_default();
    let encryption = encryption.map(wanted).unwrap_or_default();
    let params = CreateNetwork { name, bridge, pool, description, uplink, mtu, encryption };
    let network = app.change::<network::Create>(&params, &keyed).await?;
    shown(app, &network).await
}

const fn wanted(flag: EncryptionFlag) -> Encryption {
    match flag {
        EncryptionFlag::None => Encryption::None,
        EncryptionFlag::Wireguard => Encryption::WireGuard,
    }
}

async fn shown(app: &App, network: &Network) -> Result<(), CliError> {
    let names = app.names().await;
    let encryption = Some(network.encryption.as_str()).filter(|_| !network.encryption.is_none());
    app.out.object(network, || {
        Sheet::new()
            .line("name", &network.name)
            .line("id", network.id.to_string())
            .line("bridge", &network.bridge)
            .maybe("uplink", network.uplink.as_ref().map(Uplink::to_string))
            .maybe("encryption", encryption)
            .line("pool", names.pool(network.pool))
            .maybe("description", Some(&network.description))
    })
}

fn uplink(args: &CreateNetworkArgs) -> Option<Uplink> {
    let made_of = &args.made_of;
    let vlan = args.vlan;
    if let Some(interface) = &made_of.interface {
        return Some(Uplink::Interface { interface: interface.clone(), vlan });
    }
    if let Some(bond) = &made_of.bond {
        let mode = match args.bond_mode {
            BondModeFlag::ActiveBackup => BondMode::ActiveBackup,
            BondModeFlag::Lacp => BondMode::Lacp,
        };
        let interfaces = args.interfaces.clone();
        return Some(Uplink::Bond { bond: bond.clone(), mode, interfaces, vlan });
    }
    if let Some(vni) = made_of.private {
        return Some(Uplink::Private { vni });
    }
    made_of.internal.then_some(Uplink::Internal)
}
