//! `paper-kit`: the sheet that lies in the safe. A test follows it word by word.

use std::process::ExitCode;

use anyhow::bail;
use xenith_backup::Repository;
use xenith_backup::id::hex;
use xenith_backup::keys::Credential;

use super::open;
use crate::cli::KeyArgs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// To be filled in by hand.
    Blank,
    Print,
}

pub fn run(at: &str, repo: &Repository, secret: Secret, key: &KeyArgs) -> anyhow::Result<ExitCode> {
    let credential = open::credential(key)?;
    let (how, value) = match &credential {
        Credential::Passphrase(text) => ("passphrase", text.clone()),
        Credential::KeyFile(bytes) => ("key file's 64 digits", hex(bytes.expose())),
    };
    if value.contains(['\n', '\r']) {
        bail!(
            "this passphrase has a line break and cannot be put on paper; add a key file with `key add` instead"
        );
    }
    let value = if secret == Secret::Print { value } else { "_".repeat(64) };
    let setting = match &credential {
        Credential::Passphrase(_) => "read -rs XENITH_PASSPHRASE && export XENITH_PASSPHRASE".to_owned(),
        Credential::KeyFile(_) => {
            "read -r KEY && printf '%s\\n' \"$KEY\" > key && chmod 600 key && export XENITH_KEY_FILE=key"
                .to_owned()
        }
    };
    println!(
        "HOW TO RESTORE FROM THIS REPOSITORY\n\
         \n\
         repository   {id}\n\
         place        {at}\n\
         format       xenith-backup repository, format {format}\n\
         program      xenith-backup {version} or newer; it needs nothing else, no orchestrator, no host\n\
         {how}: {value}\n\
         \n\
         1. Get the program: build it from its source with `cargo build --release -p xenith-backup`, on any Linux.\n\
         2. Make the repository readable: mount the folder, or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and\n   \
            AWS_ENDPOINT for a bucket. Set REPO to where it is now:\n\
         \n    \
             export REPO={at}\n\
         \n\
         3. Give the key. Type this, then the line above after the colon:\n\
         \n    \
             {setting}\n\
         \n\
         4. See what is there, and check it:\n\
         \n    \
             xenith-backup list \"$REPO\"\n    \
             xenith-backup verify \"$REPO\"\n\
         \n\
         5. Restore a disk. NAME is in the third column of the list; NAME@ID takes an older one:\n\
         \n    \
             xenith-backup restore \"$REPO\" NAME disk.raw\n\
         \n   \
            disk.qcow2, disk.vhd, disk.vmdk and machine.ova work as well. Single files:\n\
         \n    \
             xenith-backup files \"$REPO\" NAME\n\
         \n\
         Exit code 0 means done, 3 that damage was found and said, 4 that the key is wrong.\n\
         Should no program be left that reads it: docs/backup-format.md in the source says what every byte means.",
        id = repo.keyring().repo(),
        format = xenith_backup::repo::FORMAT,
        version = env!("CARGO_PKG_VERSION"),
    );
    Ok(ExitCode::SUCCESS)
}
