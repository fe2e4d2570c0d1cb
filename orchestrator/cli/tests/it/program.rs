//! Runs `xenith` in a home of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::server::FakeOrchestrator;

pub struct Program {
    pub home: TempDir,
    environment: Vec<(&'static str, String)>,
}

#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    /// Fails with all that was said.
    #[track_caller]
    pub fn is(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl Program {
    /// Knows no orchestrator.
    pub fn alone() -> Self {
        Self { home: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// Signed in by its environment, as in a pipeline.
    pub fn signed_in(server: &FakeOrchestrator) -> Self {
        Self::alone()
            .with("XENITH_URL", &server.url())
            .with("XENITH_FINGERPRINT", &server.authority.to_string())
            .with("XENITH_TOKEN", "t0ken")
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    pub fn contexts(&self) -> PathBuf {
        self.home.path().join(".config/xenith/contexts.toml")
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_xenith"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, "").await
    }

    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut child = self.spawn(arguments);
        let mut stdin = child.stdin.take().unwrap();
        // A program that does not read its input is no failure.
        let _not_read = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        finish(child).await
    }
}

pub async fn finish(child: Child) -> Outcome {
    let output = timeout(Duration::from_secs(60), child.wait_with_output()).await.expect("it ends").unwrap();
    Outcome {
        code: output.status.code().expect("it was not killed"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
