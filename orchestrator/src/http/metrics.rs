//! Prometheus: the orchestrator's own figures, and for who signs in those of hosts and VMs. Text format 0.0.4.
//!
//! Without a token there are only sums: nothing tells one VM or host from another, so that may be read from where
//! the port can be reached. With one ([`objects`]) there is what its roles let see, and nothing else.

mod objects;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use xenith_orchestrator_api::Caller;
use xenith_orchestrator_inventory::Scope;
use xenith_orchestrator_inventory::vm::Vms;

use xenith_orchestrator_types::{ApiError, Permission};

use super::origin::{Sender, sender};
use super::{session, too_often};
use crate::app::{App, parse_filter};
use crate::enrol::CallerAddress;

/// What may stand behind the `?`.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    /// Which VMs, in the filter language; all that the token lets see where it is left out.
    #[serde(default)]
    filter: String,
}

pub async fn show(
    State(app): State<Arc<App>>,
    Query(wanted): Query<Wanted>,
    caller: Option<Extension<CallerAddress>>,
    request: Request<Body>,
) -> Response {
    let secret = match sender(request.uri(), request.headers()) {
        Sender::Foreign => return session::foreign(),
        Sender::Nobody | Sender::Page(None) => None,
        Sender::Bearer(secret) | Sender::Page(Some(secret)) => Some(secret),
    };
    let nobody = Caller::anonymous(caller.map(|Extension(caller)| caller.0.ip()));
    let known = match &secret {
        Some(secret) => app.authn.caller(secret, nobody.from).await,
        None => Ok(nobody.clone()),
    };
    if let Err(error) = app.rate.check(known.as_ref().unwrap_or(&nobody)) {
        return too_often(&error);
    }
    let allowed = known.and_then(|caller| match secret {
        Some(_) => caller.check(Permission::View).map(|()| Some(caller)),
        None => Ok(None),
    });
    match allowed {
        Ok(None) => shown(text(&app)),
        Ok(Some(caller)) => match objects::text(&app, &caller, &wanted.filter).await {
            Ok(of_objects) => shown(text(&app) + &of_objects),
            Err(error) => refused(StatusCode::BAD_REQUEST, &error),
        },
        Err(error) => refused(StatusCode::UNAUTHORIZED, &error),
    }
}

fn shown(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn refused(status: StatusCode, error: &ApiError) -> Response {
    (status, format!("{}\n", error.message)).into_response()
}

fn text(app: &App) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &[(&str, u64)]| {
        let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in values {
            let _infallible = writeln!(text, "{name}{labels} {value}");
        }
    };
    let hosts = app.fleet.states();
    let heard = hosts.iter().filter(|(_, state)| state.is_heard()).count() as u64;
    let unheard = hosts.len() as u64 - heard;
    gauge(
        "xenith_hosts",
        "Hosts by whether they are heard.",
        &[("{status=\"connected\"}", heard), ("{status=\"unknown\"}", unheard)],
    );
    let count = |filter: &str| {
        parse_filter::<Vms>(filter).map_or(0, |filter| app.views.vms.count(&filter, &Scope::everything()))
    };
    let powers = ["running", "paused", "stopped", "suspended", "crashed", "unknown"];
    let labels: Vec<(String, u64)> = powers
        .iter()
        .map(|power| (format!("{{power=\"{power}\"}}"), count(&format!("power:{power}"))))
        .collect();
    let labels: Vec<(&str, u64)> = labels.iter().map(|(label, value)| (label.as_str(), *value)).collect();
    gauge("xenith_vms", "VMs by power state.", &labels);
    gauge("xenith_tasks_active", "Tasks that are not over.", &[("", app.engine.running() as u64)]);
    gauge("xenith_inventory_bytes", "Memory held by the inventory.", &[("", app.views.vms.memory() as u64)]);
    let read_only = u64::from(app.read_only().is_some());
    gauge("xenith_store_read_only", "1 while the store cannot write.", &[("", read_only)]);
    let (name, refused) = ("xenith_calls_refused_total", app.rate.refused());
    let help = "Calls that were refused because they came too often.";
    let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {refused}");
    text
}
