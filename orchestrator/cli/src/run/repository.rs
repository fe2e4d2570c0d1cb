//! Repositories.

use xenith_orchestrator_api::repository;
use xenith_orchestrator_types::backup::{
    CreateRepository, Place, Repository, RepositoryRef, UpdateRepository, VerifyRepository,
};

use crate::app::App;
use crate::ask;
use crate::cli::{RepositoryCommand, RepositoryPlace};
use crate::error::CliError;
use crate::run::{list, said};
use crate::table::{Cell, Column, Row, Sheet, Tone};
use crate::wait::begin;
use crate::words;

fn place(place: &Place) -> String {
    match place {
        Place::Folder { path } => path.clone(),
        Place::S3 { bucket, prefix, .. } => format!("s3://{bucket}/{prefix}"),
    }
}

fn health(repository: &Repository) -> Cell {
    match (&repository.problem, repository.checked) {
        (Some(_), _) => Cell::toned(Tone::Bad, "problem"),
        (None, Some(_)) => Cell::toned(Tone::Good, "good"),
        (None, None) => Cell::toned(Tone::Busy, "not checked"),
    }
}

impl Row for Repository {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |repository, _| Cell::new(&repository.name)),
            Column::new("place", |repository, _| Cell::new(place(&repository.place))),
            Column::new("status", |repository, _| health(repository)),
            Column::new("checked", |repository, _| Cell::maybe(repository.checked.map(words::ago))),
            Column::on_request("problem", |repository, _| Cell::maybe(repository.problem.as_ref())),
            Column::on_request("id", |repository, _| Cell::new(repository.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// `None`: there is no limit.
fn limit<T: Default + PartialEq>(most: T, said: impl FnOnce(T) -> String) -> Option<String> {
    (most != T::default()).then(|| said(most))
}

fn sheet(repository: &Repository) -> Sheet {
    Sheet::new()
        .line("name", &repository.name)
        .line("id", repository.id.to_string())
        .line("place", place(&repository.place))
        .cell("status", health(repository))
        .maybe("problem", repository.problem.as_ref())
        .line("checked", words::at_or_never(repository.checked))
        .maybe("repository", repository.repository.as_ref())
        .maybe("concurrency", limit(repository.concurrency, |most| most.to_string()))
        .maybe("bandwidth", limit(repository.bandwidth, |most| format!("{}/s", words::bytes(most))))
}

pub async fn run(app: &App, command: RepositoryCommand) -> Result<(), CliError> {
    match command {
        RepositoryCommand::List(listing) => list::<repository::List, Repository>(app, &listing).await,
        RepositoryCommand::Get { repository } => {
            let found = app.call::<repository::Get>(&RepositoryRef { repository }).await?;
            app.out.object(&found, || sheet(&found))
        }
        RepositoryCommand::Create(asked) => create(app, *asked).await,
        RepositoryCommand::Update { repository, limits, keyed } => {
            let request = UpdateRepository {
                repository,
                concurrency: limits.concurrency,
                bandwidth: limits.bandwidth.map(|mib| mib << 20),
            };
            let changed = app.change::<repository::Update>(&request, &keyed).await?;
            app.out.object(&changed, || sheet(&changed))
        }
        RepositoryCommand::Test { repository, tasked } => {
            begin::<repository::Test>(app, &RepositoryRef { repository }, &tasked).await
        }
        RepositoryCommand::Verify { repository, deep, tasked } => {
            begin::<repository::Verify>(app, &VerifyRepository { repository, deep }, &tasked).await
        }
        RepositoryCommand::Key { repository, keyed } => {
            let key = app.change::<repository::Key>(&RepositoryRef { repository }, &keyed).await?;
            app.out.value(&key, || format!("{}: {}\n", key.kind, key.secret))
        }
        RepositoryCommand::Delete { repository, confirm, keyed } => {
            ask::confirm(&format!("Forget the repository {repository}? What it holds stays."), confirm)?;
            let request = RepositoryRef { repository: repository.clone() };
            app.change::<repository::Delete>(&request, &keyed).await?;
            said(app, &format!("{repository} is forgotten"));
            Ok(())
        }
    }
}

async fn create(app: &App, asked: RepositoryPlace) -> Result<(), CliError> {
    let place = match asked.place.strip_prefix("s3://") {
        None => Place::Folder { path: asked.place.clone() },
        Some(rest) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            Place::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
                endpoint: asked.s3_endpoint.clone(),
                region: asked.region.clone(),
            }
        }
    };
    let is_s3 = matches!(place, Place::S3 { .. });
    let only_s3 = |text: String| if is_s3 { text } else { String::new() };
    let request = CreateRepository {
        name: asked.name,
        place,
        access_key: only_s3(asked.access_key),
        secret_key: only_s3(asked.secret_key),
        passphrase: asked.passphrase,
        key: asked.key,
        sealed: asked.sealed,
        host: asked.host,
        concurrency: asked.limits.concurrency.unwrap_or_default(),
        bandwidth: asked.limits.bandwidth.unwrap_or_default() << 20,
    };
    begin::<repository::Create>(app, &request, &asked.tasked).await
}
