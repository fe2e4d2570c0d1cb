//! The host that the orchestrator runs on joins it without a hand, where the settings name the file that its agent takes
//! join tokens from (`first_host_token`; the installer's role "host and orchestrator").
//!
//! What always holds: a token is written only while no host has joined, and works once, for an hour. The file is there
//! whole or not at all, and root's alone. A crash between the record and the file leaves a token that nobody knows; the
//! next start issues another.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use time::OffsetDateTime;
use xenith_hypervisor_agent_api::JoinToken;

use crate::app::{App, DEFAULT_POOL};
use crate::model::JoinRecord;
use crate::orchestrator::StartError;

/// The agent is beside us, and starts when the file is there.
const VALID: Duration = Duration::from_secs(3600);

/// Writes a token, while no host has joined. Whether it did.
pub async fn offer(app: &App, path: &Path) -> Result<Offered, StartError> {
    if !app.views.hosts().is_empty() {
        return Ok(Offered::No);
    }
    let pools = app.views.pools();
    let Some(pool) = pools.iter().find(|pool| pool.name == DEFAULT_POOL).or(pools.first()) else {
        return Ok(Offered::No);
    };
    let expires = OffsetDateTime::now_utc() + VALID;
    // Nobody asked for it: in the audit log the host stands for itself.
    let join = JoinRecord { name: None, pool: pool.id, expires, user: None, user_name: String::new() };
    let token = app.issue_join_token(&join, &pool.name).await?;
    write(path, &token).map_err(|source| StartError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })?;
    tracing::info!(path = %path.display(), "no host has joined; there is a token for the one that we run on");
    Ok(Offered::Yes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    Yes,
    No,
}

fn write(path: &Path, token: &JoinToken) -> io::Result<()> {
    let partial = path.with_extension("new");
    let _left_over = fs::remove_file(&partial);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&partial, path)
}
