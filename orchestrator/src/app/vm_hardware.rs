//! What a VM has besides the usual, as people name it; and what is in its CD drive.

use std::collections::BTreeMap;

use xenith_common_ids::{PoolId, VdiId};
use xenith_hypervisor_agent_types::{CdDrive, Hardware, PciAddress};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_types::sr::SrContent;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vm::NewHardware;
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use super::begin::free;
use super::find::administers;
use super::vm::Update;
use crate::placement::NeededSr;

const MOST_CUSTOM: usize = 64;
const LONGEST_KEY: usize = 64;
const LONGEST_VALUE: usize = 1024;

/// Refuses custom fields that would make a record large.
pub(super) fn checked_custom(custom: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if custom.len() > MOST_CUSTOM {
        return Err(ApiError::invalid("custom", format_args!("at most {MOST_CUSTOM} fields")));
    }
    for (key, value) in custom {
        if key.trim().is_empty() || key.len() > LONGEST_KEY || key.contains(char::is_control) {
            return Err(ApiError::invalid(
                "custom",
                format_args!("{key:?}: use 1 to {LONGEST_KEY} characters"),
            ));
        }
        if value.len() > LONGEST_VALUE {
            return Err(ApiError::invalid(
                format!("custom.{key}"),
                format_args!("at most {LONGEST_VALUE} bytes"),
            ));
        }
    }
    Ok(())
}

/// What this Xen's tools have nothing for is refused here, with what to do instead.
fn offered(wanted: &NewHardware) -> Result<(), ApiError> {
    let refuse = |field, why: &str| Err(ApiError::invalid(format!("hardware.{field}"), why));
    if wanted.tpm {
        return refuse(
            "tpm",
            "Xen up to 4.21 emulates no TPM for hvm guests; Windows 11 needs its check switched off",
        );
    }
    if wanted.secure_boot {
        return refuse(
            "secure_boot",
            "the UEFI firmware of Xen's guests keeps no variables, and so no keys; without them there is no Secure Boot",
        );
    }
    if !wanted.usb.is_empty() {
        return refuse(
            "usb",
            "single USB devices cannot be given to guests; give the PCI device that is the USB controller \
             (hardware.pci; host.hardware lists them)",
        );
    }
    Ok(())
}

/// Refuses PCI devices that the VM has not had yet to who does not administer the pool. The host's driver loses such a
/// device, whatever depends on it, and the guest has all that is on it: it may be what the disks of others are on.
pub(super) fn may_give_devices(
    call: &Call,
    pool: PoolId,
    (had, has): (&[PciAddress], &[PciAddress]),
) -> Result<(), ApiError> {
    match has.iter().all(|device| had.contains(device)) {
        true => Ok(()),
        false => administers(call, pool),
    }
}

impl App {
    /// What is meant, and the SR of the ISO in the drive. `had` is what the VM has now.
    pub(super) async fn hardware(
        &self,
        call: &Call,
        wanted: &NewHardware,
        had: &Hardware,
    ) -> Result<(Hardware, Option<NeededSr>), ApiError> {
        offered(wanted)?;
        let (mut cd, mut sr) = (None, None);
        if let Some(drive) = &wanted.cd {
            let mut medium = None;
            if let Some(iso) = &drive.iso {
                let there = had.cd.and_then(|drive| drive.vdi);
                let (vdi, on) = self.medium(call, ("hardware.cd.iso", iso), there).await?;
                medium = Some(vdi);
                sr = Some(on);
            }
            cd = Some(CdDrive { vdi: medium });
        }
        let hardware = Hardware {
            cd,
            video: wanted.video,
            cpu: wanted.cpu.clone(),
            pci: wanted.pci.clone(),
            guest_agent: wanted.guest_agent,
        };
        Ok((hardware, sr))
    }

    /// A VDI that can be in CD drives, and its SR. `there` is what is in this one.
    async fn medium(
        &self,
        call: &Call,
        (field, reference): (&str, &str),
        there: Option<VdiId>,
    ) -> Result<(VdiId, NeededSr), ApiError> {
        let found = self.find_vdi(call, reference).await?;
        let sr = self.sr_record(found.value.sr).await?;
        // What is in a library is for all who see it. What is in another VDI is for who may do more than look at that.
        if there != Some(found.key) && sr.is_none_or(|sr| sr.content != SrContent::Iso) {
            self.may_provision(call, &found.value)?;
        }
        super::vdi::whole(&found)?;
        if let Some(vm) = found.value.attached_to {
            let problem = format_args!("{reference:?} is a disk of VM {vm}, not an ISO");
            return Err(ApiError::invalid(field, problem));
        }
        Ok((found.key, self.reach_of(&found.value).await?))
    }

    pub(super) async fn insert_into_drive(
        &self,
        call: &Call,
        vm: &str,
        iso: Option<&str>,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, vm, Permission::Operate).await?;
        free(&found.value)?;
        let name = found.value.spec.name.clone();
        if found.value.spec.hardware.cd.is_none() {
            let message = format_args!("{name} has no CD drive; give it one: xenith vm update {name} --cd");
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let (method, title, medium) = match iso {
            Some(iso) => {
                let (vdi, sr) = self.medium(call, ("iso", iso), None).await?;
                if !sr.hosts.contains(&found.value.host) {
                    return Err(ApiError::invalid("iso", "is in an SR that the VM's host does not have"));
                }
                ("vm.insert_cd", format!("Put {iso} into the CD drive of {name}"), Some(vdi))
            }
            None => ("vm.eject_cd", format!("Empty the CD drive of {name}"), None),
        };
        let mut new = found.value.clone();
        new.spec.hardware.cd = Some(CdDrive { vdi: medium });
        self.change(call, Update { record: found, new, new_vdis: vec![], method, title }).await
    }

    /// A VM that has this VDI in its CD drive.
    pub(super) fn drive_with(&self, vdi: VdiId) -> Option<String> {
        let hosts = self.views.hosts();
        let vms = hosts.into_iter().flat_map(|(host, _)| self.views.vms_of(host));
        vms.map(|(_, vm)| vm).find(|vm| vm.medium() == Some(vdi)).map(|vm| vm.name.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xen_has_not_is_refused_with_a_way_out() {
        let plain = NewHardware::default;
        for (wanted, field, words) in [
            (NewHardware { tpm: true, ..plain() }, "hardware.tpm", "emulates no TPM"),
            (NewHardware { secure_boot: true, ..plain() }, "hardware.secure_boot", "keeps no variables"),
            (NewHardware { usb: vec!["1:2".into()], ..plain() }, "hardware.usb", "USB controller"),
        ] {
            let error = offered(&wanted).unwrap_err();
            assert_eq!(error.data.field.as_deref(), Some(field));
            assert!(error.message.contains(words), "{error}");
        }
        offered(&plain()).unwrap();
    }

    #[test]
    fn custom_fields_stay_small() {
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert!(checked_custom(&one("owner", "ann")).is_ok());
        for bad in [one("", "x"), one(&"k".repeat(65), "x"), one("k", &"x".repeat(1025)), one("a\nb", "x")] {
            assert!(checked_custom(&bad).is_err(), "{bad:?}");
        }
        let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(checked_custom(&many).is_err());
    }
}
