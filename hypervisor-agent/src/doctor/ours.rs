//! What the agent itself needs: its folders, its port, its place in an installation.

use std::net::TcpListener;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;
use time::OffsetDateTime;
use xenith_common_pki::PeerCertificate;

use super::Check;
use crate::config::Config;
use crate::enrol::{self, EnrolError, Enrolment};
use crate::identity::Identity;
use crate::lock;

const GIB: u64 = 1 << 30;

pub(super) fn root() -> Check {
    if geteuid().is_root() {
        return Check::ok("user", "root");
    }
    Check::warn("user", format_args!("not root (uid {})", geteuid()))
        .because("the agent runs as root; some of what follows looks worse from here than it is")
        .fix("sudo xenith-agent doctor")
}

/// Room where we write, one check per folder.
pub(super) fn folders(config: &Config) -> [Check; 3] {
    // An image of a suspended VM is as large as its memory; a full journal stops every change.
    [
        room("state", &config.state, GIB, "the journal and the memory of suspended VMs are here"),
        room("storage", &config.storage, 10 * GIB, "the disks of VMs are here, thin: they grow"),
        room("boot", &config.boot, GIB / 4, "kernels and ramdisks for VMs are here"),
    ]
}

fn room(name: &'static str, folder: &Path, wanted: u64, why: &str) -> Check {
    // Not there yet: made at the first start, on the file system of what is there.
    let Some(there) = folder.ancestors().find(|path| path.is_dir()) else {
        return Check::fail(name, format_args!("{} is nowhere", folder.display()))
            .because(why)
            .fix("name another folder in the settings");
    };
    let shown = folder.display();
    let free = match statvfs(there) {
        Ok(stat) => stat.blocks_available().saturating_mul(stat.fragment_size()),
        Err(error) => {
            return Check::fail(name, format_args!("{shown}: {error}")).because(why).fix("mount it");
        }
    };
    let found = format!("{} MiB free in {shown}", free >> 20);
    let fix = "free some, or give the folder a file system of its own";
    match free {
        0..0x0400_0000 => Check::fail(name, found).because(why).fix(fix),
        free if free < wanted => Check::warn(name, found).because(why).fix(fix),
        _ => Check::ok(name, found),
    }
}

/// Whether we belong to an orchestrator, and until when.
pub(super) fn membership(config: &Config) -> Vec<Check> {
    let name = "joined";
    match enrol::peek(config) {
        Ok(Enrolment::Joined(identity)) => {
            let found = format!("as host {}", identity.host());
            vec![Check::ok(name, found), certificate(&identity, OffsetDateTime::now_utc())]
        }
        Ok(Enrolment::Token(token)) => vec![
            Check::warn(name, format_args!("not yet; there is a token for {}", token.address))
                .because("nobody commands this host before it has joined")
                .fix("systemctl start xenith-agent"),
        ],
        Err(error @ EnrolError::NoToken { .. }) => {
            vec![Check::fail(name, "no").because("nobody commands this host before it has joined").fix(error)]
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let found = format!("{error}{}", cause.unwrap_or_default());
            vec![Check::fail(name, found).because("nobody can command this host").fix("have it join anew")]
        }
    }
}

fn certificate(identity: &Identity, now: OffsetDateTime) -> Check {
    let name = "certificate";
    let why = "the orchestrator talks to nobody without a valid one";
    let read = identity.live.certificate().map(|leaf| PeerCertificate::read(&leaf));
    let certificate = match read {
        Some(Ok(certificate)) => certificate,
        Some(Err(error)) => return Check::fail(name, error).because(why).fix("have the host join anew"),
        None => return Check::fail(name, "there is none").because(why).fix("have the host join anew"),
    };
    let found = format!("valid until {}", certificate.not_after.date());
    if now < certificate.not_before {
        return Check::fail(name, format_args!("not valid before {}", certificate.not_before))
            .because("by this host's clock it is not valid yet")
            .fix("set the clock");
    }
    if now > certificate.not_after {
        return Check::fail(name, format_args!("expired on {}", certificate.not_after.date()))
            .because(why)
            .fix(format_args!(
                "`xenith host add` on the orchestrator, then join anew without {}",
                Identity::FILE
            ));
    }
    let life = certificate.not_after - certificate.not_before;
    if now > certificate.not_before + life * 3 / 4 {
        return Check::warn(name, found)
            .because("the orchestrator renews it at half of its life, and has not")
            .fix("look whether the orchestrator runs and reaches this host");
    }
    Check::ok(name, found)
}

pub(super) fn port(config: &Config) -> Check {
    let name = "port";
    let address = config.listen;
    if lock::is_held(&config.state) {
        return Check::ok(name, format_args!("the agent runs and serves {address}"));
    }
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format_args!("{address} is free")),
        Err(error) => Check::fail(name, format_args!("{address}: {error}"))
            .because("the orchestrator reaches the agent here")
            .fix(format_args!("find who has it (ss -tlnp), or set `listen`: port {}", address.port())),
    }
}
