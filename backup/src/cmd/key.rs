//! `key`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use anyhow::{Context, bail};
use xenith_backup::crypto::Secret32;
use xenith_backup::id::hex;
use xenith_backup::keys::{self, Credential, KdfCost};

use super::open;
use crate::cli::{KeyAction, KeyArgs, NewKeyArgs, Output};

pub fn run(action: KeyAction, key: &KeyArgs) -> anyhow::Result<ExitCode> {
    match action {
        KeyAction::Generate { file } => {
            let mut out = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&file)
                .with_context(|| format!("cannot create {}", file.display()))?;
            writeln!(out, "{}", hex(Secret32::random().expose()))?;
            out.sync_all()?;
        }
        KeyAction::List { repo, output } => {
            let slots = keys::slots(&open::store(&repo)?)?;
            if output.output == Output::Json {
                let rows = slots
                    .iter()
                    .map(|(name, slot)| serde_json::json!({"slot": name.to_string(), "kind": slot.kind(), "write_only": slot.is_write_only()}));
                println!("{}", serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?);
            } else {
                for (name, slot) in slots {
                    let only = if slot.is_write_only() { ", write-only" } else { "" };
                    println!("{name}  {}{only}", slot.kind());
                }
            }
        }
        KeyAction::Add { repo, write_only, new } => {
            let repo = open::repository(&repo, key)?;
            let new = new_credential(&new)?
                .context("no new key: set XENITH_NEW_PASSPHRASE or give --new-key-file")?;
            let (store, keys) = (repo.store(), repo.keys());
            let slot = if write_only {
                keys::add_writer(store, keys, &new, KdfCost::DEFAULT)?
            } else {
                repo.keyring().need_own("making a key")?;
                keys::add_slot(store, &repo.keyring().repo(), &keys.mek, &new, KdfCost::DEFAULT)?
            };
            println!("{slot}");
        }
        KeyAction::Rotate { repo, new } => {
            let old = open::credential(key)?;
            let repo = open::repository(&repo, key)?;
            let credential = new_credential(&new)?.unwrap_or(old);
            let dropped = keys::rotate(repo.store(), repo.keys(), &credential, KdfCost::DEFAULT)?;
            println!("rotated; {dropped} other slots were dropped");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The new passphrase or key file, or else what opens the repository that the command line is about.
pub fn new_or_same(new: &NewKeyArgs, key: &KeyArgs) -> anyhow::Result<Credential> {
    match new_credential(new)? {
        Some(credential) => Ok(credential),
        None => open::credential(key),
    }
}

/// The new passphrase or key file, if one was given.
pub fn new_credential(new: &NewKeyArgs) -> anyhow::Result<Option<Credential>> {
    match (&new.new_passphrase, &new.new_key_file) {
        (Some(_), Some(_)) => bail!("give a new passphrase or a new key file, not both"),
        (None, None) => Ok(None),
        (passphrase, key_file) => {
            let args = KeyArgs { passphrase: passphrase.clone(), key_file: key_file.clone() };
            open::credential(&args).map(Some)
        }
    }
}
