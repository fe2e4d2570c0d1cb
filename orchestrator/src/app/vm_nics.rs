//! What may pass the NICs of a VM. It is no part of the definition: it changes at once, and the VM is not told.

use xenith_common_ids::VmId;
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::NicSpec;
use xenith_hypervisor_agent_types::filter::{RateMbit, VifLock, VifSettings};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::network::{NicChange, NicSettings};
use xenith_orchestrator_types::vm::VmRef;
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use crate::errors::store_error;
use crate::model::VmRecord;
use crate::networking::wanted::Vifs;

/// One line of rules has them all.
const MOST_ADDRESSES: usize = 64;

impl App {
    pub(super) async fn nics_of(&self, call: &Call, request: &VmRef) -> Result<Vec<NicSettings>, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::View).await?;
        let written = self.db.vifs.get(&found.key).await.map_err(|error| store_error(&error))?;
        let written = written.map(|record| record.value).unwrap_or_default();
        self.shown_nics(&found.value, &written).await
    }

    async fn shown_nics(&self, vm: &VmRecord, written: &Vifs) -> Result<Vec<NicSettings>, ApiError> {
        let (groups, _) = self.db.security_groups.all().await.map_err(|error| store_error(&error))?;
        let of_it = groups.into_iter().map(|record| record.value);
        let of_it = of_it.filter(|group| group.pool == vm.pool && vm.tags.contains(&group.tag));
        let names: Vec<String> = of_it.map(|group| group.name).collect();
        let shown = vm.spec.nics.iter().map(|nic| NicSettings {
            mac: nic.mac,
            network: nic.network,
            settings: written.get(&nic.mac).cloned().unwrap_or_default(),
            security_groups: names.clone(),
        });
        Ok(shown.collect())
    }

    pub(super) async fn change_nic(&self, call: &Call, request: NicChange) -> Result<NicSettings, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Administer).await?;
        let mac = request.mac;
        if !found.value.spec.nics.iter().any(|nic| nic.mac == mac) {
            let vm = &found.value.spec.name;
            let problem = format_args!("{vm} has no NIC with this address; `xenith vm nics {vm}` lists them");
            return Err(ApiError::invalid("mac", problem));
        }
        let before = self.db.vifs.get(&found.key).await.map_err(|error| store_error(&error))?;
        let mut vifs = before.as_ref().map(|record| record.value.clone()).unwrap_or_default();
        let settings = changed(vifs.remove(&mac).unwrap_or_default(), request)?;
        self.addresses_are_free(call, &found, (mac, &settings)).await?;
        if settings != VifSettings::default() {
            vifs.insert(mac, settings);
        }
        let written = match &before {
            Some(record) => self.db.vifs.update(record, &vifs).await,
            None => self.db.vifs.insert(&found.key, &vifs).await,
        };
        written.map_err(|error| store_error(&error))?;
        self.networking.wake();
        let shown = self.shown_nics(&found.value, &vifs).await?;
        let one = shown.into_iter().find(|nic| nic.mac == mac);
        one.ok_or_else(|| ApiError::internal("the NIC was there a moment ago"))
    }

    /// One address, one NIC: in the pool nobody is allowed what somebody else has.
    async fn addresses_are_free(
        &self,
        call: &Call,
        found: &Record<VmId, VmRecord>,
        (mac, settings): (MacAddr, &VifSettings),
    ) -> Result<(), ApiError> {
        if settings.addresses.is_empty() {
            return Ok(());
        }
        let network =
            |nics: &[NicSpec], mac: MacAddr| nics.iter().find(|nic| nic.mac == mac).map(|nic| nic.network);
        let ours = network(&found.value.spec.nics, mac);
        let (all, _) = self.db.vifs.all().await.map_err(|error| store_error(&error))?;
        for record in all {
            for (other, has) in record.value {
                let Some(twice) = has.addresses.intersection(&settings.addresses).next() else { continue };
                let same = record.key == found.key && other == mac;
                let vm = self.db.vms.get(&record.key).await.map_err(|error| store_error(&error))?;
                let Some(vm) = vm.filter(|_| !same) else { continue };
                if network(&vm.value.spec.nics, other) == ours && ours.is_some() {
                    // That it is taken has to be told; by whom is for who may see that VM.
                    let sees = call.caller.sight(Permission::View);
                    let whose = match sees.covers(Some(vm.value.pool), &vm.value.tags) {
                        true => format!("{other} of {}", vm.value.spec.name),
                        false => "another VM".to_owned(),
                    };
                    let mut error =
                        ApiError::invalid("addresses", format_args!("{twice} belongs to {whose}"));
                    error.data.reason = Reason::Conflict;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

fn changed(mut settings: VifSettings, request: NicChange) -> Result<VifSettings, ApiError> {
    let NicChange { lock, addresses, link, rate_mbit, .. } = request;
    settings.lock = lock.unwrap_or(settings.lock);
    settings.link = link.unwrap_or(settings.link);
    settings.addresses = addresses.unwrap_or(settings.addresses);
    settings.rate_mbit = match rate_mbit {
        None => settings.rate_mbit,
        Some(0) => None,
        Some(rate) => Some(RateMbit::try_from(rate).map_err(|error| ApiError::invalid("rate_mbit", error))?),
    };
    if settings.addresses.len() > MOST_ADDRESSES {
        return Err(ApiError::invalid("addresses", format_args!("give at most {MOST_ADDRESSES}")));
    }
    if settings.lock == VifLock::Addresses && settings.addresses.is_empty() {
        let problem = "name the guest's addresses, or it may send nothing; mac locks it to its MAC alone";
        return Err(ApiError::invalid("addresses", problem));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_stays() {
        let request = |json: serde_json::Value| {
            let mut whole = serde_json::json!({ "vm": "web-1", "mac": "00:16:3e:00:00:01" });
            whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
            serde_json::from_value::<NicChange>(whole).unwrap()
        };
        let json = serde_json::json!({ "lock": "addresses", "addresses": ["10.0.0.1"], "rate_mbit": 100 });
        let first = changed(VifSettings::default(), request(json)).unwrap();
        let second = changed(first.clone(), request(serde_json::json!({ "link": "down" }))).unwrap();
        assert_eq!(VifSettings { link: Default::default(), ..second }, first);
        let none = changed(first.clone(), request(serde_json::json!({ "rate_mbit": 0 }))).unwrap();
        assert_eq!(none.rate_mbit, None);
        for wrong in [serde_json::json!({ "addresses": [] }), serde_json::json!({ "rate_mbit": 400_001 })] {
            assert!(changed(first.clone(), request(wrong.clone())).is_err(), "{wrong}");
        }
    }
}
