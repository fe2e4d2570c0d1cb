//! What the commands do, noun by noun. Decode, call, print: nothing is decided here that the orchestrator decides.

mod access;
mod alarm;
mod audit;
mod backup;
mod backup_files;
mod console;
mod direct;
mod event;
mod filter;
mod fragment;
mod ha;
mod host;
mod import;
mod mail;
mod metrics;
mod network;
mod orphan;
mod pool;
mod raw;
mod repository;
mod security_group;
mod session;
mod snapshot;
mod sr;
mod standby;
mod system;
mod task;
mod template;
mod totp;
mod vdi;
mod vm;
mod watch;
mod wave;

use std::io;

use xenith_orchestrator_api::Method;
use xenith_orchestrator_types::{ListRequest, Page};

use crate::app::App;
use crate::cli::{self, Columns, Command, Limited, Listing};
use crate::error::CliError;
use crate::table::{Row, choose};

pub async fn run(app: &App, command: Command) -> Result<(), CliError> {
    match command {
        Command::Login(login) => session::login(app, login).await,
        Command::Logout => session::logout(app).await,
        Command::Whoami => session::whoami(app).await,
        Command::ChangePassword => session::change_password(app).await,
        Command::Context(command) => session::context(app, command),
        Command::Vm(command) => vm::run(app, command).await,
        Command::Host(command) => host::run(app, command).await,
        Command::Pool(command) => pool::run(app, command).await,
        Command::Ha(command) => ha::run(app, command).await,
        Command::Network(command) => network::run(app, command).await,
        Command::SecurityGroup(command) => security_group::run(app, command).await,
        Command::Vdi(command) => vdi::run(app, command).await,
        Command::Import(command) => import::run(app, command).await,
        Command::Wave(command) => wave::run(app, command).await,
        Command::Console(command) => console::run(app, command).await,
        Command::Sr(command) => sr::run(app, command).await,
        Command::Iso(command) => sr::isos(app, command).await,
        Command::Template(command) => template::run(app, command).await,
        Command::Fragment(command) => fragment::run(app, command).await,
        Command::Snapshot(command) => snapshot::run(app, command).await,
        Command::Repository(command) => repository::run(app, command).await,
        Command::BackupJob(command) => backup::job(app, command).await,
        Command::BackupRun(command) => backup::run(app, command).await,
        Command::Backup(command) => backup::backup(app, command).await,
        Command::Task(command) => task::run(app, command).await,
        Command::Standby(command) => standby::run(app, command).await,
        Command::Orphan(command) => orphan::run(app, command).await,
        Command::Event(cli::EventCommand::List(listing)) | Command::Events(listing) => {
            event::list(app, listing).await
        }
        Command::Filter(command) => filter::run(app, command).await,
        Command::Metrics(command) => metrics::run(app, command).await,
        Command::Alarm(command) => alarm::run(app, command).await,
        Command::AlarmRule(command) => alarm::rule(app, command).await,
        Command::Audit(command) => audit::run(app, command).await,
        Command::User(command) => access::user(app, command).await,
        Command::Token(command) => access::token(app, command).await,
        Command::Role(command) => access::role(app, command).await,
        Command::Mail(command) => mail::run(app, command).await,
        Command::System(command) => system::run(app, command).await,
        Command::Rpc(call) => raw::run(app, call).await,
        Command::Completion { shell } => {
            cli::completions(shell, &mut io::stdout());
            Ok(())
        }
        Command::Man { dir } => {
            let failed = |source| CliError::File { what: "write into", path: dir.clone(), source };
            let pages = cli::man_pages(&dir).map_err(failed)?;
            app.note(&format!("{pages} pages in {}", dir.display()));
            Ok(())
        }
    }
}

/// A list that the orchestrator filters, sorts and pages.
async fn list<M, T>(app: &App, listing: &Listing) -> Result<(), CliError>
where
    M: Method<Params = ListRequest, Result = Page<T>>,
    T: Row,
{
    paged(app, &listing.limited, &listing.columns, async |limit, cursor| {
        let (filter, sort) = (listing.filter.clone(), listing.sort.clone());
        app.call::<M>(&ListRequest { filter, sort, limit, cursor }).await
    })
    .await
}

/// As much of a list as is asked for.
async fn paged<T: Row>(
    app: &App,
    limited: &Limited,
    columns: &Columns,
    fetch: impl AsyncFnMut(u32, Option<String>) -> Result<Page<T>, CliError>,
) -> Result<(), CliError> {
    let (rows, more) = gathered(limited, columns, fetch).await?;
    print(app, &rows, columns).await?;
    told(app, rows.len(), more);
    Ok(())
}

/// Whether there are more than was asked for: how many in all.
type More = Option<u64>;

fn told(app: &App, shown: usize, more: More) {
    if let Some(total) = more {
        app.note(&format!("{shown} of {total}; --all shows all"));
    }
}

/// Page after page, until there is enough.
async fn gathered<T: Row>(
    limited: &Limited,
    columns: &Columns,
    mut fetch: impl AsyncFnMut(u32, Option<String>) -> Result<Page<T>, CliError>,
) -> Result<(Vec<T>, More), CliError> {
    // Before anything is asked of the orchestrator: a wrong column is a wrong command.
    choose::<T>(columns)?;
    let wanted = if limited.all { usize::MAX } else { limited.limit as usize };
    let (mut rows, mut cursor, mut total) = (Vec::new(), None, 0);
    loop {
        let missing = u32::try_from(wanted - rows.len()).unwrap_or(u32::MAX);
        if missing == 0 {
            break;
        }
        let page = fetch(missing.min(ListRequest::MAX_LIMIT), cursor).await?;
        rows.extend(page.items);
        total = page.total;
        cursor = page.next;
        if cursor.is_none() || rows.len() >= wanted {
            break;
        }
    }
    Ok((rows, cursor.is_some().then_some(total)))
}

async fn print<T: Row>(app: &App, rows: &[T], columns: &Columns) -> Result<(), CliError> {
    choose::<T>(columns)?;
    let names = app.names().await;
    app.out.rows(rows, columns, &names)
}

/// A sentence for people where a method answers nothing.
fn said(app: &App, sentence: &str) {
    if app.out.for_people() {
        app.note(sentence);
    }
}
