//! What the subcommands do: parse what clap cannot, call the library, print.

mod backup;
mod bench;
mod collect;
mod files;
mod import_xo;
mod inspect;
mod keep;
mod key;
mod list;
mod lock;
mod mirror;
mod mount;
mod open;
mod paper_kit;
mod progress;
mod restore;
mod serve;
mod verify;

use std::process::ExitCode;

use xenith_backup::BackupError;
use xenith_backup::immutable::Which;
use xenith_backup::store::StoreError;
use xenith_common_block::BlockError;

use crate::cli::{ChunkMode, Cli, Command, KeyArgs, LockArgs, Output};

/// Damage was found: scripts tell it from failures.
pub const DAMAGED: u8 = 3;

pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let key = &cli.key;
    match cli.command {
        Command::Init { repo, chunks, sealed, lock, output } => {
            let seal = if sealed { Seal::Yes } else { Seal::No };
            init(&repo, (chunks, seal, &lock), (key, output.output))
        }
        Command::Keep { folder, owner, group, output } => {
            keep::run(&folder, (&owner, group.as_deref()), output.output)
        }
        Command::Lock { repo, lock, all, output } => {
            let which = if all { Which::All } else { Which::Due };
            lock::run(&open::repository(&repo, key)?, (lock::retention(&lock), which), output.output)
        }
        Command::Backup { repo, disks, changed_ranges, level, workers, tags, output } => {
            let repo = open::repository(&repo, key)?;
            let request = backup::Request { disks, changed_ranges, level, workers, tags };
            backup::run(&repo, request, output.output)
        }
        Command::List { repo, output } => list::run(&open::repository(&repo, key)?, output.output),
        Command::Restore { repo, what, dst, format, machine, overwrite, output } => {
            let existing = if overwrite { restore::Existing::Overwrite } else { restore::Existing::Refuse };
            let request = restore::Request { what, dst, existing, format, machine, output: output.output };
            restore::run(&open::readable(&repo, key)?, &request)
        }
        Command::Files { repo, what, at, to, output } => {
            let request = files::Request { what, at, to, output: output.output };
            files::run(&open::readable(&repo, key)?, &request)
        }
        Command::ImportXo { repo, source, output } => {
            import_xo::run(&open::repository(&repo, key)?, &source, output.output)
        }
        Command::Bench { folder, size, output } => bench::run(folder.as_deref(), size, output.output),
        Command::PaperKit { repo, with_key } => {
            let secret = if with_key { paper_kit::Secret::Print } else { paper_kit::Secret::Blank };
            paper_kit::run(&repo, &open::readable(&repo, key)?, secret, key)
        }
        Command::Mount { repo, folder } => mount::run(open::readable(&repo, key)?, &folder),
        Command::Verify { repo, depth, set_aside, output } => {
            let scope = verify::scope(&depth, xenith_backup::repo::now_millis())?;
            let damaged = if set_aside { verify::Damaged::SetAside } else { verify::Damaged::Tell };
            verify::run(&open::repository(&repo, key)?, (&scope, damaged), output.output)
        }
        Command::Show { repo, what, output } => {
            inspect::show(&open::repository(&repo, key)?, &what, output.output)
        }
        Command::Diff { repo, old, new, output } => {
            inspect::diff(&open::repository(&repo, key)?, (&old, &new), output.output)
        }
        Command::Prune { repo, keep, name, dry_run, collect, output } => {
            let mode = if dry_run { collect::Mode::DryRun } else { collect::Mode::Real };
            let request = collect::Prune { keep, name, mode, grace: collect.grace };
            collect::prune(&open::repository(&repo, key)?, &request, output.output)
        }
        Command::Forget { repo, what, dry_run, collect, output } => {
            let mode = if dry_run { collect::Mode::DryRun } else { collect::Mode::Real };
            collect::forget(&open::repository(&repo, key)?, &what, (mode, collect.grace), output.output)
        }
        Command::Gc { repo, repack_below, collect, output } => {
            collect::gc(&open::repository(&repo, key)?, repack_below, (collect.grace, output.output))
        }
        Command::Hold { repo, what, lift } => {
            let hold = if lift { inspect::Hold::Lift } else { inspect::Hold::Place };
            inspect::hold(&open::repository(&repo, key)?, &what, hold)
        }
        Command::Copy { from, to, new, output } => {
            let to = open::repository_with(&to, &key::new_or_same(&new, key)?)?;
            inspect::copy(&open::readable(&from, key)?, &to, output.output)
        }
        Command::Mirror { from, to, init, whole, lock, new, output } => {
            let request = mirror::Request { to, init, whole, lock, new };
            mirror::run(&open::readable(&from, key)?, &request, (key, output.output))
        }
        Command::ServeNbd { repo, what, listen, socket, overlay, boot_trace, output } => {
            let request = serve::Request { what, listen, socket, overlay, boot_trace, output: output.output };
            serve::run(&open::readable(&repo, key)?, &request)
        }
        Command::Key { action } => key::run(action, key),
    }
}

/// Whether chunks are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seal {
    Yes,
    No,
}

fn init(
    repo: &str,
    (chunks, seal, lock): (ChunkMode, Seal, &LockArgs),
    (key, output): (&KeyArgs, Output),
) -> anyhow::Result<ExitCode> {
    use xenith_backup::chunk::Chunking;
    use xenith_backup::keys::{KdfCost, Keyring};
    let chunking = match chunks {
        ChunkMode::Content => Chunking::default(),
        ChunkMode::Fixed => Chunking::FIXED,
    };
    let credential = open::credential(key)?;
    let store = open::store_for_init(repo)?;
    let ring = Keyring::create(chunking).with_retention(lock::retention(lock));
    let ring = if seal == Seal::Yes { ring.sealed() } else { ring };
    let made = xenith_backup::Repository::init(store, &ring, &credential, KdfCost::DEFAULT)?;
    let id = made.keyring().repo();
    match output {
        Output::Text => println!("repository {id} made at {repo}"),
        Output::Json => println!("{}", serde_json::json!({"id": id, "repository": repo})),
    }
    Ok(ExitCode::SUCCESS)
}

/// The exit code an error stands for: the first of its causes that has one says which.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(error.chain().find_map(code_of).unwrap_or(1))
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    let own = match cause.downcast_ref::<BackupError>() {
        Some(BackupError::Damaged { .. } | BackupError::Missing { .. }) => Some(DAMAGED),
        Some(BackupError::WrongKey | BackupError::WriteOnly { .. }) => Some(4),
        Some(BackupError::NotFound { .. } | BackupError::Ambiguous { .. }) => Some(5),
        // The causes inside variants that are transparent to the chain's walk.
        Some(BackupError::Block(BlockError::Corrupt { .. })) => Some(DAMAGED),
        Some(BackupError::Store(StoreError::NotFound { .. })) => Some(5),
        _ => None,
    };
    let store = matches!(cause.downcast_ref(), Some(StoreError::NotFound { .. })).then_some(5);
    own.or(store)
}
