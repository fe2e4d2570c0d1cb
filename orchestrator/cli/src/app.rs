//! What every command has at hand: whom to call, and where to print.

use std::io;

use tokio::sync::OnceCell;
use xenith_orchestrator_api::{Method, host, pool};
use xenith_orchestrator_client::{CallOptions, Client};
use xenith_orchestrator_types::{ListRequest, Page};

use crate::cli::{Global, Keyed};
use crate::config::Contexts;
use crate::error::CliError;
use crate::output::{Output, clean, paint};
use crate::table::{Names, Tone};

pub struct App {
    pub global: Global,
    pub out: Output,
    client: OnceCell<Client>,
}

impl App {
    pub fn new(global: Global) -> Self {
        Self { out: Output::new(&global), global, client: OnceCell::new() }
    }

    /// Connected to the orchestrator that arguments, environment and contexts say.
    pub async fn client(&self) -> Result<&Client, CliError> {
        self.client
            .get_or_try_init(|| async {
                let target = Contexts::load()?.target(&self.global)?;
                Ok(Client::connect(target.endpoint, target.trust, target.credential).await?)
            })
            .await
    }

    pub async fn call<M: Method>(&self, params: &M::Params) -> Result<M::Result, CliError> {
        Ok(self.client().await?.call::<M>(params).await?)
    }

    /// Every item of a list.
    pub async fn all<M, T>(&self) -> Result<Vec<T>, CliError>
    where
        M: Method<Params = ListRequest, Result = Page<T>>,
    {
        Ok(self.client().await?.all::<M, T>("").await?)
    }

    pub async fn change<M: Method>(&self, params: &M::Params, keyed: &Keyed) -> Result<M::Result, CliError> {
        let options = CallOptions { idempotency_key: keyed.idempotency_key.clone() };
        Ok(self.client().await?.call_with::<M>(params, &options).await?)
    }

    /// Names for the ids in a table. Only a service to people: where it fails, ids are shown.
    pub async fn names(&self) -> Names {
        let mut names = Names::default();
        if !self.out.for_people() {
            return names;
        }
        if let Ok(pools) = self.all::<pool::List, _>().await {
            names.pools = pools.into_iter().map(|pool| (pool.id, pool.name)).collect();
        }
        if let Ok(hosts) = self.all::<host::List, _>().await {
            names.hosts = hosts.into_iter().map(|host| (host.id, host.name)).collect();
        }
        names
    }

    /// Something beside the result, for people.
    pub fn note(&self, text: &str) {
        eprintln!("{}", clean(text));
    }

    /// What happened, why, and what to do next. No more.
    pub fn report(&self, error: &CliError) {
        if matches!(error, CliError::Output(source) if source.kind() == io::ErrorKind::BrokenPipe) {
            return;
        }
        let paint = paint(self.global.color, &io::stderr());
        eprintln!("{} {}", paint.tone(Tone::Bad, "xenith:"), clean(&error.to_string()));
        for detail in error.details() {
            eprintln!("  {}", clean(&detail));
        }
        if let Some(next) = error.next() {
            eprintln!("{} {}", paint.bold("next:"), clean(&next));
        }
    }
}
