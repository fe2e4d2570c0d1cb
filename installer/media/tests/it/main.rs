//! Bare metal to an enrolled host, in QEMU: `cargo xtask iso-test`, or with XENITH_ISO=1 by hand.
//!
//! Without XENITH_ISO the test ends at once. One medium and one root file system serve all steps; each step that needs
//! an installed host goes on with the disk of the step before.
#![allow(clippy::large_futures, reason = "one test runs them, each once")]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod faults;
mod install;
mod rig;
mod upgrade;

use std::time::Duration;

use xenith_installer_media::Firmware;
use xenith_lab_scenario::Steps;

use crate::rig::Rig;

const MINUTE: Duration = Duration::from_secs(60);

/// Runs a step, where `XENITH_ISO_STEPS` is unset or names a part of its title.
macro_rules! step {
    ($rig:ident, $steps:ident, $name:literal, $minutes:literal, $work:expr) => {
        if rig::wanted($name) && !$steps.run($name, $minutes * MINUTE, Box::pin($work)).await {
            eprintln!("{}", $rig.logs());
        }
    };
}

#[tokio::test]
async fn from_bare_metal_to_an_enrolled_host() {
    if !rig::asked() {
        return;
    }
    xenith_common_pki::install_provider();
    let mut rig = Rig::new().await.unwrap();
    let mut steps = Steps::on("installer");
    step!(rig, steps, "refuse wrong answers, write nothing", 12, faults::wrong_answers(&mut rig));
    step!(rig, steps, "refuse a disk that is too small", 12, faults::small_disk(&mut rig));
    step!(rig, steps, "refuse a token of another orchestrator", 12, faults::wrong_token(&mut rig));
    step!(rig, steps, "refuse a network that does not work", 12, faults::no_network(&mut rig));
    step!(rig, steps, "lose power while installing", 15, faults::power_cut(&mut rig));
    step!(rig, steps, "install on a BIOS, join, be seen", 30, install::unattended(&mut rig, Firmware::Bios));
    step!(rig, steps, "start a VM on the new SR", 15, install::vm(&mut rig));
    step!(rig, steps, "upgrade into slot B", 30, upgrade::upgrade(&mut rig));
    step!(rig, steps, "fall back from a slot that does not come up", 30, upgrade::falls_back(&mut rig));
    step!(rig, steps, "answer the questions on a serial line", 25, install::interactive(&mut rig));
    step!(rig, steps, "install on UEFI, join, be seen", 40, install::unattended(&mut rig, Firmware::Uefi));
    steps.finish().unwrap();
}
