//! Redfish (DMTF DSP0266): the collection `/redfish/v1/Systems`, `PowerState` of its one member, and the action
//! `#ComputerSystem.Reset` at the target that the member names. Over HTTPS with Basic authentication.
//!
//! The certificate is the one with the fingerprint, or nothing is sent. Paths that come from the controller are taken only
//! as paths of itself. A controller that has several systems is refused: nobody knows which one the host is.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use xenith_common_pki::pinned_client_config;
use xenith_common_text::chain;
use xenith_orchestrator_types::power::{MachinePower, PowerOrder};

use super::{Controller, PowerError, WITHIN};

const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
/// A system has some kilobytes.
const LONGEST: usize = 1 << 20;

fn client(to: &Controller) -> Result<Client, PowerError> {
    let pin = to.fingerprint.ok_or_else(|| to.odd("the fingerprint of its certificate is not known"))?;
    let tls = pinned_client_config(pin, &[]).map_err(|error| to.odd(error))?;
    Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(WITHIN)
        .connect_timeout(CONNECTS_WITHIN)
        .no_proxy()
        .redirect(Policy::none())
        .build()
        .map_err(|error| to.odd(error))
}

async fn exchange(
    to: &Controller,
    client: &Client,
    (method, path): (Method, &str),
    body: Option<Value>,
) -> Result<Value, PowerError> {
    if !path.starts_with("/redfish/") {
        return Err(to.odd(format_args!("it names {path:?}, which is no path of it")));
    }
    let url = format!("https://{}{path}", to.address());
    let mut request = client.request(method, url).basic_auth(&to.user, Some(&to.password));
    request = request.header("accept", "application/json");
    if let Some(body) = &body {
        request = request.json(body);
    }
    let answer = request.send().await.map_err(|error| to.unreachable(chain(&error.without_url())))?;
    let status = answer.status();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(to.refused());
    }
    let text = text_of(to, answer).await?;
    if !status.is_success() {
        return Err(to.odd(format_args!("{path}: it answers {status}")));
    }
    if body.is_some() {
        // Some say something, and some nothing.
        return Ok(Value::Null);
    }
    serde_json::from_slice(&text).map_err(|error| to.odd(format_args!("{path}: {error}")))
}

async fn text_of(to: &Controller, mut answer: reqwest::Response) -> Result<Vec<u8>, PowerError> {
    let mut text = Vec::new();
    while let Some(part) =
        answer.chunk().await.map_err(|error| to.unreachable(chain(&error.without_url())))?
    {
        if text.len() + part.len() > LONGEST {
            return Err(to.odd("it answers with more than a system has"));
        }
        text.extend_from_slice(&part);
    }
    Ok(text)
}

async fn system(of: &Controller, client: &Client) -> Result<Value, PowerError> {
    let systems = exchange(of, client, (Method::GET, "/redfish/v1/Systems"), None).await?;
    let members = systems["Members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let path = match members {
        [only] => only["@odata.id"].as_str().ok_or_else(|| of.odd("its system has no path"))?,
        [] => return Err(of.odd("it has no system")),
        several => {
            return Err(of.odd(format_args!("it has {} systems, and one was expected", several.len())));
        }
    };
    exchange(of, client, (Method::GET, path), None).await
}

pub(super) async fn power(of: &Controller) -> Result<MachinePower, PowerError> {
    let system = system(of, &client(of)?).await?;
    Ok(match system["PowerState"].as_str() {
        Some("On") => MachinePower::On,
        Some("Off") => MachinePower::Off,
        _ => MachinePower::Unknown,
    })
}

pub(super) async fn order(to: &Controller, order: PowerOrder) -> Result<(), PowerError> {
    let client = client(to)?;
    let system = system(to, &client).await?;
    let action = &system["Actions"]["#ComputerSystem.Reset"];
    let path = action["target"].as_str().ok_or_else(|| to.odd("its system cannot be reset"))?;
    let allowed = action["ResetType@Redfish.AllowableValues"].as_array();
    let takes = |kind: &str| allowed.is_none_or(|all| all.iter().any(|one| one == kind));
    let kind = match order {
        PowerOrder::Status => return Ok(()),
        PowerOrder::On => "On",
        PowerOrder::Off => "ForceOff",
        PowerOrder::Cycle if takes("ForceRestart") => "ForceRestart",
        PowerOrder::Cycle => "PowerCycle",
    };
    if !takes(kind) {
        return Err(to.odd(format_args!("its system does not take {kind}")));
    }
    exchange(to, &client, (Method::POST, path), Some(json!({ "ResetType": kind }))).await.map(drop)
}
