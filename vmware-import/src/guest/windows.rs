//! Windows: what can be done to its disk before the first boot.
//!
//! It boots from the emulated IDE disk and NIC that every HVM guest has; the drivers for these are Windows' own, but
//! not started at boot after an installation on another controller. That is a value in the registry. The Xen PV
//! drivers come from an ISO of the administrator, at the first boot: the setup mechanism of Windows itself runs a
//! command once, before anybody signs in, so nothing of ours has to be installed as a service.

use super::{Change, Family, Files, Preparation};

const SYSTEM: &str = "/Windows/System32/config/SYSTEM";
const SCRIPT: &str = "/xenith/first-boot.cmd";

pub fn is_root(files: &dyn Files) -> bool {
    files.exists(SYSTEM)
}

/// By the first bytes of `hiberfil.sys`: a Windows that runs, or was shut down, has others there.
pub fn is_hibernated(head: &[u8]) -> bool {
    head.starts_with(b"hibr") || head.starts_with(b"HIBR")
}

/// Drivers of the machine that a guest finds here, started with the kernel.
const DRIVERS: &[&str] = &["atapi", "intelide", "pciide"];

pub fn prepare(files: &dyn Files) -> Preparation {
    let mut warnings = vec![
        "static addresses of a NIC go with its driver: check them when the PV drivers are installed"
            .to_owned(),
    ];
    if files.head("/hiberfil.sys").is_some_and(|bytes| is_hibernated(&bytes)) {
        warnings.push(
            "Windows is hibernated or was shut down with fast startup: nothing can be prepared; start it at its \
             source, shut it down with `shutdown /s /t 0`, and copy again"
                .to_owned(),
        );
        return Preparation {
            os: "Windows".to_owned(),
            family: Family::Windows,
            changes: Vec::new(),
            warnings,
        };
    }
    let start = |driver: &&str| {
        let key = format!("CurrentControlSet\\Services\\{driver}");
        (key, "Start".to_owned(), "dword:00000000".to_owned())
    };
    // Since Windows 8, setup leaves a second word on drivers that it did not need, and that one wins. Not every driver has it.
    let over = |driver: &&str| {
        let key = format!("CurrentControlSet\\Services\\{driver}\\StartOverride");
        (key, "0".to_owned(), "dword:00000000".to_owned())
    };
    let mut values: Vec<(String, String, String)> =
        DRIVERS.iter().map(start).chain(DRIVERS.iter().map(over)).collect();
    let setup = |name: &str, value: &str| ("Setup".to_owned(), name.to_owned(), value.to_owned());
    values.push(setup("SetupType", "dword:00000002"));
    values.push(setup("CmdLine", "\"cmd.exe /c C:\\\\xenith\\\\first-boot.cmd\""));
    let changes = vec![
        Change::Write {
            path: SCRIPT.to_owned(),
            text: script(),
            mode: 0o644,
            why: "the first boot".to_owned(),
        },
        Change::Registry {
            hive: SYSTEM.to_owned(),
            values,
            why: "boots from an emulated disk, and runs the first-boot step once".to_owned(),
        },
    ];
    Preparation { os: "Windows".to_owned(), family: Family::Windows, changes, warnings }
}

/// Looks for the drivers on every CD; without them Windows goes on with emulated devices.
fn script() -> String {
    [
        "@echo off",
        "reg add HKLM\\SYSTEM\\Setup /v SetupType /t REG_DWORD /d 0 /f",
        "reg add HKLM\\SYSTEM\\Setup /v CmdLine /t REG_SZ /d \"\" /f",
        "for %%d in (D E F G H I J K L M N O P Q R S T U V W X Y Z) do (",
        "  for %%f in (%%d:\\xenbus\\x64\\dpinst.exe %%d:\\xenvbd\\x64\\dpinst.exe %%d:\\xenvif\\x64\\dpinst.exe %%d:\\xennet\\x64\\dpinst.exe %%d:\\xeniface\\x64\\dpinst.exe) do (",
        "    if exist %%f %%f /sw /q",
        "  )",
        "  for %%f in (%%d:\\*.msi) do msiexec /i %%f /qn /norestart",
        ")",
        "sc query VMTools >nul 2>&1 && wmic product where \"name='VMware Tools'\" call uninstall /nointeractive",
        "shutdown /r /t 5",
        "",
    ]
    .join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::super::TableFiles;
    use super::*;

    #[test]
    fn it_boots_from_emulated_disks_and_is_left_alone_when_hibernated() {
        let mut files = TableFiles::of(&[(SYSTEM, "regf")]);
        let plan = prepare(&files);
        assert_eq!(plan.changes.len(), 2);
        let Change::Registry { values, .. } = &plan.changes[1] else { panic!("{plan:?}") };
        assert!(values.iter().any(|(key, name, value)| {
            key.ends_with("Services\\intelide") && name == "Start" && value == "dword:00000000"
        }));
        let Change::Write { text, .. } = &plan.changes[0] else { panic!("{plan:?}") };
        assert!(text.lines().nth(1).unwrap().contains("SetupType"), "it must not run twice: first of all");
        files.0.insert("/hiberfil.sys".to_owned(), b"hibr....".to_vec());
        let plan = prepare(&files);
        assert!(
            plan.changes.is_empty() && plan.warnings.iter().any(|text| text.contains("hibernated")),
            "{plan:?}"
        );
    }
}
