//! What volumes are called, and which of several is a VDI. No IO.
//!
//! | name | what |
//! |---|---|
//! | `xenith_<id>` | the VDI or snapshot of that id |
//! | `xenith_<id>_next` | what it becomes: of a revert |
//! | `xenith_<id>_old` | what it was: the same |
//!
//! | tag | of | says |
//! |---|---|---|
//! | `xenith.sr.<id>` | the pool | it is that SR |
//! | `xenith.of.<id>` | a snapshot | of which VDI |
//! | `xenith.making` | a snapshot | it is one of several that are not all there yet |
//! | `xenith.going` | any | it is being deleted |
//!
//! What is called otherwise is somebody else's and is never touched. Every change is one command of LVM, which makes it
//! in one step; [`Parts`] says what is there between any two.

use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_types::VdiSize;

pub const MAKING: &str = "xenith.making";
pub const GOING: &str = "xenith.going";
const PREFIX: &str = "xenith_";

/// Which of the volumes of one VDI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Main,
    Next,
    Old,
}

impl Role {
    const fn ending(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Next => "_next",
            Self::Old => "_old",
        }
    }
}

/// The volume's name, without its group.
pub fn name(vdi: VdiId, role: Role) -> String {
    format!("{PREFIX}{vdi}{}", role.ending())
}

/// Whose volume it is; `None`: not ours.
pub fn parse_name(text: &str) -> Option<(VdiId, Role)> {
    let rest = text.strip_prefix(PREFIX)?;
    let (id, role) = match rest.split_once('_') {
        None => (rest, Role::Main),
        Some((id, "next")) => (id, Role::Next),
        Some((id, "old")) => (id, Role::Old),
        Some(_) => return None,
    };
    let vdi = id.parse().ok()?;
    // Other spellings of an id are somebody else's.
    (name(vdi, role) == text).then_some((vdi, role))
}

pub fn sr_tag(sr: SrId) -> String {
    format!("xenith.sr.{sr}")
}

/// Which SR a pool with these tags is.
pub fn sr_of(tags: &[String]) -> Option<&str> {
    tags.iter().find_map(|tag| tag.strip_prefix("xenith.sr."))
}

pub fn of_tag(vdi: VdiId) -> String {
    format!("xenith.of.{vdi}")
}

/// What device-mapper calls a volume: its hyphens are doubled, because one stands between the parts (lvm(8)).
pub fn dm_name(group: &str, volume: &str) -> String {
    format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--"))
}

/// A thin volume, as LVM lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    pub bytes: u64,
    pub tags: Vec<String>,
    /// By which the pool's metadata know it.
    pub thin_id: Option<u32>,
    /// In seconds since 1970, where LVM says it.
    pub made: Option<u64>,
}

impl Volume {
    pub fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|one| one == tag)
    }

    pub fn snapshot_of(&self) -> Option<VdiId> {
        self.tags.iter().find_map(|tag| tag.strip_prefix("xenith.of.")?.parse().ok())
    }

    pub fn size(&self) -> Option<VdiSize> {
        VdiSize::from_bytes(self.bytes).ok()
    }
}

/// The volumes that are there of one VDI.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    main: Option<Volume>,
    next: Option<Volume>,
    old: Option<Volume>,
}

impl Parts {
    pub fn add(&mut self, role: Role, volume: Volume) {
        let place = match role {
            Role::Main => &mut self.main,
            Role::Next => &mut self.next,
            Role::Old => &mut self.old,
        };
        *place = Some(volume);
    }

    /// The one that is the VDI. A revert renames the VDI away before it gives its name to what is next: in between, what
    /// is next is the VDI.
    pub fn vdi(&self) -> Option<&Volume> {
        match &self.main {
            Some(main) => (!main.has(MAKING) && !main.has(GOING)).then_some(main),
            None => self.next.as_ref(),
        }
    }

    /// Whether the VDI has another name than its own.
    pub const fn is_between_names(&self) -> bool {
        self.main.is_none() && self.next.is_some()
    }

    /// What a command that was ended has left, in the order in which it may be removed: were the main one removed before
    /// what is next, that would be taken for the VDI.
    pub fn rubbish(&self) -> Vec<&Volume> {
        let vdi = self.vdi();
        [&self.next, &self.old, &self.main]
            .into_iter()
            .flatten()
            .filter(|volume| Some(*volume) != vdi)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, tags: &[&str]) -> Volume {
        Volume {
            name: name.to_owned(),
            bytes: 1 << 20,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            thin_id: Some(1),
            made: None,
        }
    }

    #[test]
    fn names_are_ours_or_not() {
        let vdi = VdiId::new();
        for role in [Role::Main, Role::Next, Role::Old] {
            assert_eq!(parse_name(&name(vdi, role)), Some((vdi, role)));
        }
        for other in [
            "root".to_owned(),
            "xenith_".to_owned(),
            "xenith_data".to_owned(),
            format!("xenith_{}", vdi.to_string().replace('-', "")),
            format!("xenith_{vdi}_copy"),
            format!("{}_next", name(vdi, Role::Next)),
            vdi.to_string(),
        ] {
            assert_eq!(parse_name(&other), None, "{other}");
        }
        assert_eq!(dm_name("vg-1", "xenith_a-b_next"), "vg--1-xenith_a--b_next");
    }

    #[test]
    fn which_volume_is_the_vdi_at_any_moment() {
        type Case<'a> = (&'a str, &'a [(Role, &'a Volume)], Option<&'a str>, &'a [&'a str]);
        let (main, next, old) = (volume("main", &[]), volume("next", &[]), volume("old", &[]));
        let going = volume("going", &[GOING]);
        let table: &[Case<'_>] = &[
            ("nothing", &[], None, &[]),
            ("a VDI", &[(Role::Main, &main)], Some("main"), &[]),
            ("a revert has begun", &[(Role::Main, &main), (Role::Next, &next)], Some("main"), &["next"]),
            ("it is between the names", &[(Role::Next, &next), (Role::Old, &old)], Some("next"), &["old"]),
            ("it has what was before", &[(Role::Main, &main), (Role::Old, &old)], Some("main"), &["old"]),
            ("being deleted", &[(Role::Main, &going)], None, &["going"]),
            (
                "being deleted after a revert that was ended",
                &[(Role::Main, &going), (Role::Next, &next)],
                None,
                &["next", "going"],
            ),
            ("the last of it", &[(Role::Old, &old)], None, &["old"]),
        ];
        for (name, volumes, vdi, rubbish) in table {
            let mut parts = Parts::default();
            for (role, volume) in *volumes {
                parts.add(*role, (*volume).clone());
            }
            assert_eq!(parts.vdi().map(|volume| &*volume.name), *vdi, "{name}");
            let found: Vec<&str> = parts.rubbish().into_iter().map(|volume| &*volume.name).collect();
            assert_eq!(found, *rubbish, "{name}");
        }
    }
}
