//! The management interface of a simulated host. Nothing depends on what it is: the agent is reached as before.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_backend::{HypervisorError, ManagementInterface, Result};
use xenith_hypervisor_agent_types::management::{
    Addressing, Card, Keeping, Management, ManagementState, ManagementTrial,
};

use crate::SimHypervisor;

/// What becomes of a change of the management interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewWay {
    #[default]
    Works,
    /// Nobody is heard over it: the host has gone back as soon as anybody asks.
    LeadsNowhere,
    /// This host was not set up by our medium.
    NotOurs,
}

#[derive(Debug)]
pub(crate) struct ManagementWorld {
    now: Management,
    before: Option<Management>,
    on_trial: Option<ManagementTrial>,
    kept: Option<String>,
    way: NewWay,
}

fn cards() -> Vec<Card> {
    (0..4).map(|n| Card { name: format!("eth{n}"), mac: MacAddr::from_xen_block([0xee, 0, n]) }).collect()
}

impl Default for ManagementWorld {
    fn default() -> Self {
        let now = Management {
            cards: vec![cards()[0].mac],
            bond: None,
            vlan: None,
            address: Addressing::Dhcp,
            gateway: None,
            dns: vec![Ipv4Addr::new(192, 0, 2, 53).into()],
        };
        Self { now, before: None, on_trial: None, kept: None, way: NewWay::Works }
    }
}

impl ManagementWorld {
    fn ours(&self) -> Result<()> {
        match self.way {
            NewWay::NotOurs => Err(HypervisorError::Unsupported {
                operation: "changing the management interface",
                why: "it is configured in /etc/network/interfaces; edit that".to_owned(),
            }),
            NewWay::Works | NewWay::LeadsNowhere => Ok(()),
        }
    }

    fn state(&self) -> ManagementState {
        let on_trial = self.on_trial.as_ref().map(|trial| trial.change.clone());
        ManagementState { management: self.now.clone(), cards: cards(), on_trial, kept: self.kept.clone() }
    }

    fn keep(&mut self, change: &str) -> Keeping {
        match self.on_trial.take_if(|trial| trial.change == change) {
            Some(trial) => {
                self.before = Some(std::mem::replace(&mut self.now, trial.wanted));
                self.kept = Some(trial.change);
                Keeping::Kept
            }
            None if self.kept.as_deref() == Some(change) => Keeping::Kept,
            None => Keeping::WentBack,
        }
    }

    fn go_back(&mut self, change: &str) {
        let _not_wanted = self.on_trial.take_if(|trial| trial.change == change);
        if self.kept.as_deref() == Some(change)
            && let Some(before) = self.before.take()
        {
            self.now = before;
            self.kept = None;
        }
    }
}

#[async_trait]
impl ManagementInterface for SimHypervisor {
    async fn look(&self) -> Result<ManagementState> {
        self.inner.with(|world, _| {
            world.management.ours()?;
            Ok(world.management.state())
        })
    }

    async fn try_out(&self, trial: &ManagementTrial) -> Result<()> {
        self.inner.with(|world, _| {
            world.management.ours()?;
            let is_kept = world.management.kept.as_ref() == Some(&trial.change);
            if world.management.way == NewWay::Works && !is_kept {
                world.management.on_trial = Some(trial.clone());
            }
            Ok(())
        })
    }

    async fn keep(&self, change: &str) -> Result<Keeping> {
        Ok(self.inner.with(|world, _| world.management.keep(change)))
    }

    async fn go_back(&self, change: &str) -> Result<()> {
        self.inner.with(|world, _| world.management.go_back(change));
        Ok(())
    }
}

impl SimHypervisor {
    /// From now on changes of the management interface end like this.
    pub fn set_new_way(&self, way: NewWay) {
        self.inner.with(|world, _| world.management.way = way);
    }

    /// What the host would come up with.
    #[must_use]
    pub fn management(&self) -> ManagementState {
        self.inner.with(|world, _| world.management.state())
    }
}
