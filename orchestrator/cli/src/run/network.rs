//! What NICs plug into.

use xenith_orchestrator_api::network;
use xenith_orchestrator_types::network::{CreateNetwork, Network, NetworkRef};

use crate::app::App;
use crate::ask;
use crate::cli::NetworkCommand;
use crate::error::CliError;
use crate::run::{list, said};
use crate::table::{Cell, Column, Row, Sheet};

impl Row for Network {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |network, _| Cell::new(&network.name)),
            Column::new("bridge", |network, _| Cell::new(&network.bridge)),
            Column::new("pool", |network, names| Cell::new(names.pool(network.pool))),
            Column::new("description", |network, _| Cell::new(&network.description)),
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

pub async fn run(app: &App, command: NetworkCommand) -> Result<(), CliError> {
    match command {
        NetworkCommand::List(listing) => list::<network::List, Network>(app, &listing).await,
        NetworkCommand::Create { name, bridge, pool, description, keyed } => {
            let params = CreateNetwork { name, bridge, pool, description };
            let network = app.change::<network::Create>(&params, &keyed).await?;
            let names = app.names().await;
            app.out.object(&network, || {
                Sheet::new()
                    .line("name", &network.name)
                    .line("id", network.id.to_string())
                    .line("bridge", &network.bridge)
                    .line("pool", names.pool(network.pool))
                    .maybe("description", Some(&network.description))
            })
        }
        NetworkCommand::Delete { network, confirm, keyed } => {
            ask::confirm(&format!("Delete the network {network}?"), confirm)?;
            app.change::<network::Delete>(&NetworkRef { network: network.clone() }, &keyed).await?;
            said(app, &format!("{network} is deleted; the bridges on the hosts stay"));
            Ok(())
        }
    }
}
