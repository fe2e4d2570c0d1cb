//! Power control of a host: where it is, and switching by hand.

use std::time::Duration;

use tokio::time::Instant;
use xenith_common_ids::HostId;
use xenith_common_pki::Fingerprint;
use xenith_common_text::counted;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::power::{
    HostMachinePower, HostPowerControl, MachinePower, OrderPower, PowerControl, PowerControlKind, PowerOrder,
    SetPowerControl,
};
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::host_upgrade::unheld;
use crate::errors::store_error;
use crate::model::{HostRecord, PowerControlRecord};
use crate::power::{Controller, PowerError, SEALED_PASSWORD, parse_address};

/// How long a machine may take to be as it was told. Controllers answer an order before.
const SWITCHES_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// As IPMI 2.0 has it for passwords, and more than enough for names.
const LONGEST: usize = 64;

impl From<PowerError> for ApiError {
    fn from(error: PowerError) -> Self {
        match error {
            PowerError::Secret(error) => Self::internal(error),
            error => Self::new(Reason::WrongState, error),
        }
    }
}

/// Without its password.
pub(super) fn shown(host: HostId, record: Option<&PowerControlRecord>) -> HostPowerControl {
    let control = record.map(|record| PowerControl {
        kind: record.kind,
        address: record.address.clone(),
        user: record.user.clone(),
        fingerprint: record.fingerprint.clone(),
    });
    HostPowerControl { host, control }
}

/// Everything but the password.
fn checked(request: &SetPowerControl, kind: PowerControlKind) -> Result<PowerControlRecord, ApiError> {
    let address = request.address.trim();
    if parse_address(address, kind).is_none() {
        let problem =
            "give a name or an IP address, with a port where it is not the usual one: bmc1.example.org:443";
        return Err(ApiError::invalid("address", problem));
    }
    let user = &request.user;
    if user.is_empty() || user.len() > LONGEST || user.chars().any(char::is_control) {
        return Err(ApiError::invalid("user", "say who signs in there, in 1 to 64 characters"));
    }
    let fingerprint = request.fingerprint.as_deref().filter(|text| !text.is_empty());
    let fingerprint = fingerprint.map(str::parse::<Fingerprint>).transpose();
    let fingerprint = fingerprint.map_err(|error| ApiError::invalid("fingerprint", error))?;
    let fingerprint = match (kind, fingerprint) {
        (PowerControlKind::Ipmi, _) => None,
        (PowerControlKind::Redfish, Some(fingerprint)) => Some(fingerprint.to_string()),
        (PowerControlKind::Redfish, None) => {
            let problem = "give the SHA-256 of its certificate: openssl s_client -connect ADDRESS:443 </dev/null | \
                           openssl x509 -noout -fingerprint -sha256";
            return Err(ApiError::invalid("fingerprint", problem));
        }
    };
    let (address, user) = (address.to_owned(), user.clone());
    Ok(PowerControlRecord { kind, address, user, fingerprint, sealed_password: Vec::new() })
}

impl App {
    pub(super) async fn set_power_control_of(
        &self,
        call: &Call,
        request: SetPowerControl,
    ) -> Result<HostPowerControl, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        let power = match request.kind {
            None => None,
            Some(kind) => {
                let mut record = checked(&request, kind)?;
                self.is_of_no_other(call, found.key, &record).await?;
                record.sealed_password = self.sealed_for(&request, &record, found.value.power.as_ref())?;
                // Whether it answers, and with what, before anybody relies on it.
                Controller::open(&record, &self.vault)?.power().await?;
                Some(record)
            }
        };
        let _alone = self.name_changes.lock().await;
        if let Some(record) = &power {
            // Nobody waits for a controller with the lock. Meanwhile it may have become another host's.
            self.is_of_no_other(call, found.key, record).await?;
        }
        let changed = HostRecord { power, ..found.value.clone() };
        self.db.hosts.update(&found, &changed).await.map_err(|e| store_error(&e))?;
        Ok(shown(found.key, changed.power.as_ref()))
    }

    /// What a controller says of one host, high availability would believe of another: that one runs on, and so do its VMs
    /// elsewhere.
    async fn is_of_no_other(
        &self,
        call: &Call,
        host: HostId,
        record: &PowerControlRecord,
    ) -> Result<(), ApiError> {
        let place = |of: &PowerControlRecord| parse_address(&of.address, of.kind);
        let same = |of: &PowerControlRecord| of.kind == record.kind && place(of) == place(record);
        let (hosts, _) = self.db.hosts.all().await.map_err(|e| store_error(&e))?;
        let mut others = hosts.iter().filter(|other| other.key != host);
        let Some(other) = others.find(|other| other.value.power.as_ref().is_some_and(same)) else {
            return Ok(());
        };
        let sees = self.visible_hosts(call);
        let name = if sees(other.key) { other.value.name.as_str() } else { "another host" };
        let problem = format_args!("is the power control of {name}; each host has one of its own");
        Err(ApiError::invalid("address", problem))
    }

    /// A password is never sent to another controller than the one that it was given for.
    fn sealed_for(
        &self,
        request: &SetPowerControl,
        record: &PowerControlRecord,
        known: Option<&PowerControlRecord>,
    ) -> Result<Vec<u8>, ApiError> {
        if let Some(password) = &request.password {
            if password.is_empty() || password.len() > LONGEST || password.contains('\0') {
                return Err(ApiError::invalid("password", "give 1 to 64 characters"));
            }
            return self.vault.seal(SEALED_PASSWORD, password.as_bytes()).map_err(ApiError::internal);
        }
        let whom = |of: &PowerControlRecord| PowerControlRecord { sealed_password: Vec::new(), ..of.clone() };
        let same = known.filter(|known| whom(known) == whom(record));
        let missing = "give the password: none is known for this address, user and certificate";
        let same = same.ok_or_else(|| ApiError::invalid("password", missing))?;
        Ok(same.sealed_password.clone())
    }

    pub(super) async fn order_power(
        &self,
        call: &Call,
        request: OrderPower,
    ) -> Result<HostMachinePower, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        let name = &found.value.name;
        let Some(record) = &found.value.power else {
            let message =
                format_args!("{name} has no power control; say where it is (xenith host set-power-control)");
            return Err(ApiError::new(Reason::WrongState, message));
        };
        let ends = matches!(request.order, PowerOrder::Off | PowerOrder::Cycle);
        if request.order != PowerOrder::Status {
            unheld(&found.value)?;
        }
        if ends && !request.force {
            self.nothing_is_lost(found.key, name)?;
        }
        let controller = Controller::open(record, &self.vault)?;
        controller.order(request.order).await?;
        let power = self.until_switched(&controller, request.order).await?;
        if request.order != PowerOrder::Status {
            let message = format!(
                "{} told the power control of {name}: {}",
                call.caller.name,
                match request.order {
                    PowerOrder::On => "on",
                    PowerOrder::Off => "off",
                    PowerOrder::Cycle | PowerOrder::Status => "off and on again",
                }
            );
            let about = (found.key, found.value.pool);
            self.ha_event((Severity::Warning, "host.switched"), about, message).await;
        }
        Ok(HostMachinePower { host: found.key, power })
    }

    fn nothing_is_lost(&self, host: HostId, name: &str) -> Result<(), ApiError> {
        let state = self.fleet.state(host);
        let heard = state.as_ref().is_some_and(|state| state.is_heard());
        let running = state.map_or(0, |state| state.with_domain().len());
        let message = match (heard, running) {
            (true, 0) => return Ok(()),
            (true, running) => format!(
                "on {name} what is in the memory of {} would be lost; move everything away first, or force it",
                counted(running, "VM")
            ),
            (false, _) => format!(
                "{name} is not heard, and nobody knows what runs there; force it where it is to go off all the same"
            ),
        };
        Err(ApiError::new(Reason::WrongState, message))
    }

    /// What it says in the end.
    async fn until_switched(
        &self,
        controller: &Controller,
        order: PowerOrder,
    ) -> Result<MachinePower, ApiError> {
        let wanted = match order {
            PowerOrder::Status | PowerOrder::Cycle => None,
            PowerOrder::On => Some(MachinePower::On),
            PowerOrder::Off => Some(MachinePower::Off),
        };
        let deadline = Instant::now() + SWITCHES_WITHIN;
        loop {
            let power = controller.power().await?;
            if wanted.is_none_or(|wanted| wanted == power) || Instant::now() >= deadline {
                return Ok(power);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_controller_is_whole() {
        let request = |change: fn(&mut SetPowerControl)| {
            let mut request = SetPowerControl {
                host: "xen1".into(),
                kind: Some(PowerControlKind::Redfish),
                address: "bmc1.example.org".into(),
                user: "xenith".into(),
                password: Some("s3cret".into()),
                fingerprint: Some("AA:".repeat(31) + "AA"),
            };
            change(&mut request);
            request
        };
        let fine = checked(&request(|_| {}), PowerControlKind::Redfish).unwrap();
        assert_eq!(fine.fingerprint.as_deref(), Some("aa".repeat(32).as_str()));
        let ipmi = checked(&request(|request| request.fingerprint = None), PowerControlKind::Ipmi).unwrap();
        assert_eq!(ipmi.fingerprint, None);
        assert!(!format!("{:?}", request(|_| {})).contains("s3cret"));
        type Change = fn(&mut SetPowerControl);
        let wrong: [(&str, Change); 4] = [
            ("address", |request| request.address = "-x".into()),
            ("user", |request| request.user.clear()),
            ("fingerprint", |request| request.fingerprint = None),
            ("fingerprint", |request| request.fingerprint = Some("aa".into())),
        ];
        for (field, change) in wrong {
            let error = checked(&request(change), PowerControlKind::Redfish).unwrap_err();
            assert_eq!(error.data.field.as_deref(), Some(field));
        }
    }
}
