//! Parts of cloud-init's user data.

use xenith_orchestrator_api::fragment;
use xenith_orchestrator_types::fragment::{
    CreateFragment, Fragment, FragmentContents, FragmentRef, UpdateFragment,
};

use crate::app::App;
use crate::ask;
use crate::cli::FragmentCommand;
use crate::error::CliError;
use crate::run::template::read;
use crate::run::{list, said};
use crate::table::{Cell, Column, Names, Row, Sheet};
use crate::words;

impl Row for Fragment {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |fragment, _| Cell::new(&fragment.name)),
            Column::new("kind", |fragment, _| Cell::new(fragment.kind.as_str())),
            Column::new("pool", |fragment, names| Cell::new(names.pool(fragment.pool))),
            Column::new("changed", |fragment, _| Cell::new(words::at(fragment.changed))),
            Column::new("description", |fragment, _| Cell::new(&fragment.description)),
            Column::on_request("id", |fragment, _| Cell::new(fragment.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// One with its text.
impl Row for FragmentContents {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |found, _| Cell::new(&found.fragment.name)),
            Column::new("text", |found, _| Cell::new(&found.user_data)),
        ]
    }

    fn name(&self) -> String {
        self.fragment.name()
    }

    fn id(&self) -> String {
        self.fragment.id()
    }
}

pub async fn run(app: &App, command: FragmentCommand) -> Result<(), CliError> {
    match command {
        FragmentCommand::List(listing) => list::<fragment::List, Fragment>(app, &listing).await,
        FragmentCommand::Get { fragment } => {
            let found = app.call::<fragment::Get>(&FragmentRef { fragment }).await?;
            let names = app.names().await;
            let FragmentContents { fragment, user_data } = &found;
            app.out.object(&found, || {
                sheet(fragment, &names).each("text", user_data.lines().map(|line| line.replace('\t', "    ")))
            })
        }
        FragmentCommand::Create { name, file, pool, description, keyed } => {
            let params = CreateFragment { name, user_data: read(&file)?, pool, description };
            let made = app.change::<fragment::Create>(&params, &keyed).await?;
            shown(app, &made).await
        }
        FragmentCommand::Update { fragment, file, description, keyed } => {
            let user_data = file.as_deref().map(read).transpose()?;
            let params = UpdateFragment { fragment, user_data, description };
            let changed = app.change::<fragment::Update>(&params, &keyed).await?;
            shown(app, &changed).await
        }
        FragmentCommand::Delete { fragment, confirm, keyed } => {
            ask::confirm(&format!("Delete the fragment {fragment}?"), confirm)?;
            app.change::<fragment::Delete>(&FragmentRef { fragment: fragment.clone() }, &keyed).await?;
            said(app, &format!("{fragment} is deleted; VMs that were made with it stay as they are"));
            Ok(())
        }
    }
}

async fn shown(app: &App, fragment: &Fragment) -> Result<(), CliError> {
    let names = app.names().await;
    app.out.object(fragment, || sheet(fragment, &names))
}

fn sheet(fragment: &Fragment, names: &Names) -> Sheet {
    Sheet::new()
        .line("name", &fragment.name)
        .line("id", fragment.id.to_string())
        .line("kind", fragment.kind.as_str())
        .line("pool", names.pool(fragment.pool))
        .line("changed", words::at(fragment.changed))
        .maybe("description", Some(&fragment.description))
}
