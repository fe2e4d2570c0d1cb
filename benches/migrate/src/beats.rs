//! The life of a guest as both hosts hear it: answers to pings, every 50 ms.
//!
//! Each dom0 pings the guest, and prints a line for each answer; a line counts at the moment at which it is read here. So one
//! clock measures both hosts, and the way of a line to here, which is about the same for both, is in no gap.
//!
//! The guest has one address, and both dom0s have one, so that it would answer the host that it has left for as long as it
//! remembers that one. Therefore the host that it goes to forgets it before each move, and asks the network for it as often
//! as it pings: the question tells the guest where its answers go.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinSet;
use xenith_lab_scenario::{Stage, until};

const ANSWERED: &str = "bytes from";
/// The process that pings, in dom0.
const PINGER: &str = "/run/bench-ping";
const MINUTE: Duration = Duration::from_secs(60);

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Which of the two heard it.
    pub host: usize,
    pub at: Instant,
}

/// Listens for one guest, on both hosts.
#[derive(Debug)]
pub struct Beats<'a> {
    hosts: [&'a Stage; 2],
    address: Ipv4Addr,
    heard: Arc<Mutex<Vec<Beat>>>,
    /// Ends with us, and the connections with it.
    _listening: JoinSet<()>,
}

impl<'a> Beats<'a> {
    /// Begins to listen; [`Self::stop`] ends it in dom0, too.
    pub async fn of(hosts: [&'a Stage; 2], address: Ipv4Addr) -> Result<Self> {
        let (heard, mut listening) = (Arc::default(), JoinSet::new());
        for (host, stage) in hosts.into_iter().enumerate() {
            let arp = "/proc/sys/net/ipv4/neigh/xenbr0/retrans_time_ms";
            stage.dom0(&format!("echo 50 >{arp}")).await?;
            let ping = format!("echo $$ >{PINGER}; exec busybox ping -i 0.05 {address}");
            let child = stage.shell.start(&ping)?;
            listening.spawn(listen(child, host, Arc::clone(&heard)));
        }
        Ok(Self { hosts, address, heard, _listening: listening })
    }

    /// The host asks for the guest until it hears it.
    pub async fn forget(&self, host: usize) -> Result<()> {
        let forget = format!("ip neigh flush dev xenbr0 to {}", self.address);
        self.hosts[host].dom0(&forget).await.map(drop)
    }

    /// Waits until the guest answers this host, later than `since`.
    pub async fn heard_by(&self, host: usize, since: Instant) -> Result<()> {
        let what = format!("{} answers {}", self.address, self.hosts[host].name);
        until(&what, 3 * MINUTE, async || {
            Ok(self.all().iter().any(|beat| beat.host == host && beat.at > since).then_some(()))
        })
        .await
    }

    /// In the order in which they were read.
    pub fn all(&self) -> Vec<Beat> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn stop(self) -> Result<()> {
        for host in self.hosts {
            host.dom0(&format!("kill $(cat {PINGER})")).await?;
        }
        Ok(())
    }
}

async fn listen(mut child: Child, host: usize, heard: Arc<Mutex<Vec<Beat>>>) {
    let Some(output) = child.stdout.take() else { return };
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains(ANSWERED) {
            let beat = Beat { host, at: Instant::now() };
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(beat);
        }
    }
}

/// Between the last answer on the host that it left and the first one on the other, after `began`.
pub fn downtime(beats: &[Beat], (from, to): (usize, usize), began: Instant) -> Result<Duration> {
    let there = beats.iter().find(|beat| beat.host == to && beat.at > began);
    let there = there.context("the guest did not answer where it went")?.at;
    let last = beats.iter().filter(|beat| beat.host == from && beat.at < there).map(|beat| beat.at).max();
    Ok(there - last.context("the guest did not answer where it was")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_between_the_two_hosts() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let heard = [(1, 0), (0, 10), (0, 60), (0, 900), (0, 950), (1, 1700), (1, 1750)];
        let beats = heard.map(|(host, ms)| Beat { host, at: at(ms) });
        let gap = downtime(&beats, (0, 1), at(5)).unwrap();
        assert_eq!(gap, Duration::from_millis(750), "what the other host heard before does not count");
        for (case, beats) in [("nowhere", &beats[..5]), ("not before", &beats[5..])] {
            assert!(downtime(beats, (0, 1), at(5)).is_err(), "{case}");
        }
    }
}
