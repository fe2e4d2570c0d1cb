//! What the subcommands do: parse what clap cannot, call the library, print.

mod backup;
mod bench;
mod collect;
mod files;
mod import_xo;
mod inspect;
mod key;
mod list;
mod mount;
mod open;
mod paper_kit;
mod restore;
mod serve;
mod verify;

use std::process::ExitCode;

use xenith_backup::BackupError;
use xenith_backup::store::StoreError;

use crate::cli::{ChunkMode, Cli, Command, KeyArgs};

/// Damage was found: scripts tell it from failures.
pub const DAMAGED: u8 = 3;

pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let key = &cli.key;
    match cli.command {
        Command::Init { repo, chunks } => init(&repo, chunks, key),
        Command::Backup { repo, disks, changed_ranges, level, workers, tags, output } => {
            let repo = open::repository(&repo, key)?;
            let request = backup::Request { disks, changed_ranges, level, workers, tags };
            backup::run(&repo, request, output.output)
        }
        Command::List { repo, output } => list::run(&open::repository(&repo, key)?, output.output),
        Command::Restore { repo, what, dst, format, machine, overwrite } => {
            let existing = if overwrite { restore::Existing::Overwrite } else { restore::Existing::Refuse };
            let request = restore::Request { what, dst, existing, format, machine };
            restore::run(&open::repository(&repo, key)?, &request)
        }
        Command::Files { repo, what, at, to, output } => {
            let request = files::Request { what, at, to, output: output.output };
            files::run(&open::repository(&repo, key)?, &request)
        }
        Command::ImportXo { repo, source, output } => {
            import_xo::run(&open::repository(&repo, key)?, &source, output.output)
        }
        Command::Bench { folder, size, output } => bench::run(folder.as_deref(), size, output.output),
        Command::PaperKit { repo, with_key } => {
            let secret = if with_key { paper_kit::Secret::Print } else { paper_kit::Secret::Blank };
            paper_kit::run(&repo, &open::repository(&repo, key)?, secret, key)
        }
        Command::Mount { repo, folder } => mount::run(open::repository(&repo, key)?, &folder),
        Command::Verify { repo, depth, output } => {
            verify::run(&open::repository(&repo, key)?, verify::level(&depth), output.output)
        }
        Command::Show { repo, what } => inspect::show(&open::repository(&repo, key)?, &what),
        Command::Diff { repo, old, new } => inspect::diff(&open::repository(&repo, key)?, &old, &new),
        Command::Prune { repo, keep, name, dry_run, collect, output } => {
            let mode = if dry_run { collect::Mode::DryRun } else { collect::Mode::Real };
            let request = collect::Prune { keep, name, mode, grace: collect.grace };
            collect::prune(&open::repository(&repo, key)?, &request, output.output)
        }
        Command::Gc { repo, repack_below, collect, output } => {
            collect::gc(&open::repository(&repo, key)?, repack_below, (collect.grace, output.output))
        }
        Command::Hold { repo, what, lift } => {
            let hold = if lift { inspect::Hold::Lift } else { inspect::Hold::Place };
            inspect::hold(&open::repository(&repo, key)?, &what, hold)
        }
        Command::Copy { from, to, new } => {
            let credential = match key::new_credential(&new)? {
                Some(credential) => credential,
                None => open::credential(key)?,
            };
            let to = xenith_backup::Repository::open(open::store(&to)?, &credential)?;
            inspect::copy(&open::repository(&from, key)?, &to)
        }
        Command::ServeNbd { repo, what, listen, socket, overlay } => {
            let request = serve::Request { what, listen, socket, overlay };
            serve::run(&open::repository(&repo, key)?, &request)
        }
        Command::Key { action } => key::run(action, key),
    }
}

fn init(repo: &str, chunks: ChunkMode, key: &KeyArgs) -> anyhow::Result<ExitCode> {
    use xenith_backup::chunk::Chunking;
    use xenith_backup::keys::{KdfCost, Keyring};
    let chunking = match chunks {
        ChunkMode::Content => Chunking::default(),
        ChunkMode::Fixed => Chunking::FIXED,
    };
    let credential = open::credential(key)?;
    let store = open::store_for_init(repo)?;
    let made =
        xenith_backup::Repository::init(store, &Keyring::create(chunking), &credential, KdfCost::DEFAULT)?;
    println!("repository {} made at {repo}", made.keyring().repo());
    Ok(ExitCode::SUCCESS)
}

/// The exit code an error stands for.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let code = match error.downcast_ref::<BackupError>() {
        Some(BackupError::Damaged { .. } | BackupError::Missing { .. }) => DAMAGED,
        Some(BackupError::WrongKey) => 4,
        Some(BackupError::NotFound { .. } | BackupError::Ambiguous { .. }) => 5,
        _ => 1,
    };
    let store = error.downcast_ref::<StoreError>();
    let code = if matches!(store, Some(StoreError::NotFound { .. })) { 5 } else { code };
    ExitCode::from(code)
}
