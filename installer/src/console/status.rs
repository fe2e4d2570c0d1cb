//! What the console shows: gathered from files and systemd, so that it is true when the agent is not running, too.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use xenith_common_pki::Fingerprint;

use crate::boot_state::{Boot, BootState, ESP, RECORD, Record};
use crate::plan::BRIDGE;

const STATE: &str = "/var/lib/xenith";
const TOKEN: &str = "/etc/xenith/join-token";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub name: String,
    pub address: Option<String>,
    pub enrolment: Enrolment,
    pub agent: String,
    pub xen: Xen,
    pub load: String,
    pub boot: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolment {
    Joined {
        host: String,
        fingerprint: String,
    },
    /// There is a token, and the agent has not spent it.
    Joining,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Xen {
    Running,
    Missing,
}

impl Status {
    /// Looks at this host.
    #[must_use]
    pub fn gather() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            name: read("/proc/sys/kernel/hostname"),
            address: crate::live::address_of(BRIDGE),
            enrolment: enrolment(Path::new(STATE), Path::new(TOKEN)),
            agent: agent(),
            xen: if read("/sys/hypervisor/type") == "xen" { Xen::Running } else { Xen::Missing },
            load: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            boot: boot(),
        }
    }
}

fn enrolment(state: &Path, token: &Path) -> Enrolment {
    if let Ok(text) = fs::read(state.join("identity.json"))
        && let Ok(value) = serde_json::from_slice::<serde_json::Value>(&text)
    {
        let host = value["host"].as_str().unwrap_or("?").to_owned();
        let pem = value["certificate_pem"].as_str().unwrap_or_default();
        let fingerprint = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_or_else(|_| "?".to_owned(), |certificate| Fingerprint::of(&certificate).to_string());
        return Enrolment::Joined { host, fingerprint };
    }
    if token.exists() { Enrolment::Joining } else { Enrolment::No }
}

/// What systemd says of the agent, in words.
fn agent() -> String {
    let output = Command::new("systemctl")
        .args(["show", "xenith-agent", "--property=ActiveState,SubState,ExecMainStatus,StatusText"])
        .output();
    output.map_or_else(
        |error| format!("unknown ({error})"),
        |output| words(&String::from_utf8_lossy(&output.stdout)),
    )
}

fn words(show: &str) -> String {
    let value = |name: &str| {
        show.lines()
            .find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
            .unwrap_or("")
    };
    match (value("ActiveState"), value("SubState"), value("ExecMainStatus")) {
        ("active", ..) => "running".to_owned(),
        ("activating", "auto-restart", status) => format!("restarting (last status {status})"),
        // Of the agent's own statuses: somebody has to do something first.
        (_, _, "2") => {
            "waits for somebody: the token was refused, or a setting is wrong (see the logs)".to_owned()
        }
        (_, _, "3") => "ended: this is not Xen".to_owned(),
        (state, _, status) => format!("{state} (status {status})"),
    }
}

fn boot() -> String {
    let look = || {
        let record = Record::load(Path::new(RECORD))?;
        let slot = record.running(&fs::read_to_string("/proc/cmdline").unwrap_or_default())?;
        let state = BootState::read(Path::new(ESP))?;
        Ok::<_, crate::boot_state::BootStateError>((slot, state.judge(slot)))
    };
    match look() {
        Ok((slot, Boot::Ordinary)) => format!("slot {}", slot.as_str()),
        Ok((slot, Boot::OnTrial)) => format!("slot {}, on trial", slot.as_str()),
        Ok((slot, Boot::ByHand)) => format!("slot {}, chosen by hand", slot.as_str()),
        Ok((slot, Boot::FellBack { from })) => {
            format!("slot {}, because slot {} did not come up", slot.as_str(), from.as_str())
        }
        Err(error) => error.to_string(),
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Xenith {}  host {}", env!("CARGO_PKG_VERSION"), self.name)?;
        writeln!(f, "  address      {}", self.address.as_deref().unwrap_or("none: see `n`"))?;
        match &self.enrolment {
            Enrolment::Joined { host, fingerprint } => {
                writeln!(f, "  enrolment    joined as {host}")?;
                writeln!(f, "  certificate  {fingerprint}")?;
            }
            Enrolment::Joining => writeln!(f, "  enrolment    has a token, not joined yet")?,
            Enrolment::No => writeln!(f, "  enrolment    not joined; `xenith host add` prints a token")?,
        }
        writeln!(f, "  agent        {}", self.agent)?;
        let xen = match self.xen {
            Xen::Running => "running",
            Xen::Missing => "NOT RUNNING: this machine started Linux without Xen",
        };
        writeln!(f, "  Xen          {xen}")?;
        writeln!(f, "  system       {}", self.boot)?;
        write!(f, "  load         {}", self.load)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enrolment_is_what_the_files_say() {
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("join-token");
        assert_eq!(enrolment(dir.path(), &token), Enrolment::No);
        fs::write(&token, "xenith-join:…").unwrap();
        assert_eq!(enrolment(dir.path(), &token), Enrolment::Joining);
        fs::write(dir.path().join("identity.json"), r#"{"host":"host-1","certificate_pem":"none"}"#).unwrap();
        let joined = Enrolment::Joined { host: "host-1".into(), fingerprint: "?".into() };
        assert_eq!(enrolment(dir.path(), &token), joined);
    }

    #[test]
    fn systemds_words_become_ours() {
        for (show, said) in [
            ("ActiveState=active\nSubState=running\nExecMainStatus=0\n", "running"),
            ("ActiveState=failed\nSubState=failed\nExecMainStatus=2\n", "waits for somebody"),
            ("ActiveState=failed\nSubState=failed\nExecMainStatus=3\n", "not Xen"),
            (
                "ActiveState=activating\nSubState=auto-restart\nExecMainStatus=1\n",
                "restarting (last status 1)",
            ),
            ("", " (status )"),
        ] {
            assert!(words(show).contains(said), "{show}: {}", words(show));
        }
    }

    #[test]
    fn a_host_that_did_not_join_says_what_to_do() {
        let status = Status {
            name: "xen1".into(),
            address: None,
            enrolment: Enrolment::No,
            agent: "running".into(),
            xen: Xen::Missing,
            load: "0.1 0.2 0.3".into(),
            boot: "slot a".into(),
        };
        let text = status.to_string();
        for part in ["host xen1", "none: see `n`", "xenith host add", "NOT RUNNING", "slot a"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
