//! Prometheus: the orchestrator's own figures. Text format 0.0.4.
//!
//! Only sums: nothing here tells one VM or host from another, so it may be read without signing in from where
//! the port can be reached.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use xenith_orchestrator_inventory::Scope;
use xenith_orchestrator_inventory::vm::Vms;

use crate::app::{App, parse_filter};

pub async fn show(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text(&app))
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
    text
}
