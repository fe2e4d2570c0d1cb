//! Bare metal to an enrolled host, in QEMU: `cargo xtask iso-test`, or with XENITH_ISO=1 by hand.
//!
//! Without XENITH_ISO the test ends at once. One medium, one orchestrator and one root file system serve all steps. Two
//! machines run beside each other, since an emulated one keeps one CPU busy; a step goes on with what the step before has
//! left on its machine. One that fails shows the console, the host's own logs and the orchestrator's, and says where all of
//! it is.
#![allow(clippy::large_futures, reason = "one test runs them, each once")]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod faults;
mod install;
mod networks;
mod rig;
mod trunk;
mod typed;
mod upgrade;
mod web;

use std::time::{Duration, Instant};

use anyhow::Result;
use xenith_installer_media::{Inputs, twice};
use xenith_lab::Progress;
use xenith_lab_scenario::{Programs, Steps};

use crate::rig::Rig;

const MINUTE: Duration = Duration::from_secs(60);

/// Runs a step, where `XENITH_ISO_STEPS` is unset or names a part of its title.
macro_rules! step {
    ($rig:ident, $steps:ident, $name:literal, $minutes:literal, $work:expr) => {
        if rig::wanted($name) {
            $rig.begin($name);
            if !$steps.run($name, $minutes * MINUTE, Box::pin($work)).await {
                eprintln!("{}", $rig.report($name).await);
            }
        }
    };
}

#[tokio::test]
async fn from_bare_metal_to_an_enrolled_host() {
    if !rig::asked() {
        return;
    }
    xenith_common_pki::install_provider();
    let began = Instant::now();
    let programs = Programs::find().unwrap();
    let inputs = rig::inputs(&programs).unwrap();
    let mut steps = Steps::on("medium");
    let same = "build the same bytes twice";
    if rig::wanted(same) {
        steps.run(same, 40 * MINUTE, Box::pin(built_twice(&inputs))).await;
    }
    let mut rig = Rig::new("first", &programs, &inputs).await.unwrap();
    let mut other = rig.beside("second").unwrap();
    let (one, two) =
        tokio::join!(Box::pin(on_the_first_machine(&mut rig)), Box::pin(on_the_second(&mut other)));
    eprintln!("the test took {} minutes", began.elapsed().as_secs() / 60);
    steps.and(one).and(two).finish().unwrap();
}

async fn built_twice(inputs: &Inputs) -> Result<()> {
    let out = tempfile::tempdir()?;
    twice(inputs, out.path(), &Progress::stderr()).await.map(drop)
}

/// One disk, one card, a BIOS: what is refused, what is cut, and a host that lives through upgrades.
async fn on_the_first_machine(rig: &mut Rig) -> Steps {
    let mut steps = Steps::on("first");
    step!(rig, steps, "refuse wrong answers, write nothing", 25, faults::wrong_answers(rig));
    step!(rig, steps, "refuse a disk that is too small", 12, faults::small_disk(rig));
    step!(rig, steps, "refuse a token of another orchestrator", 12, faults::wrong_token(rig));
    step!(
        rig,
        steps,
        "refuse a token of an orchestrator that is not there",
        12,
        faults::no_orchestrator(rig)
    );
    step!(rig, steps, "refuse a network that does not work", 12, faults::no_network(rig));
    step!(rig, steps, "lose power while installing", 25, faults::power_cut(rig));
    step!(rig, steps, "install on a BIOS over what was cut, join, be seen", 80, install::unattended(rig));
    step!(rig, steps, "be as small and as quick as promised", 30, install::limits(rig));
    step!(rig, steps, "start a VM on the new SR", 35, install::vm(rig));
    step!(rig, steps, "upgrade by the orchestrator into slot B", 120, upgrade::by_the_orchestrator(rig));
    step!(rig, steps, "fall back from a slot that does not come up", 120, upgrade::falls_back(rig));
    step!(rig, steps, "upgrade from the medium", 90, upgrade::from_the_medium(rig));
    steps
}

/// What needs other hardware, or a person.
async fn on_the_second(rig: &mut Rig) -> Steps {
    let mut steps = Steps::on("second");
    step!(rig, steps, "answer the questions on a serial line, install, join", 90, typed::interactive(rig));
    step!(rig, steps, "use the menu on the host's console", 15, typed::console(rig));
    step!(
        rig,
        steps,
        "install by PXE on a mirror, answers by URL, with an orchestrator",
        90,
        networks::pxe_and_mirror(rig)
    );
    step!(rig, steps, "start from the second disk of the mirror alone", 35, networks::second_disk_alone(rig));
    step!(
        rig,
        steps,
        "install on UEFI with a bond in a VLAN, join, be seen",
        90,
        networks::uefi_bond_and_vlan(rig)
    );
    step!(rig, steps, "make an SR of the thin pool that was installed", 20, networks::thin_pool(rig));
    steps
}
