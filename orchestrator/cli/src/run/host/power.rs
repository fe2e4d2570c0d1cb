//! The power of a host, switched beside the host itself.

use xenith_orchestrator_api::host;
use xenith_orchestrator_types::host::HostRef;
use xenith_orchestrator_types::power::{
    HostPowerControl, OrderPower, PowerControlKind, PowerOrder, SetPowerControl,
};

use crate::app::App;
use crate::ask;
use crate::cli::{Confirm, ControlFlag, Keyed, PowerControlArgs, PowerFlag};
use crate::error::CliError;
use crate::table::{Paint, Sheet};

pub async fn control(app: &App, host: String) -> Result<(), CliError> {
    let control = app.call::<host::PowerControl>(&HostRef { host }).await?;
    app.out.value(&control, || sheet(&control).render(Paint::Plain))
}

pub async fn set_control(app: &App, args: PowerControlArgs) -> Result<(), CliError> {
    let keyed = args.keyed.clone();
    let control = app.change::<host::SetPowerControl>(&settings(args)?, &keyed).await?;
    app.out.value(&control, || sheet(&control).render(Paint::Plain))
}

pub async fn order(
    app: &App,
    (host, order, force): (String, PowerFlag, bool),
    confirm: Confirm,
    keyed: &Keyed,
) -> Result<(), CliError> {
    if matches!(order, PowerFlag::Off | PowerFlag::Cycle) {
        ask::confirm(&format!("Cut the power of {host}?"), confirm)?;
    }
    let order = match order {
        PowerFlag::Status => PowerOrder::Status,
        PowerFlag::On => PowerOrder::On,
        PowerFlag::Off => PowerOrder::Off,
        PowerFlag::Cycle => PowerOrder::Cycle,
    };
    let power = app.change::<host::Power>(&OrderPower { host, order, force }, keyed).await?;
    app.out.value(&power, || format!("{}\n", power.power.as_str()))
}

fn settings(args: PowerControlArgs) -> Result<SetPowerControl, CliError> {
    let kind = match args.kind {
        ControlFlag::Redfish => Some(PowerControlKind::Redfish),
        ControlFlag::Ipmi => Some(PowerControlKind::Ipmi),
        ControlFlag::None => None,
    };
    let asked = kind.is_some() && !args.keep_password;
    let question = || ask::secret(&format!("Password of {}", args.user), "XENITH_POWER_PASSWORD");
    let password = asked.then(question).transpose()?;
    let PowerControlArgs { host, address, user, fingerprint, .. } = args;
    Ok(SetPowerControl { host, kind, address, user, password, fingerprint })
}

fn sheet(of: &HostPowerControl) -> Sheet {
    let Some(control) = &of.control else { return Sheet::new().line("power control", "none") };
    let kind = match control.kind {
        PowerControlKind::Redfish => "redfish",
        PowerControlKind::Ipmi => "ipmi",
    };
    Sheet::new()
        .line("power control", kind)
        .line("address", &control.address)
        .line("user", &control.user)
        .maybe("fingerprint", control.fingerprint.as_ref())
}
