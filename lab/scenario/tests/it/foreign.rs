//! A domain that somebody made with `xl`.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_hypervisor_agent_types::Power;
use xenith_lab::guest::{GuestKind, GuestView, XlGuest};
use xenith_lab_scenario::{SLACK, Stage, until};
use xenith_orchestrator_api::vm;
use xenith_orchestrator_types::Reason;

use crate::MINUTE;

const NAME: &str = "foreign";
/// Where its first domain id and boot id are kept between the two steps.
const KEPT: &str = "/root/foreign.kept";

pub async fn listed(stage: &Stage) -> Result<()> {
    let guest =
        XlGuest { name: NAME.into(), kind: GuestKind::Pvh, memory_mib: 128, address: None, disk: None };
    let config = "/root/foreign.cfg";
    stage.shell.put_bytes(guest.config().as_bytes(), config, 0o644, MINUTE * SLACK).await?;
    stage.dom0(&format!("xl create -q {config}")).await?;
    let domid = only(stage).await?;
    let view = GuestView::new(&stage.shell, domid);
    view.wait_ready(3 * MINUTE * SLACK).await?;
    let boot = view.read("data/xenith/boot").await?.context("no boot id")?;
    stage.dom0(&format!("echo '{domid} {boot}' >{KEPT}")).await?;
    // `xl` makes a domain paused, and Xen tells nobody that it goes on: the next look at all domains finds it.
    let row = until("the foreign domain is listed as running", MINUTE, async || {
        let page = stage.orchestrator.call::<vm::List>(json!({ "filter": "managed:no" })).await?;
        Ok(page.items.into_iter().find(|row| row.name == NAME && row.power == Power::Running))
    })
    .await?;
    ensure!(!row.managed, "{row:?}");
    // It can be looked at, and for everything else it is not there.
    let powered_off = stage.orchestrator.refused::<vm::PowerOff>(json!({ "vm": row.id })).await?;
    let deleted = stage.orchestrator.refused::<vm::Delete>(json!({ "vm": NAME })).await?;
    ensure!([powered_off, deleted] == [Reason::NotFound; 2], "{powered_off:?}, {deleted:?}");
    // Its owner lets it rest: that too is to stay as it is, and it costs the other guests no CPU.
    stage.dom0(&format!("xl pause {NAME}")).await.map(drop)
}

pub async fn untouched(stage: &Stage) -> Result<()> {
    let domid = only(stage).await?;
    let view = GuestView::new(&stage.shell, domid);
    let boot = view.read("data/xenith/boot").await?.context("no boot id")?;
    let kept = stage.dom0(&format!("cat {KEPT}")).await?;
    ensure!(kept.trim() == format!("{domid} {boot}"), "it was {kept}, and is {domid} {boot}");
    let state = stage.dom0(&format!("xl list {NAME} | awk 'NR == 2 {{print $5}}'")).await?;
    ensure!(state.contains('p'), "it was paused, and is {state}");
    stage.dom0(&format!("xl unpause {NAME}")).await?;
    let said = view.order("uptime", MINUTE * SLACK).await?;
    ensure!(said.starts_with("ok"), "{said}");
    // The agent was killed meanwhile: what the host tells of unmanaged domains is gone until it is heard again.
    until("the foreign domain is still listed", MINUTE, async || {
        let page = stage.orchestrator.call::<vm::List>(json!({ "filter": "managed:no" })).await?;
        Ok(page.items.iter().any(|row| row.name == NAME).then_some(()))
    })
    .await
}

async fn only(stage: &Stage) -> Result<u32> {
    let domains = stage.domains(NAME).await?;
    ensure!(domains.len() == 1, "domains of that name: {domains:?}");
    Ok(domains[0])
}
