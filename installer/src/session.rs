//! One installation from answers to the end, the same for the answers file and the text screens.

use crate::answers::{Answers, Check, Join};
use crate::apply::{self, ApplyError, Watch};
use crate::check::{self, CheckError};
use crate::facts::{Facts, FactsError};
use crate::image::{Image, ImageError};
use crate::live::{self, LiveError};
use crate::plan::{self, BRIDGE, Chosen, Plan, PlanError};
use crate::{nics, plan::network_units};

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("cannot look at this machine: {0}")]
    Facts(#[from] FactsError),
    #[error("{0}")]
    Plan(#[from] PlanError),
    #[error("{0}")]
    Image(#[from] ImageError),
    #[error("the network does not work: {0}")]
    Network(#[from] LiveError),
    #[error("join.token: {0}")]
    Orchestrator(#[from] CheckError),
    #[error("no random numbers: {0}")]
    Random(std::io::Error),
    #[error("{0}")]
    Apply(#[from] ApplyError),
}

/// A plan that was checked against this machine and its network. Nothing is written yet.
#[derive(Debug)]
pub struct Ready {
    pub plan: Plan,
    image: Image,
}

/// Plans, brings up the network that the host will have, and asks for the orchestrator.
pub fn prepare(answers: &Answers, facts: &Facts, say: &mut dyn FnMut(&str)) -> Result<Ready, SessionError> {
    let medium = std::path::Path::new(crate::image::ON_MEDIUM);
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let image = Image::fetched(medium, &cmdline).map_or_else(|| Image::open(medium), Ok)?;
    let chosen = Chosen::random().map_err(SessionError::Random)?;
    let plan = plan::make(answers, facts, &chosen, &image.description.version)?;
    if let Some(join) = answers.join.as_ref().filter(|join| join.check == Check::Required) {
        network(answers, facts, say)?;
        self::orchestrator(join, say)?;
    }
    Ok(Ready { plan, image })
}

/// Brings the network up as the host will have it.
pub fn network(answers: &Answers, facts: &Facts, say: &mut dyn FnMut(&str)) -> Result<(), SessionError> {
    let cards = nics::choose(&facts.nics, &answers.network.nics)
        .map_err(|problem| PlanError { field: "network.nics", problem })?;
    say("bringing the network up");
    let address = live::this_network(&network_units(&answers.network, &cards), BRIDGE)?;
    say(&format!("the network is up: {address}"));
    Ok(())
}

fn orchestrator(join: &Join, say: &mut dyn FnMut(&str)) -> Result<(), SessionError> {
    check::orchestrator(&join.token, check::NETWORK_SETTLES)?;
    say(&format!("the orchestrator at {} is the one that the token names", join.token.address));
    Ok(())
}

impl Ready {
    /// Writes. Can be called again after a failure.
    pub fn apply(&self, watch: &mut dyn Watch) -> Result<(), ApplyError> {
        apply::apply(&self.plan, &self.image, watch)
    }
}
