//! One turn: both guests go to the other host, one by each way.
//!
//! Which goes first changes from turn to turn. While one goes the other is paused, so that it takes no processor; both write
//! memory at the same rate while they go.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_hypervisor_agent_types::Power;
use xenith_lab::guest::{GuestKind, GuestView, XlGuest};
use xenith_lab_scenario::{Guest, Stage};
use xenith_orchestrator_api::vm;

use crate::beats::{Beats, downtime};

const MINUTE: Duration = Duration::from_secs(60);
const KIND: GuestKind = GuestKind::Pvh;
const GUEST: Guest = Guest { memory_mib: 192, ..Guest::new("move", KIND, 111) };
/// The same for `xl`: only its name and address differ.
const TWIN: Guest = Guest { name: "move-xl", number: 112, ..GUEST };
const TWIN_CONFIG: &str = "/root/move-xl.cfg";
const TWIN_DISK: &str = "/mnt/shared/move-xl.raw";
/// What each writes a second, about.
const DIRTY: &str = "dirty 31 8";
/// The second share of the pool's NFS server, for the twin's disk.
const SHARED: &str = "mkdir -p /mnt/shared && mount -t nfs 10.77.0.1:/srv/backups /mnt/shared";
const KEY: &str = "test -e /root/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; \
                   cat /root/.ssh/id_ed25519.pub";
const SSH: &str = "ssh -o StrictHostKeyChecking=no -o BatchMode=yes -o LogLevel=ERROR";

/// Seconds of one move.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    pub total: f64,
    pub down: f64,
}

/// The moves of one turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    pub xenith: Move,
    pub xl: Move,
}

/// By what a guest goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Xenith,
    Xl,
}

impl By {
    const fn guest(self) -> Guest {
        match self {
            Self::Xenith => GUEST,
            Self::Xl => TWIN,
        }
    }
}

/// Two hosts, and both guests paused on one of them.
#[derive(Debug)]
pub struct Turns<'a> {
    hosts: [&'a Stage; 2],
    /// Where the guests are.
    at: usize,
}

impl<'a> Turns<'a> {
    /// Makes the guests, and what `xl` needs to send one to the other host.
    pub async fn new(hosts: [&'a Stage; 2]) -> Result<Self> {
        let [one, other] = hosts;
        for (from, to) in [(one, other), (other, one)] {
            from.dom0(SHARED).await?;
            let key = from.dom0(KEY).await?;
            to.dom0(&format!("echo '{}' >>/root/.ssh/authorized_keys", key.trim())).await?;
        }
        let turns = Self { hosts, at: 0 };
        let mut create = GUEST.create();
        create["host"] = json!(one.name);
        create["disks"][0]["sr"] = json!("nas");
        one.orchestrator.done::<vm::Create>(create, 2 * MINUTE).await?;
        one.orchestrator.done::<vm::Start>(json!({ "vm": GUEST.name }), 3 * MINUTE).await?;
        let seen = one.running(&GUEST).await?;
        one.order(&seen, DIRTY).await?;
        turns.pause(By::Xenith).await?;
        Box::pin(turns.make_twin(one)).await?;
        turns.pause(By::Xl).await?;
        Ok(turns)
    }

    async fn make_twin(&self, host: &Stage) -> Result<()> {
        let guest = XlGuest {
            name: TWIN.name.into(),
            kind: KIND,
            memory_mib: u32::try_from(TWIN.memory_mib)?,
            address: Some(TWIN.address()),
            disk: Some(TWIN_DISK.into()),
        };
        host.dom0(&format!("truncate -s 64M {TWIN_DISK}")).await?;
        host.shell.put_bytes(guest.config().as_bytes(), TWIN_CONFIG, 0o644, MINUTE).await?;
        host.dom0(&format!("xl create -q {TWIN_CONFIG}")).await?;
        let domain = host.domains(TWIN.name).await?.first().copied().context("xl has made no domain")?;
        let view = GuestView::new(&host.shell, domain);
        view.wait_ready(3 * MINUTE).await?;
        let said = view.order(DIRTY, 2 * MINUTE).await?;
        ensure!(said.starts_with("ok"), "{} says to {DIRTY:?}: {said}", TWIN.name);
        Ok(())
    }

    pub async fn run(mut self, turns: usize) -> Result<Vec<Turn>> {
        let mut all = Vec::with_capacity(turns);
        for number in 0..turns {
            let turn = if number % 2 == 0 {
                let xenith = Box::pin(self.moves(By::Xenith)).await?;
                Turn { xenith, xl: Box::pin(self.moves(By::Xl)).await? }
            } else {
                let xl = Box::pin(self.moves(By::Xl)).await?;
                Turn { xenith: Box::pin(self.moves(By::Xenith)).await?, xl }
            };
            let Turn { xenith, xl } = turn;
            eprintln!(
                "turn {}: xenith {:.2} s, down {:.2} s; xl {:.2} s, down {:.2} s",
                number + 1,
                xenith.total,
                xenith.down,
                xl.total,
                xl.down
            );
            all.push(turn);
            self.at = 1 - self.at;
        }
        Ok(all)
    }

    /// To the other host, as it runs.
    async fn moves(&self, by: By) -> Result<Move> {
        let (from, to) = (self.at, 1 - self.at);
        let guest = by.guest();
        let beats = Beats::of(self.hosts, guest.address()).await?;
        let before = Instant::now();
        self.unpause(by).await?;
        beats.heard_by(from, before).await?;
        beats.forget(to).await?;
        let began = Instant::now();
        let total = match by {
            By::Xenith => self.by_xenith(to).await?,
            By::Xl => self.by_xl(to).await?,
        };
        beats.heard_by(to, began).await?;
        let down = downtime(&beats.all(), (from, to), began)?;
        beats.stop().await?;
        let there = self.hosts[to];
        ensure!(there.domains(guest.name).await?.len() == 1, "{} is not on {}", guest.name, there.name);
        ensure!(self.hosts[from].domains(guest.name).await?.is_empty(), "{} is on both", guest.name);
        self.pause_on(to, by).await?;
        Ok(Move { total, down: down.as_secs_f64() })
    }

    /// Until the command line has been told that it is done.
    async fn by_xenith(&self, to: usize) -> Result<f64> {
        let began = Instant::now();
        let there = self.hosts[to].name.as_str();
        self.hosts[0].orchestrator.cli(&["vm", "migrate", GUEST.name, "--host", there, "--wait"]).await?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// What it takes to reach dom0 is not `xl`'s.
    async fn by_xl(&self, to: usize) -> Result<f64> {
        let shell = &self.hosts[self.at].shell;
        let began = Instant::now();
        shell.run("true", MINUTE).await?;
        let round_trip = began.elapsed();
        let migrate = format!("xl migrate -s '{SSH}' {} 10.77.0.{}", TWIN.name, to + 1);
        let began = Instant::now();
        shell.run(&migrate, 10 * MINUTE).await?;
        Ok(began.elapsed().saturating_sub(round_trip).as_secs_f64())
    }

    async fn pause(&self, by: By) -> Result<()> {
        self.pause_on(self.at, by).await
    }

    async fn pause_on(&self, host: usize, by: By) -> Result<()> {
        let stage = self.hosts[host];
        match by {
            By::Xenith => {
                stage.orchestrator.done::<vm::Pause>(json!({ "vm": GUEST.name }), MINUTE).await?;
                stage.observed(GUEST.name, "is paused", |seen| seen.power == Power::Paused).await.map(drop)
            }
            By::Xl => stage.dom0(&format!("xl pause {}", TWIN.name)).await.map(drop),
        }
    }

    async fn unpause(&self, by: By) -> Result<()> {
        let stage = self.hosts[self.at];
        match by {
            By::Xenith => {
                stage.orchestrator.done::<vm::Unpause>(json!({ "vm": GUEST.name }), MINUTE).await?;
                stage.observed(GUEST.name, "runs", |seen| seen.power == Power::Running).await.map(drop)
            }
            By::Xl => stage.dom0(&format!("xl unpause {}", TWIN.name)).await.map(drop),
        }
    }
}
