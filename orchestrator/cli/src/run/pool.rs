//! Hosts that share networks and storage.

use xenith_orchestrator_api::pool;
use xenith_orchestrator_types::pool::{CreatePool, Pool, PoolRef};

use crate::app::App;
use crate::ask;
use crate::cli::PoolCommand;
use crate::error::CliError;
use crate::run::{list, said};
use crate::table::{Cell, Column, Row, Sheet};

impl Row for Pool {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |pool, _| Cell::new(&pool.name)),
            Column::new("description", |pool, _| Cell::new(&pool.description)),
            Column::on_request("id", |pool, _| Cell::new(pool.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn run(app: &App, command: PoolCommand) -> Result<(), CliError> {
    match command {
        PoolCommand::List(listing) => list::<pool::List, Pool>(app, &listing).await,
        PoolCommand::Create { name, description, keyed } => {
            let pool = app.change::<pool::Create>(&CreatePool { name, description }, &keyed).await?;
            app.out.object(&pool, || {
                Sheet::new()
                    .line("name", &pool.name)
                    .line("id", pool.id.to_string())
                    .maybe("description", Some(&pool.description))
            })
        }
        PoolCommand::Delete { pool, confirm, keyed } => {
            ask::confirm(&format!("Delete the pool {pool}?"), confirm)?;
            app.change::<pool::Delete>(&PoolRef { pool: pool.clone() }, &keyed).await?;
            said(app, &format!("{pool} is deleted"));
            Ok(())
        }
    }
}
