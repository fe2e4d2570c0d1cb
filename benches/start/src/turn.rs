//! One turn: the guest started by one way, ended, started by the other, ended.
//!
//! Which way goes first changes from turn to turn, so that neither always finds the caches warm.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::process::Command;
use xenith_lab::guest::{GuestKind, XlGuest};
use xenith_lab_scenario::{Guest, Programs, Stage};
use xenith_orchestrator_api::vm;

const MINUTE: Duration = Duration::from_secs(60);
const KIND: GuestKind = GuestKind::Pvh;
const GUEST: Guest = Guest { memory_mib: 192, ..Guest::new("start", KIND, 110) };
const XL: &str = "start-xl";
const XL_CONFIG: &str = "/root/start-xl.cfg";
const XL_DISK: &str = "/var/lib/xenith/start-xl.raw";

/// Seconds of both ways.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    pub xenith: f64,
    pub xl: f64,
}

/// A prepared host and VM.
#[derive(Debug)]
pub struct Turns<'a> {
    stage: &'a Stage,
    programs: &'a Programs,
}

impl<'a> Turns<'a> {
    /// Makes the VM, and the same as a file for `xl`.
    pub async fn new(stage: &'a Stage, programs: &'a Programs) -> Result<Self> {
        stage.orchestrator.done::<vm::Create>(GUEST.create(), MINUTE).await?;
        let guest = XlGuest {
            name: XL.into(),
            kind: KIND,
            memory_mib: u32::try_from(GUEST.memory_mib)?,
            address: Some(GUEST.address()),
            disk: Some(XL_DISK.into()),
        };
        stage.dom0(&format!("truncate -s 64M {XL_DISK}")).await?;
        stage.shell.put_bytes(guest.config().as_bytes(), XL_CONFIG, 0o644, MINUTE).await?;
        Ok(Self { stage, programs })
    }

    pub async fn run(self, turns: usize) -> Result<Vec<Turn>> {
        let mut all = Vec::with_capacity(turns);
        for number in 0..turns {
            let turn = if number % 2 == 0 {
                let xenith = self.xenith().await?;
                Turn { xenith, xl: self.xl().await? }
            } else {
                let xl = self.xl().await?;
                Turn { xenith: self.xenith().await?, xl }
            };
            eprintln!("turn {}: xenith {:.2} s, xl {:.2} s", number + 1, turn.xenith, turn.xl);
            all.push(turn);
        }
        Ok(all)
    }

    async fn xenith(&self) -> Result<f64> {
        let access = self.stage.orchestrator.access();
        let mut start = Command::new(&self.programs.cli);
        start.args(["vm", "start", GUEST.name, "--wait"]).envs(access);
        start.stdin(Stdio::null()).kill_on_drop(true);
        let began = Instant::now();
        let output = start.output().await?;
        let took = began.elapsed();
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.stage.orchestrator.done::<vm::PowerOff>(json!({ "vm": GUEST.name }), MINUTE).await?;
        self.stage.observed(GUEST.name, "is off", |seen| !seen.power.has_domain()).await?;
        Ok(took.as_secs_f64())
    }

    async fn xl(&self) -> Result<f64> {
        let round_trip = self.timed("true").await?;
        let took = self.timed(&format!("xl create -q {XL_CONFIG}")).await?;
        self.stage.dom0(&format!("xl destroy {XL}")).await?;
        Ok(took - round_trip)
    }

    async fn timed(&self, command: &str) -> Result<f64> {
        let began = Instant::now();
        self.stage.dom0(command).await?;
        Ok(began.elapsed().as_secs_f64())
    }
}
