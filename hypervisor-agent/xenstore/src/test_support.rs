//! A real xenstored without Xen, for tests.
//!
//! [`XenstoredFixture`] is one daemon with an empty store, a socket of its own and the life of one test. It is one of
//! two programs ([`Daemon`]): the C `xenstored`, or `oxenstored`, which Debian starts and so runs on our hosts. They
//! differ in what a client sees. Both are the distribution's, found or fetched by `test_support/program.rs`; the
//! hypervisor's libraries are played by a small preloaded shim (`test_support/fakexen.c`). All clients count as the
//! control domain, so that one domain is denied what it may not do cannot be seen here.
//!
//! When the program cannot be had the fixture panics with what to do. It never lets a test pass unrun.
//!
//! No daemon outlives its test: dropping the fixture kills it, and when the test process itself is killed the
//! daemon sees the end of its standard input.

mod program;
mod shim;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use crate::Endpoint;

/// How long the daemon may take to listen. It takes some 20 ms on an idle machine.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// The one in C.
    Xenstored,
    /// The one in OCaml: Debian's default, as `/etc/default/xen` does not name another.
    Oxenstored,
}

impl Daemon {
    /// The name of its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xenstored => "xenstored",
            Self::Oxenstored => "oxenstored",
        }
    }
}

/// One daemon.
#[derive(Debug)]
pub struct XenstoredFixture {
    kind: Daemon,
    program: program::Program,
    shim: PathBuf,
    directory: tempfile::TempDir,
    daemon: Option<Child>,
}

impl XenstoredFixture {
    /// Starts the C daemon with an empty store. Panics, with the way out, when there is no xenstored to be had.
    pub async fn start() -> Self {
        Self::start_as(Daemon::Xenstored).await
    }

    /// The same with one or the other daemon.
    pub async fn start_as(kind: Daemon) -> Self {
        let program = program::find(kind).unwrap_or_else(|missing| panic!("{missing}"));
        let shim = shim::compile().unwrap_or_else(|reason| panic!("{reason}"));
        let mut fixture = Self { kind, program, shim, directory: short_directory(), daemon: None };
        fixture.restart().await;
        fixture
    }

    /// The daemon's socket; the same over restarts.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Socket(self.socket())
    }

    /// Ends the daemon as `kill -9` does. The store is lost with it.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // Errors mean that it has ended already, which is what is wanted.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    /// Stops the daemon in its tracks, without ending it: requests stay unanswered until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Starts the daemon, after killing the one that runs, if any. Its store is empty.
    pub async fn restart(&mut self) {
        self.kill();
        // A socket without a listener would let a client fail in another way than a missing one does.
        let _ = std::fs::remove_file(self.socket());
        let mut command = Command::new(&self.program.path);
        match self.kind {
            Daemon::Xenstored => command.arg("-N").env("XENSTORED_RUNDIR", self.directory.path()),
            Daemon::Oxenstored => command
                .args(["--no-fork", "--no-access-log", "--config-file"])
                .arg(self.configuration())
                .env("FAKEXEN_SOCKET", self.socket()),
        };
        command
            .env("LD_PRELOAD", &self.shim)
            .env("FAKEXEN_END_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log_file(self.directory.path()));
        if let Some(libraries) = &self.program.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let daemon = command.spawn();
        self.daemon = Some(daemon.unwrap_or_else(|e| panic!("{}: {e}", self.program.path.display())));
        self.await_socket().await;
    }

    /// What oxenstored would else have in `/run` and `/var/log`. The shim plays the two files of the kernel.
    fn configuration(&self) -> PathBuf {
        let directory = self.directory.path();
        let path = directory.join("configuration");
        let within = |key: &str, name: &str| format!("{key} = {}\n", directory.join(name).display());
        let lines = within("pid-file", "pid")
            + &within("xenstored-log-file", "oxenstored-log")
            + &within("xenstored-kva", "xsd_kva")
            + &within("xenstored-port", "xsd_port")
            + "persistent = false\n";
        std::fs::write(&path, lines).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    async fn await_socket(&mut self) {
        let deadline = Instant::now() + START_PATIENCE;
        // WouldBlock: it listens, and has a connection to accept already.
        while UnixStream::connect(self.socket()).await.is_err_and(|e| e.kind() != ErrorKind::WouldBlock) {
            let ended = self.daemon.as_mut().and_then(|daemon| daemon.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                let path = self.program.path.display();
                panic!("{path} does not listen (ended: {ended:?}); it said:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn signal(&self, name: &str) {
        let daemon = self.daemon.as_ref().expect("only a running daemon is signalled");
        let sent = Command::new("kill").arg(format!("-{name}")).arg(daemon.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot signal {}", self.kind.name());
    }
}

impl Drop for XenstoredFixture {
    fn drop(&mut self) {
        self.kill();
    }
}

fn log_file(directory: &Path) -> Stdio {
    let file = std::fs::File::options().create(true).append(true).open(directory.join("log"));
    file.map_or_else(|_| Stdio::null(), Stdio::from)
}

/// The path of a socket holds 107 bytes, so a long `TMPDIR` will not do.
fn short_directory() -> tempfile::TempDir {
    let wanted = std::env::temp_dir();
    let base = if wanted.as_os_str().len() < 70 { wanted } else { PathBuf::from("/tmp") };
    let made = tempfile::Builder::new().prefix("xs").tempdir_in(&base);
    made.unwrap_or_else(|error| panic!("cannot make a directory in {}: {error}", base.display()))
}
