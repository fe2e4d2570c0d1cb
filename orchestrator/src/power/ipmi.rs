//! IPMI 2.0 by `ipmitool` (its manual: `-E` reads the password from `IPMI_PASSWORD`; `chassis power`).

use std::process::Stdio;

use tokio::process::Command;
use xenith_orchestrator_types::power::{MachinePower, PowerOrder};

use super::{Controller, PowerError};

/// Seconds between two tries of a packet, and how many tries.
const AGAIN: [&str; 4] = ["-N", "3", "-R", "3"];

fn arguments(to: &Controller, verb: &'static str) -> Vec<String> {
    let port = to.port.to_string();
    let who = ["-I", "lanplus", "-H", &to.host, "-p", &port, "-U", &to.user, "-E"];
    let what = ["chassis", "power", verb];
    who.into_iter().chain(AGAIN).chain(what).map(ToOwned::to_owned).collect()
}

async fn run(to: &Controller, verb: &'static str) -> Result<String, PowerError> {
    let mut command = Command::new("ipmitool");
    command
        .args(arguments(to, verb))
        .env("IPMI_PASSWORD", &to.password)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.map_err(PowerError::NoProgram)?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(to, said.trim()))
}

/// What it says when a session cannot be opened does not tell a wrong password from a controller that is away.
fn failed(to: &Controller, said: &str) -> PowerError {
    let refused = ["RAKP 2 HMAC is invalid", "unauthorized name", "insufficient"];
    if refused.iter().any(|text| said.contains(text)) { to.refused() } else { to.unreachable(said) }
}

fn parse_power(said: &str) -> MachinePower {
    match said.trim() {
        "Chassis Power is on" => MachinePower::On,
        "Chassis Power is off" => MachinePower::Off,
        _ => MachinePower::Unknown,
    }
}

pub(super) async fn power(of: &Controller) -> Result<MachinePower, PowerError> {
    run(of, "status").await.map(|said| parse_power(&said))
}

pub(super) async fn order(to: &Controller, order: PowerOrder) -> Result<(), PowerError> {
    let verb = match order {
        PowerOrder::Status => "status",
        PowerOrder::On => "on",
        PowerOrder::Off => "off",
        PowerOrder::Cycle => "cycle",
    };
    run(to, verb).await.map(drop)
}

#[cfg(test)]
mod tests {
    use xenith_orchestrator_types::power::PowerControlKind;

    use super::*;

    #[test]
    fn the_password_is_no_argument_and_only_off_is_off() {
        let to = Controller {
            kind: PowerControlKind::Ipmi,
            host: "10.0.0.1".into(),
            port: 623,
            user: "xenith".into(),
            password: "s3cret".into(),
            fingerprint: None,
        };
        let line = arguments(&to, "off").join(" ");
        assert_eq!(line, "-I lanplus -H 10.0.0.1 -p 623 -U xenith -E -N 3 -R 3 chassis power off");
        assert!(!format!("{to:?}").contains("s3cret"));
        for (said, power) in [
            ("Chassis Power is on\n", MachinePower::On),
            ("Chassis Power is off\n", MachinePower::Off),
            ("Chassis Power Control: Down/Off\n", MachinePower::Unknown),
            ("", MachinePower::Unknown),
        ] {
            assert_eq!(parse_power(said), power, "{said:?}");
        }
        let refused =
            failed(&to, "> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session");
        assert!(matches!(refused, PowerError::Refused { .. }));
        let away = failed(&to, "Error: Unable to establish IPMI v2 / RMCP+ session");
        assert!(matches!(away, PowerError::Unreachable { .. }));
    }
}
