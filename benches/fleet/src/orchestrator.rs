//! The orchestrator's store, filled before it starts, and its process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};
use xenith_common_ids::PoolId;
use xenith_common_pki::Fingerprint;
use xenith_orchestrator::authn::Authn;
use xenith_orchestrator::authority::Certificates;
use xenith_orchestrator::db::Db;
use xenith_orchestrator::secret::Vault;
use xenith_orchestrator_client::{Client, Credential, Endpoint, Trust};
use xenith_orchestrator_types::auth::Credentials;
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::{Binding, Role, Scope};

/// Of all users of the bench.
pub const PASSWORD: &str = "a password for the bench only";
/// Each has a rate limit of its own.
pub const USERS: usize = 8;

/// The store while it is being filled: nobody else has it open.
pub struct Filling {
    pub db: Db,
    pub certificates: Arc<Certificates>,
    pub pool: PoolId,
}

impl Filling {
    pub async fn open(data: &Path) -> Result<Self> {
        std::fs::create_dir_all(data)?;
        let db = Db::open(&data.join("store"))?;
        let vault = Vault::open(&data.join("master.key"))?;
        let certificates = Certificates::open(db.clone(), &vault).await?;
        let pool = Pool { id: PoolId::new(), name: "default".into(), description: String::new() };
        db.pools.insert(&pool.id, &pool).await?;
        let authn = Authn::new(db.clone()).await?;
        for user in 0..USERS {
            let admin = vec![Binding { role: Role::Admin, scope: Scope::All }];
            authn.create_user(&format!("bench{user}"), PASSWORD, admin).await?;
        }
        Ok(Self { db, certificates, pool: pool.id })
    }
}

/// The way in.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    listen: SocketAddr,
    pub fingerprint: Fingerprint,
}

/// The running program.
pub struct Orchestrator {
    data: PathBuf,
    child: Child,
    pub door: Door,
    /// When the process was started.
    pub started: Instant,
}

impl Orchestrator {
    pub fn start(data: &Path, fingerprint: Fingerprint) -> Result<Self> {
        let listen = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::spawn(data.to_owned(), Door { listen, fingerprint })
    }

    /// From the thread that runs no agent: it has that one's priority, which is above theirs.
    fn spawn(data: PathBuf, door: Door) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("xenith-orchestrator");
        ensure!(program.exists(), "{} is not built", program.display());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(data.join("log"))?;
        let child = Command::new(program)
            .args(["--listen", &door.listen.to_string(), "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env("RUST_LOG", "warn")
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the orchestrator")?;
        Ok(Self { data, child, door, started: Instant::now() })
    }

    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the orchestrator has ended")
    }

    /// `kill -9`, and started again at once.
    pub async fn crash(mut self) -> Result<Self> {
        self.child.kill().await?;
        Self::spawn(self.data.clone(), self.door)
    }

    pub async fn client(&self, user: usize) -> Result<Client> {
        self.door.client(user).await
    }
}

impl Door {
    /// A client of one of the users; waits until the port is served.
    pub async fn client(&self, user: usize) -> Result<Client> {
        self.connect(self.sign_in(user).await?).await
    }

    /// What one of the users may connect with, again and again: checking a password costs what it should.
    pub async fn sign_in(&self, user: usize) -> Result<Credential> {
        let nobody = self.connect(Credential::None).await?;
        let credentials =
            Credentials { name: format!("bench{}", user % USERS), password: PASSWORD.into(), code: None };
        let session = nobody.call::<xenith_orchestrator_api::auth::Login>(&credentials).await?.session;
        Ok(Credential::Bearer(session))
    }

    /// For a browser.
    pub fn url(&self) -> String {
        format!("https://{}", self.listen)
    }

    pub async fn connect(&self, credential: Credential) -> Result<Client> {
        let endpoint: Endpoint = format!("https://{}", self.listen).parse()?;
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let trust = Trust::Pinned(self.fingerprint);
            match Client::connect(endpoint.clone(), trust, credential.clone()).await {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}
