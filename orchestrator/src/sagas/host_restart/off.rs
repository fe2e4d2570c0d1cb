//! Whether a host that was told to go off is off, and how sure that is. Pure.
//!
//! What always holds: a host that is heard is not off, and one whose power control says anything but *off* is not taken for
//! off. Without power control nothing proves it: silence after the order has to do, and what is told says so.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::power::MachinePower;

/// How long a host is silent until its answer is waited for no more. An agent that is started anew is back before.
pub(super) const ANSWER_LOST: Duration = Duration::from_secs(20);
/// A power control that does not answer once may do so the next time.
const CONTROL_ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// What the host said to the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    Taken,
    /// Nothing, and it is silent since: it went off before it could answer, or never heard the order.
    Unanswered,
}

/// What its power control says, where it has one: `Err` is why it says nothing.
pub(super) type Control<'a> = Option<&'a Result<MachinePower, String>>;

/// A silent host: what is told of it as one that is off, or what it is waited for.
pub(super) fn judged(
    name: &str,
    order: Order,
    control: Control<'_>,
    silent: Duration,
) -> Result<(Severity, String), String> {
    let unproved = |why: &str| match order {
        Order::Taken => {
            let sure = format!("{name} took the order to go off and is not heard any more; {why}");
            (Severity::Info, sure)
        }
        Order::Unanswered => {
            let unsure = format!(
                "{name} was told to go off and is not heard any more, but whether it heard that is not known: its answer \
                 is missing, and it may only be cut off; {why}; look at it"
            );
            (Severity::Warning, unsure)
        }
    };
    match control {
        None => Ok(unproved("it has no power control, which alone could say that its power is off")),
        Some(Ok(MachinePower::Off)) => {
            Ok((Severity::Info, format!("{name} is off, as its power control says")))
        }
        Some(Ok(other)) => {
            let state = other.as_str();
            Err(format!("{name} is not heard any more, but its power control says that its power is {state}"))
        }
        Some(Err(why)) if silent < CONTROL_ANSWERS_WITHIN => {
            Err(format!("{name} is not heard any more; whether its power is off is not known: {why}"))
        }
        Some(Err(why)) => Ok(unproved(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_sure_it_is_that_a_host_is_off() {
        let (soon, late) = (Duration::from_secs(5), CONTROL_ANSWERS_WITHIN);
        let no_answer: Result<MachinePower, String> =
            Err("the power control at bmc1 does not answer".to_owned());
        let says = |power| Some(Ok(power));
        let (taken, unanswered) = (Order::Taken, Order::Unanswered);
        for (case, order, control, silent, severity, said) in [
            ("it took the order", taken, None, soon, Some(Severity::Info), "it has no power control"),
            ("nothing is known", unanswered, None, soon, Some(Severity::Warning), "is not known"),
            (
                "proved",
                taken,
                says(MachinePower::Off),
                soon,
                Some(Severity::Info),
                "as its power control says",
            ),
            (
                "proved all the same",
                unanswered,
                says(MachinePower::Off),
                soon,
                Some(Severity::Info),
                "is off",
            ),
            ("it only hangs", taken, says(MachinePower::On), late, None, "says that its power is on"),
            ("on its way", unanswered, says(MachinePower::Unknown), late, None, "its power is unknown"),
            ("asked again", taken, Some(no_answer.clone()), soon, None, "bmc1"),
            ("asked long enough", taken, Some(no_answer.clone()), late, Some(Severity::Info), "bmc1"),
            ("of neither", unanswered, Some(no_answer), late, Some(Severity::Warning), "look at it"),
        ] {
            let (found, text) = match judged("xen1", order, control.as_ref(), silent) {
                Ok((severity, text)) => (Some(severity), text),
                Err(text) => (None, text),
            };
            assert_eq!(found, severity, "{case}: {text}");
            assert!(text.starts_with("xen1") && text.contains(said), "{case}: {text}");
        }
    }
}
