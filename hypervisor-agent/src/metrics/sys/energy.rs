//! What the machine has used: by the meter of all of it, where it has one that the kernel reads (ACPI 4.0's), or else by
//! what its processors and their memory count (RAPL).
//!
//! What always holds: the sum only grows, and is of one of the two as long as the agent runs. While a meter that was there
//! says nothing there is no sum, and what was used meanwhile is in none.
//!
//! Formats: `Documentation/hwmon/acpi_power_meter.rst` (microwatts) and `Documentation/power/powercap/powercap.rst` of Linux
//! (microjoules).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{names, number};

#[derive(Debug, Default)]
pub(super) struct Energy {
    meter: Option<Meter>,
    zones: HashMap<PathBuf, Zone>,
}

/// Power, added up.
#[derive(Debug, Default)]
struct Meter {
    /// When it was read last, and the microwatts.
    last: Option<(Duration, u64)>,
    used_uj: u64,
}

/// A counter of energy that begins anew at its range.
#[derive(Debug, Clone, Copy, Default)]
struct Zone {
    last: Option<u64>,
    total: u64,
}

impl Energy {
    /// Microjoules so far; `now` is of a steady clock.
    pub fn count(&mut self, root: &Path, now: Duration) -> Option<u64> {
        if let Some(microwatts) = power(root) {
            return Some(self.meter.get_or_insert_with(Meter::default).count(microwatts, now));
        }
        if let Some(meter) = &mut self.meter {
            meter.last = None;
            return None;
        }
        self.of_processors(root)
    }

    /// Packages and their memory; what is inside a package is counted by it already.
    fn of_processors(&mut self, root: &Path) -> Option<u64> {
        let folder = root.join("sys/class/powercap");
        for name in names(&folder) {
            let at = folder.join(name);
            let Ok(kind) = fs::read_to_string(at.join("name")) else { continue };
            if !kind.starts_with("package") && kind.trim() != "dram" {
                continue;
            }
            let (Some(now), Some(range)) =
                (number(&at.join("energy_uj")), number(&at.join("max_energy_range_uj")))
            else {
                continue;
            };
            self.zones.entry(at).or_default().count(now, range);
        }
        (!self.zones.is_empty()).then(|| self.zones.values().map(|zone| zone.total).sum())
    }
}

/// Microwatts of all of the machine, as its meters have averaged them. `None`: it has none, or it says nothing.
fn power(root: &Path) -> Option<u64> {
    let folder = root.join("sys/class/hwmon");
    let is_meter =
        |at: &PathBuf| fs::read_to_string(at.join("name")).is_ok_and(|name| name.trim() == "power_meter");
    // Older kernels have all of it a folder further down.
    let places = |name: String| [folder.join(&name), folder.join(&name).join("device")];
    let meters = names(&folder).into_iter().filter_map(|name| places(name).into_iter().find(is_meter));
    let all = meters.filter_map(|at| number(&at.join("power1_average"))).reduce(|sum, one| sum + one);
    // A machine that runs uses something.
    all.filter(|microwatts| *microwatts > 0)
}

impl Meter {
    fn count(&mut self, microwatts: u64, now: Duration) -> u64 {
        if let Some((at, before)) = self.last {
            let seconds = now.saturating_sub(at).as_secs_f64();
            self.used_uj += ((before + microwatts) as f64 / 2.0 * seconds) as u64;
        }
        self.last = Some((now, microwatts));
        self.used_uj
    }
}

impl Zone {
    fn count(&mut self, now: u64, range: u64) {
        let used = match self.last {
            Some(last) if last <= now => now - last,
            Some(last) => range.saturating_sub(last) + now,
            None => 0,
        };
        self.last = Some(now);
        self.total += used;
    }
}
