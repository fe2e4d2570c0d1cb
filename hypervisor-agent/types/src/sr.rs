//! Storage repositories.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{SrId, VdiId};

use crate::VdiFacts;

/// What an SR is made of, as an administrator says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SrSpec {
    /// A folder of the host, by its absolute path.
    Folder { path: String },
    /// A folder that an NFS server exports; the agent mounts it.
    Nfs {
        server: String,
        export: String,
        /// For `mount -o`, beside ours.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        options: String,
    },
    /// A thin pool of LVM, on one host: made of empty disks, or one that is there.
    LvmThin {
        /// By their paths, such as `/dev/disk/by-id/…`. None: the pool is there.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        disks: Vec<String>,
        /// One that is there, as `GROUP/POOL`. Empty: it is made of the disks.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pool: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SrSpecError {
    pub field: &'static str,
    pub problem: String,
}

impl SrSpec {
    /// Refuses what no host could attach, and what would say more to `mount` than it should.
    pub fn check(&self) -> Result<(), SrSpecError> {
        let wrong = |field, problem: &str| Err(SrSpecError { field, problem: problem.to_owned() });
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.starts_with('-');
        let absolute = |path: &str| {
            path.starts_with('/') && !path.split('/').any(|part| part == "..") && !path.contains('\0')
        };
        match self {
            Self::Folder { path } if !absolute(path) => {
                wrong("path", "give an absolute path, without \"..\"")
            }
            Self::Folder { path }
                if ["/", "/boot", "/dev", "/etc", "/proc", "/sys", "/usr"]
                    .contains(&path.trim_end_matches('/'))
                    || path.trim_end_matches('/').is_empty() =>
            {
                wrong("path", "is the system's; give a folder of its own")
            }
            Self::Nfs { server, .. }
                if server.is_empty() || !plain(server) || server.contains(['/', ',']) =>
            {
                wrong("server", "give the name or address of the NFS server")
            }
            Self::Nfs { export, .. } if !absolute(export) || !plain(export) => {
                wrong("export", "give the absolute path that the server exports")
            }
            Self::Nfs { options, .. } if !options.is_empty() && !plain(options) => {
                wrong("options", "give what `mount -o` takes, without spaces")
            }
            Self::LvmThin { disks, pool } if disks.is_empty() == pool.is_empty() => {
                wrong("disks", "give empty disks to make a pool of, or `pool` for one that is there")
            }
            Self::LvmThin { disks, .. }
                if disks.iter().any(|disk| {
                    !disk.starts_with("/dev/") || disk.ends_with('/') || !absolute(disk) || !plain(disk)
                }) =>
            {
                wrong("disks", "give paths under /dev, such as /dev/disk/by-id/…")
            }
            Self::LvmThin { pool, .. } if !pool.is_empty() && !is_pool(pool) => {
                wrong("pool", "give a thin pool as `lvs` shows it: GROUP/POOL")
            }
            Self::Folder { .. } | Self::Nfs { .. } | Self::LvmThin { .. } => Ok(()),
        }
    }

    /// Several hosts can have it.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Nfs { .. })
    }
}

/// Names of LVM (lvm(8), Valid names): so written, they are no option and no end of one to any program.
fn is_pool(text: &str) -> bool {
    let name = |name: &str| {
        (1..=100).contains(&name.len())
            && !name.starts_with('-')
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte))
    };
    text.split_once('/').is_some_and(|(group, pool)| name(group) && name(pool))
}

impl std::fmt::Display for SrSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder { path } => f.write_str(path),
            Self::Nfs { server, export, .. } => write!(f, "{server}:{export}"),
            Self::LvmThin { disks, pool } if pool.is_empty() => f.write_str(&disks.join(" ")),
            Self::LvmThin { pool, .. } => f.write_str(pool),
        }
    }
}

/// Bytes of an SR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SrSpace {
    /// All there is.
    pub total: u64,
    /// What may still be written.
    pub free: u64,
    /// What VDIs take now; blocks that several share are counted for each.
    pub physical: u64,
    /// What VDIs may grow to.
    pub promised: u64,
}

/// Something in an SR that is no VDI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOver {
    pub name: String,
    pub bytes: u64,
    /// Since when nobody has written it, in seconds.
    pub idle_s: u64,
}

/// A VDI that is there and cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DamagedVdi {
    pub vdi: VdiId,
    pub problem: String,
}

/// An SR as its host finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SrFacts {
    pub sr: SrId,
    /// Snapshots and clones share blocks: at once, whatever the size. Otherwise they are copies.
    pub copy_on_write: bool,
    pub space: SrSpace,
    pub vdis: Vec<VdiFacts>,
    pub left_overs: Vec<LeftOver>,
    pub damaged: Vec<DamagedVdi>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_host_can_attach_is_refused() {
        let folder = |path: &str| SrSpec::Folder { path: path.to_owned() };
        let nfs = |server: &str, export: &str, options: &str| SrSpec::Nfs {
            server: server.to_owned(),
            export: export.to_owned(),
            options: options.to_owned(),
        };
        let thin = |disks: &[&str], pool: &str| SrSpec::LvmThin {
            disks: disks.iter().map(|disk| (*disk).to_owned()).collect(),
            pool: pool.to_owned(),
        };
        for (spec, wrong) in [
            (folder("/srv/vms"), None),
            (folder("srv"), Some("path")),
            (folder("/srv/../etc"), Some("path")),
            (folder("/etc/"), Some("path")),
            (folder("/"), Some("path")),
            (nfs("nas", "/export/vms", ""), None),
            (nfs("10.0.0.9", "/export/vms", "vers=4.2,nconnect=4"), None),
            (nfs("", "/export", ""), Some("server")),
            (nfs("-onas", "/export", ""), Some("server")),
            (nfs("nas", "export", ""), Some("export")),
            (nfs("nas", "/export", "a b"), Some("options")),
            (thin(&["/dev/sdb", "/dev/disk/by-id/wwn-0x5000"], ""), None),
            (thin(&[], "vg-1/data"), None),
            (thin(&[], ""), Some("disks")),
            (thin(&["/dev/sdb"], "vg/data"), Some("disks")),
            (thin(&["sdb"], ""), Some("disks")),
            (thin(&["/dev/../etc/passwd"], ""), Some("disks")),
            (thin(&["/dev/sdb --yes"], ""), Some("disks")),
            (thin(&[], "data"), Some("pool")),
            (thin(&[], "vg/-data"), Some("pool")),
            (thin(&[], "vg/a\" || lv_name!=\""), Some("pool")),
            (thin(&[], "vg/data/more"), Some("pool")),
        ] {
            assert_eq!(spec.check().err().map(|error| error.field), wrong, "{spec}");
        }
    }
}
