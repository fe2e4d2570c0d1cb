//! SRs.

use xenith_hypervisor_agent_types::{DamagedVdi, LeftOver, SrFacts, SrSpace, SrSpec, VdiFacts};

use super::fields::{asked, id};
use crate::wire::sr_spec::Kind;
use crate::{WireError, wire};

impl From<&SrSpec> for wire::SrSpec {
    fn from(spec: &SrSpec) -> Self {
        let kind = match spec.clone() {
            SrSpec::Folder { path } => Kind::Folder(wire::FolderSr { path }),
            SrSpec::Nfs { server, export, options } => Kind::Nfs(wire::NfsSr { server, export, options }),
            SrSpec::LvmThin { disks, pool } => Kind::LvmThin(wire::LvmThinSr { disks, pool }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::SrSpec> for SrSpec {
    type Error = WireError;

    fn try_from(spec: wire::SrSpec) -> Result<Self, WireError> {
        let spec = match asked("kind", "kind of SR", spec.kind)? {
            Kind::Folder(wire::FolderSr { path }) => Self::Folder { path },
            Kind::Nfs(wire::NfsSr { server, export, options }) => Self::Nfs { server, export, options },
            Kind::LvmThin(wire::LvmThinSr { disks, pool }) => Self::LvmThin { disks, pool },
        };
        spec.check().map_err(|error| WireError::new(error.field, error.problem))?;
        Ok(spec)
    }
}

impl From<&SrFacts> for wire::SrFacts {
    fn from(sr: &SrFacts) -> Self {
        let left_over = |left: &LeftOver| wire::LeftOver {
            name: left.name.clone(),
            bytes: left.bytes,
            idle_s: left.idle_s,
        };
        let damaged = |damaged: &DamagedVdi| wire::DamagedVdi {
            vdi_id: damaged.vdi.to_string(),
            problem: damaged.problem.clone(),
        };
        Self {
            sr_id: sr.sr.to_string(),
            copy_on_write: sr.copy_on_write,
            total: sr.space.total,
            free: sr.space.free,
            physical: sr.space.physical,
            promised: sr.space.promised,
            vdis: sr.vdis.iter().map(Into::into).collect(),
            left_overs: sr.left_overs.iter().map(left_over).collect(),
            damaged: sr.damaged.iter().map(damaged).collect(),
        }
    }
}

impl TryFrom<wire::SrFacts> for SrFacts {
    type Error = WireError;

    fn try_from(sr: wire::SrFacts) -> Result<Self, WireError> {
        let left_over =
            |left: wire::LeftOver| LeftOver { name: left.name, bytes: left.bytes, idle_s: left.idle_s };
        let damaged = |damaged: wire::DamagedVdi| {
            Ok::<_, WireError>(DamagedVdi { vdi: id("vdi_id", &damaged.vdi_id)?, problem: damaged.problem })
        };
        Ok(Self {
            sr: id("sr_id", &sr.sr_id)?,
            copy_on_write: sr.copy_on_write,
            space: SrSpace { total: sr.total, free: sr.free, physical: sr.physical, promised: sr.promised },
            vdis: sr.vdis.into_iter().map(VdiFacts::try_from).collect::<Result<_, _>>()?,
            left_overs: sr.left_overs.into_iter().map(left_over).collect(),
            damaged: sr.damaged.into_iter().map(damaged).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_as_it_was_and_is_held_against_its_rules() {
        let kinds = [
            SrSpec::Folder { path: "/srv/vms".to_owned() },
            SrSpec::Nfs { server: "nas".to_owned(), export: "/vms".to_owned(), options: String::new() },
            SrSpec::LvmThin { disks: vec!["/dev/sdb".to_owned()], pool: String::new() },
            SrSpec::LvmThin { disks: Vec::new(), pool: "vg/data".to_owned() },
        ];
        for spec in kinds {
            assert_eq!(SrSpec::try_from(wire::SrSpec::from(&spec)).unwrap(), spec);
        }
        let wrong = wire::SrSpec::from(&SrSpec::LvmThin { disks: Vec::new(), pool: "data".to_owned() });
        assert!(SrSpec::try_from(wrong).unwrap_err().to_string().contains("pool"));
    }
}
