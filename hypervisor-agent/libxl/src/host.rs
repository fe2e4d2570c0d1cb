//! What the Linux of the control domain says about the machine: its name, CPU model and bridges.

use std::fs;
use std::path::Path;

use xenith_hypervisor_agent_types::Bridge;

/// The name of this machine.
pub fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The first CPU's model, as the kernel shows it.
pub fn cpu_model() -> String {
    parse_cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn parse_cpu_model(cpuinfo: &str) -> String {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == "model name")
        .map_or_else(|| "unknown".to_owned(), |(_, model)| model.trim().to_owned())
}

/// All bridges, by name.
pub fn bridges() -> Vec<Bridge> {
    bridges_under(Path::new("/sys/class/net"))
}

/// Whether NICs can be plugged into an interface of this name.
pub fn is_bridge(name: &str) -> bool {
    // A name with a slash would leave the folder.
    !name.contains('/') && Path::new("/sys/class/net").join(name).join("bridge").is_dir()
}

fn bridges_under(folder: &Path) -> Vec<Bridge> {
    let mut bridges: Vec<Bridge> = names(folder)
        .into_iter()
        .filter(|name| folder.join(name).join("bridge").is_dir())
        .map(|name| Bridge {
            uplinks: names(&folder.join(&name).join("brif"))
                .into_iter()
                .filter(|port| is_uplink(port))
                .collect(),
            mtu: read_number(&folder.join(&name).join("mtu")),
            name,
        })
        .collect();
    bridges.sort();
    bridges
}

/// Guests' interfaces are named `vif<domid>.<devid>`, with `-emu` for the emulated twin, or `tap…`.
fn is_uplink(port: &str) -> bool {
    !port.starts_with("vif") && !port.starts_with("tap")
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn read_number(path: &Path) -> u32 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_and_their_uplinks() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["xenbr0/bridge", "xenbr0/brif/eth0", "xenbr0/brif/vif3.0", "xenbr0/brif/tap7", "eth0"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("xenbr0/mtu"), "9000\n").unwrap();
        let expected = Bridge { name: "xenbr0".into(), uplinks: vec!["eth0".into()], mtu: 9000 };
        assert_eq!(bridges_under(folder.path()), [expected]);
        assert_eq!(bridges_under(Path::new("/nonexistent")), []);
    }

    #[test]
    fn cpu_models() {
        assert_eq!(parse_cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2: GHz\n"), "Some CPU @ 2: GHz");
        assert_eq!(parse_cpu_model(""), "unknown");
    }
}
