//! An orchestrator of the scenario's own: a child process with an empty store, and a signed-in client.
//!
//! What always holds: the process ends with its handle, and with the test's process (`setpriv --pdeathsig`). The
//! port stays the same over [`Orchestrator::kill`] and [`Orchestrator::start`], since the join token names it.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use xenith_common_ids::TaskId;
use xenith_common_pki::Fingerprint;
use xenith_lab::unclaimed_port;
use xenith_orchestrator_api::{Method, auth, task};
use xenith_orchestrator_client::{Client, ClientError, Credential, Endpoint, Trust};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::auth::Credentials;
use xenith_orchestrator_types::task::{Task, TaskRef, TaskStarted, TaskStatus};

use crate::programs::Programs;
use crate::stage::until;

/// The machine outside, as QEMU's user network shows it to the host.
const OUTSIDE: &str = "10.0.2.2";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running (or, after a kill, ended) orchestrator.
#[derive(Debug)]
pub struct Orchestrator {
    programs: Programs,
    dir: Arc<TempDir>,
    port: u16,
    child: Option<Child>,
    password: String,
    client: Client,
    access: Access,
}

impl Orchestrator {
    /// Starts one with an empty store and signs in as its first user.
    pub async fn new(programs: &Programs) -> Result<Self> {
        let dir = Arc::new(tempfile::tempdir()?);
        let port = unclaimed_port(0)?;
        let child = spawn(programs, dir.path(), port)?;
        let said = said(dir.path()).await?;
        let password = word_after(&said, "password").context("it shows no first password")?;
        let (client, access) = sign_in(&said, port, &password).await?;
        Ok(Self { programs: programs.clone(), dir, port, child: Some(child), password, client, access })
    }

    /// Another way to it, which neither ends nor starts it.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            programs: self.programs.clone(),
            dir: Arc::clone(&self.dir),
            port: self.port,
            child: None,
            password: self.password.clone(),
            client: self.client.clone(),
            access: self.access.clone(),
        }
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the orchestrator is not running")?;
        child.kill().await.context("the orchestrator cannot be killed")
    }

    /// Starts it again on the same store and port.
    pub async fn start(&mut self) -> Result<()> {
        self.child = Some(spawn(&self.programs, self.dir.path(), self.port)?);
        let said = said(self.dir.path()).await?;
        ensure!(word_after(&said, "password").is_none(), "it has forgotten its users");
        (self.client, self.access) = sign_in(&said, self.port, &self.password).await?;
        Ok(())
    }

    /// One typed call; the parameters are as in the API's documents.
    pub async fn call<M: Method>(&self, params: Value) -> Result<M::Result> {
        let typed = serde_json::from_value(params).with_context(|| format!("parameters of {}", M::NAME))?;
        self.client.call::<M>(&typed).await.with_context(|| M::NAME)
    }

    /// A call that has to be refused by the orchestrator itself; why it was.
    pub async fn refused<M: Method>(&self, params: Value) -> Result<Reason> {
        let typed = serde_json::from_value(params).with_context(|| format!("parameters of {}", M::NAME))?;
        match self.client.call::<M>(&typed).await {
            Err(ClientError::Api(error)) => Ok(error.reason()),
            Err(error) => Err(error).with_context(|| M::NAME),
            Ok(_) => bail!("{} was not refused", M::NAME),
        }
    }

    /// For what is no call.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The environment in which the command line talks to this orchestrator.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// The command line, as the first user; what it said on standard output.
    pub async fn cli(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.programs.cli);
        command.args(arguments).envs(self.access()).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.context("cannot start the command line")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "xenith {}: {said}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Begins what takes longer, and waits until it is done.
    pub async fn done<M>(&self, params: Value, limit: Duration) -> Result<TaskStarted>
    where
        M: Method<Result = TaskStarted>,
    {
        let started = self.call::<M>(params).await?;
        let task = self.over(started.task, limit).await?;
        ensure!(task.status == TaskStatus::Done, "{}", told(&task));
        Ok(started)
    }

    /// Waits until the task will not change by itself.
    pub async fn over(&self, id: TaskId, limit: Duration) -> Result<Task> {
        let what = format!("task {id} is over");
        until(&what, limit, async || {
            let task = self.client.call::<task::Get>(&TaskRef { task: id }).await?;
            Ok(task.status.is_over().then_some(task))
        })
        .await
    }

    /// The last lines of its log, for reports.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let all: Vec<_> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// What became of a task, in a sentence.
#[must_use]
pub fn told(task: &Task) -> String {
    let why = task.message.as_deref().unwrap_or("no reason given");
    format!("{} ({}) ended {}: {why}", task.title, task.method, task.status.as_str())
}

fn spawn(programs: &Programs, dir: &Path, port: u16) -> Result<Child> {
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    // Standard output has what a person needs once: address, fingerprint, password.
    let said = File::create(dir.join("said"))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(&programs.orchestrator);
    command.arg("--data").arg(dir.join("data"));
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--address", "127.0.0.1", "--address", OUTSIDE]);
    command.args(["--join-address", &format!("{OUTSIDE}:{port}")]);
    command.stdin(Stdio::null()).stdout(said).stderr(log).kill_on_drop(true);
    command.spawn().context("cannot start the orchestrator")
}

/// What it printed, once it listens.
async fn said(dir: &Path) -> Result<String> {
    let path = dir.join("said");
    let complete = until("the orchestrator listens", START_LIMIT, async || {
        let text = std::fs::read_to_string(&path)?;
        Ok(text.contains("authority ").then_some(text))
    })
    .await;
    complete.with_context(|| std::fs::read_to_string(dir.join("log")).unwrap_or_default())
}

type Access = Vec<(&'static str, String)>;

async fn sign_in(said: &str, port: u16, password: &str) -> Result<(Client, Access)> {
    let pin: Fingerprint = word_after(said, "authority").context("it shows no fingerprint")?.parse()?;
    let url = format!("https://127.0.0.1:{port}");
    let endpoint: Endpoint = url.parse()?;
    let anyone = Client::connect(endpoint.clone(), Trust::Pinned(pin), Credential::None).await?;
    let credentials = Credentials { name: "admin".into(), password: password.into(), code: None };
    let session = anyone.call::<auth::Login>(&credentials).await?.session;
    let access =
        vec![("XENITH_URL", url), ("XENITH_FINGERPRINT", pin.to_string()), ("XENITH_TOKEN", session.clone())];
    Ok((Client::connect(endpoint, Trust::Pinned(pin), Credential::Bearer(session)).await?, access))
}

fn word_after(text: &str, label: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_an_orchestrator_are_read() {
        let said =
            "listening  https://127.0.0.1:1\nauthority  a3:1f\npassword   s3cret  (of the user admin)\n";
        assert_eq!(word_after(said, "authority").as_deref(), Some("a3:1f"));
        assert_eq!(word_after(said, "password").as_deref(), Some("s3cret"));
        assert_eq!(word_after(said, "token"), None);
    }
}
