//! The folder of a host, which one process at a time may run it from, and the way into a host that another one runs.
//!
//! What always holds: who runs a host holds the lock of its folder, so a lock that can be had means that nobody does.

use std::fs::File;
use std::path::Path;

use crate::error::{Doing, LabError};
use crate::paths::LabPaths;
use crate::record::HostRecord;
use crate::ssh::Shell;

/// The way into a host that another process runs.
pub fn attach(paths: &LabPaths, name: &str) -> Result<Shell, LabError> {
    Ok(shell(paths, name, &running(paths, name)?))
}

/// As [`crate::LabHost::agent_settings`], of a host that another process runs.
pub fn agent_settings(paths: &LabPaths, name: &str) -> Result<String, LabError> {
    Ok(running(paths, name)?.agent_settings())
}

fn running(paths: &LabPaths, name: &str) -> Result<HostRecord, LabError> {
    check_name(name)?;
    let dir = paths.host(name);
    let not_running = || LabError::NotRunning { name: name.to_owned() };
    if !dir.is_dir() || take_lock(&dir, name).is_ok() {
        return Err(not_running());
    }
    HostRecord::load(&dir).ok_or_else(not_running)
}

pub(crate) fn shell(paths: &LabPaths, name: &str, record: &HostRecord) -> Shell {
    Shell {
        name: name.to_owned(),
        port: record.ssh_port,
        key: paths.key(),
        control: record.sockets.join("ssh"),
    }
}

/// Held as long as the file is open; the kernel lets go when the process dies.
pub(crate) fn take_lock(dir: &Path, name: &str) -> Result<File, LabError> {
    let path = dir.join("lock");
    let file = File::create(&path).doing(|| format!("could not create {}", path.display()))?;
    file.try_lock().map_err(|_| LabError::Running { name: name.to_owned() })?;
    Ok(file)
}

pub(crate) fn check_name(name: &str) -> Result<(), LabError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if (1..=20).contains(&name.len()) && name.chars().all(good) && !name.starts_with('-') {
        return Ok(());
    }
    Err(LabError::BadName(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_host_names() {
        for (name, good) in
            [("xen1", true), ("my-host", true), ("", false), ("../x", false), ("a b", false), ("-x", false)]
        {
            assert_eq!(check_name(name).is_ok(), good, "{name:?}");
        }
        assert!(check_name(&"x".repeat(21)).is_err());
    }

    #[test]
    fn a_host_is_attached_to_only_while_somebody_runs_it() {
        let base = tempfile::tempdir().unwrap();
        let paths = LabPaths::at(base.path());
        assert!(matches!(attach(&paths, "xen1"), Err(LabError::NotRunning { .. })));
        let dir = paths.host("xen1");
        std::fs::create_dir_all(&dir).unwrap();
        let record = HostRecord {
            rootfs: "abc".into(),
            number: 1,
            ssh_port: 2201,
            agent_port: 2202,
            upload_port: 2203,
            sockets: "/run/x".into(),
        };
        record.store(&dir).unwrap();
        assert!(matches!(attach(&paths, "xen1"), Err(LabError::NotRunning { .. })));
        let lock = take_lock(&dir, "xen1").unwrap();
        assert!(matches!(take_lock(&dir, "xen1"), Err(LabError::Running { .. })));
        assert_eq!(attach(&paths, "xen1").unwrap().port, 2201);
        let settings = agent_settings(&paths, "xen1").unwrap();
        assert_eq!(settings, "advertise = \"127.0.0.1:2202\"\nuploads = \"0.0.0.0:2203\"\n");
        drop(lock);
        assert!(attach(&paths, "xen1").is_err());
    }
}
