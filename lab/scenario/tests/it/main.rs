//! The whole product on real Xen, once through: `cargo xtask lab-test`, or with XENITH_LAB=1 by hand.
//!
//! One host for all steps: its boot is what costs. Without XENITH_LAB the test ends at once.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod life;

use std::time::{Duration, Instant};

use xenith_lab_scenario::{Programs, Stage, Steps, asked};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_scenario_on_real_xen() {
    if !asked() {
        return;
    }
    xenith_common_pki::install_provider();
    let programs = Programs::find().unwrap();
    let started = Instant::now();
    let mut steps = Steps::default();
    let mut stage = Stage::set(&programs).await.unwrap();
    eprintln!("    the stage is set after {:.1} s, {:?}", started.elapsed().as_secs_f64(), stage.host.accel());
    if !steps.run("enrol", 5 * MINUTE, life::enrol(&stage, &programs)).await {
        eprintln!("{}", stage.logs().await);
        steps.finish().unwrap();
    }
    life::all(&mut stage, &mut steps).await;
    eprintln!("the scenario took {:.0} s", started.elapsed().as_secs_f64());
    steps.finish().unwrap();
}
