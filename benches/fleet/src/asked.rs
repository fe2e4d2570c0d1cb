//! What the bench was asked for.

use std::time::Duration;

pub const USAGE: &str =
    "usage: xenith-benches-fleet [HOSTS] [VMS A HOST] [SECONDS A PHASE] [SECONDS BETWEEN TELLINGS]
       xenith-benches-fleet rules [HOSTS] [VMS A HOST] [CHANGES] [SECONDS BETWEEN TELLINGS]";

#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub hosts: usize,
    pub vms: usize,
    pub seconds: u64,
    /// Each VM is told again with its CPU time so often: 250,000 VMs every 5 s are 50,000 updates a second.
    pub pace: Duration,
}

#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// All phases of a fleet's day.
    Phases,
    /// So many changes of a rule that concerns every host.
    Rules { changes: usize },
}

/// `None`: that is nothing that it can do.
pub fn parse(words: &[String]) -> Option<(Size, Work)> {
    let (is_rules, numbers) = match words.split_first() {
        Some((first, rest)) if first == "rules" => (true, rest),
        _ => (false, words),
    };
    let number = |at: usize, otherwise: usize| match numbers.get(at) {
        Some(text) => text.parse().ok(),
        None => Some(otherwise),
    };
    let pace = number(3, 5).filter(|pace| *pace > 0)?;
    let size = |hosts, vms, seconds| Size { hosts, vms, seconds, pace: Duration::from_secs(pace as u64) };
    if is_rules {
        let changes = number(2, 30).filter(|changes| *changes > 0)?;
        // Fewer have not every tag on every host.
        let vms = number(1, 20).filter(|vms| *vms >= 8)?;
        return Some((size(number(0, 1000)?, vms, 0), Work::Rules { changes }));
    }
    Some((size(number(0, 2500)?, number(1, 100)?, number(2, 20)? as u64), Work::Phases))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_asked_for() {
        let asked = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            let (size, work) = parse(&words)?;
            let changes = if let Work::Rules { changes } = work { changes } else { 0 };
            Some((size.hosts, size.vms, size.seconds, size.pace.as_secs(), changes))
        };
        for (text, expected) in [
            ("", Some((2500, 100, 20, 5, 0))),
            ("10 5 3 1", Some((10, 5, 3, 1, 0))),
            ("rules", Some((1000, 20, 0, 5, 30))),
            ("rules 10 8 3 1", Some((10, 8, 0, 1, 3))),
            ("rules 10 8 0", None),
            ("rules 10 7", None),
            ("10 5 3 0", None),
            ("all", None),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }
}
