//! The orchestrator as a child, and a client that may administer it.
//!
//! At the very first start the orchestrator prints the admin's password. With it a token is made for later
//! runs; the password itself is shown to the person and kept nowhere. Where that token is lost, the person gives the
//! password and another token is made.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use xenith_common_pki::Fingerprint;
use xenith_orchestrator_api::{auth, token};
use xenith_orchestrator_client::{Client, Credential, Endpoint, Trust};
use xenith_orchestrator_types::auth::Credentials;
use xenith_orchestrator_types::token::CreateToken;

use crate::child;
use crate::place::Place;

/// Opening a store and making keys takes a second; a busy machine gets more.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(15);
/// The admin's password, for a run whose token was lost. The command line reads it too.
const PASSWORD: &str = "XENITH_PASSWORD";

pub struct Orchestrator {
    child: Child,
    pub client: Client,
    pub fingerprint: Fingerprint,
    /// Of this very first start.
    pub password: Option<String>,
}

/// What it prints on its standard output.
#[derive(Default)]
struct Said {
    fingerprint: Option<Fingerprint>,
    password: Option<String>,
}

impl Orchestrator {
    pub async fn start(place: &Place, port: u16) -> Result<Self> {
        let log = place.data.join("orchestrator.log");
        let log_file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut child = child::owned(&place.program("xenith-orchestrator")?)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(place.data.join("orchestrator"))
            // How a lab host reaches this machine, through QEMU's own network.
            .args(["--join-address", &format!("10.0.2.2:{port}")])
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .context("cannot start the orchestrator")?;
        let output = child.stdout.take().context("the orchestrator's output is not ours")?;
        let said = match tokio::time::timeout(START, listen(output)).await {
            Ok(said) => said?,
            Err(_) => Said::default(),
        };
        let Some(fingerprint) = said.fingerprint else {
            let tail = fs::read_to_string(&log).unwrap_or_default();
            let last = tail.lines().last().unwrap_or("it said nothing").to_owned();
            bail!("the orchestrator did not start: {last} (all of it is in {})", log.display());
        };
        let endpoint: Endpoint = format!("https://127.0.0.1:{port}").parse()?;
        match sign_in(place, endpoint, Trust::Pinned(fingerprint), said.password.as_deref()).await {
            Ok(client) => Ok(Self { child, client, fingerprint, password: said.password }),
            Err(error) => {
                // Whoever tries again at once finds port and store free. Why it could not be used says more than an end
                // that did not come.
                let _killed_when_dropped = end(child).await;
                Err(error)
            }
        }
    }

    pub async fn stop(self) -> Result<()> {
        end(self.child).await
    }

    /// Returns when it ended by itself, which it should not.
    pub async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("the orchestrator ended ({status})"),
            Err(error) => format!("the orchestrator cannot be watched ({error})"),
        }
    }
}

/// Asks it to end and waits.
async fn end(mut orchestrator: Child) -> Result<()> {
    child::ask(&orchestrator).await?;
    child::ended(&mut orchestrator, STOP).await?;
    Ok(())
}

/// Reads until the orchestrator has said what it serves. A password comes last, at the very first start only,
/// in the same write: what is buffered by then is all there is.
async fn listen(output: tokio::process::ChildStdout) -> Result<Said> {
    let mut lines = BufReader::new(output).lines();
    let mut said = Said::default();
    loop {
        let line = if said.fingerprint.is_none() {
            lines.next_line().await?
        } else {
            match tokio::time::timeout(Duration::from_millis(500), lines.next_line()).await {
                Ok(line) => line?,
                Err(_) => return Ok(said),
            }
        };
        let Some(line) = line else { return Ok(said) };
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["authority", fingerprint, ..] => said.fingerprint = Some(fingerprint.parse()?),
            ["password", password, ..] => said.password = Some(password.to_owned()),
            _ => {}
        }
    }
}

async fn sign_in(place: &Place, endpoint: Endpoint, trust: Trust, password: Option<&str>) -> Result<Client> {
    let path = place.token();
    let given;
    let password = match password {
        Some(password) => password,
        None => match fs::read_to_string(&path) {
            Ok(secret) => {
                let secret = Credential::Bearer(secret.trim().to_owned());
                return Ok(Client::connect(endpoint, trust, secret).await?);
            }
            Err(error) => {
                given = env::var(PASSWORD).ok().filter(|password| !password.is_empty());
                given.as_deref().ok_or_else(|| lost(place, &error))?
            }
        },
    };
    let nobody = Client::connect(endpoint.clone(), trust, Credential::None).await?;
    let credentials = Credentials { name: "admin".to_owned(), password: password.to_owned(), code: None };
    let session = nobody.call::<auth::Login>(&credentials).await?.session;
    let admin = Client::connect(endpoint.clone(), trust, Credential::Bearer(session)).await?;
    let wanted = CreateToken { name: "make run".to_owned(), days: 366, bindings: vec![] };
    let secret = admin.call::<token::Create>(&wanted).await?.secret;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(secret.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Client::connect(endpoint, trust, Credential::Bearer(secret)).await?)
}

/// Every way out works as it is written: `make run` takes no options, but its environment reaches us.
fn lost(place: &Place, error: &io::Error) -> anyhow::Error {
    let (token, data) = (place.token(), place.data.display().to_string());
    anyhow!(
        "cannot read {}, with which this orchestrator is signed in to ({error}); make another with the admin's password: \
         {PASSWORD}=… make run, or begin anew, without the VMs of earlier runs: mv {data} {data}.old",
        token.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_token_names_ways_out_that_make_run_has() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::find(Some(folder.path())).unwrap();
        let said = lost(&place, &io::ErrorKind::NotFound.into()).to_string();
        assert!(said.contains(&place.token().display().to_string()), "{said}");
        assert!(said.contains("XENITH_PASSWORD=… make run") && said.contains(".old"), "{said}");
        assert!(!said.contains("--data"), "{said}");
    }
}
