//! `xenith-agent run`: find out who we are, open the hypervisor, serve, and stop cleanly when asked.
//!
//! In this order, so that a host without Xen does not spend its join token. VMs are left alone by a stop: the
//! next start adopts them.

use std::sync::Arc;

use xenith_common_tasks::Stop;

use crate::agent::{Agent, AgentError};
use crate::backends::{self, BackendError, Kind, Opened};
use crate::config::Config;
use crate::enrol::{self, EnrolError, Enrolment};
use crate::identity::Identity;
use crate::notify;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    #[error("this armed host had neither the orchestrator nor its lease for too long: its agent begins anew")]
    Over,
}

impl RunError {
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Enrol(error) => error.exit_code(),
            Self::Backend(BackendError::NoXen(_)) => 3,
            Self::Backend(_) => 2,
            Self::Agent(_) | Self::Signals(_) | Self::Over => 1,
        }
    }
}

/// Returns when asked to stop (SIGTERM or SIGINT), and with [`RunError::Over`] to be started again.
pub async fn run(config: &Config, kind: Kind) -> Result<(), RunError> {
    let mut stop = Stop::listen().map_err(RunError::Signals)?;
    let enrolment = enrol::look(config)?;
    let opened = backends::open(kind, config).await?;
    let identity = match enrolment {
        Enrolment::Joined(identity) => identity,
        Enrolment::Token(token) => {
            // Ready, although it may take long: whoever waits for us must not wait for another machine.
            notify::ready(&format!("joining the orchestrator at {}", token.address));
            tokio::select! {
                joined = enrol::join_patiently(config, &token) => joined?,
                () = stop.asked() => {
                    opened.close().await;
                    return Ok(());
                }
            }
        }
    };
    serve(config, identity, opened, &mut stop).await
}

async fn serve(config: &Config, identity: Identity, opened: Opened, stop: &mut Stop) -> Result<(), RunError> {
    let agent = Agent::start(config, Arc::new(identity), opened.backend.clone()).await?;
    notify::ready(&format!("serving on {}", agent.address));
    let ended = tokio::select! {
        () = stop.asked() => Ok(()),
        () = agent.over() => Err(RunError::Over),
    };
    tracing::info!("stopping; VMs are left alone");
    notify::stopping();
    if let Err(stragglers) = agent.stop().await {
        tracing::warn!(%stragglers, "not everything ended in time");
    }
    opened.close().await;
    ended
}
