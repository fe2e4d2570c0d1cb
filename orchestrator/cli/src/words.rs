//! Values in words for people.

use std::io;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;
use xenith_orchestrator_types::task::TaskStatus;
use xenith_orchestrator_types::{Binding, Scope};

/// A point in time, UTC, to the second.
pub fn at(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    time.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| time.to_string())
}

pub fn at_or_never(time: Option<OffsetDateTime>) -> String {
    time.map_or_else(|| "never".to_owned(), at)
}

/// `3 s ago`, `2 h ago`; a clock that is ahead is not shown as the future.
pub fn ago(time: OffsetDateTime) -> String {
    let age = (OffsetDateTime::now_utc() - time).try_into().unwrap_or(Duration::ZERO);
    format!("{} ago", roughly(age))
}

/// An error of this program, for who meets it and for who mends it.
pub fn of_panic(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    let what = panic.payload_as_str().unwrap_or("no words");
    format!("xenith: an error of this program{place}, please report it: {what}")
}

/// The largest unit that fits.
pub fn roughly(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut value) = (0, bytes as f64);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

pub fn ended(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Running => "running",
        TaskStatus::RollingBack => "being undone",
        TaskStatus::Done => "done",
        TaskStatus::RolledBack => "failed and was undone",
        TaskStatus::Parked => "is parked and waits for a person",
        TaskStatus::Abandoned => "was abandoned",
    }
}

/// What went wrong with a connection or a file, without numbers of the operating system.
pub fn io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".into(),
        io::ErrorKind::TimedOut => "no answer in time".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => "the connection was cut".into(),
        io::ErrorKind::NotFound => "it does not exist".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}

/// `operator@tag:dev`, as `--role` takes it.
pub fn binding(binding: &Binding) -> String {
    match &binding.scope {
        Scope::All => binding.role.to_string(),
        Scope::Pool(pool) => format!("{}@pool:{pool}", binding.role),
        Scope::Tag(tag) => format!("{}@tag:{tag}", binding.role),
    }
}

pub fn bindings(bindings: &[Binding]) -> String {
    let words: Vec<_> = bindings.iter().map(binding).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_said_without_a_trace() {
        let said = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (before, kept) = (std::panic::take_hook(), std::sync::Arc::clone(&said));
        std::panic::set_hook(Box::new(move |panic| *kept.lock().unwrap() = of_panic(panic)));
        let caught = std::panic::catch_unwind(|| panic!("the {} is loose", "screw"));
        std::panic::set_hook(before);
        let said = said.lock().unwrap().clone();
        assert!(
            caught.is_err() && said.contains("words.rs:") && said.contains("the screw is loose"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }

    #[test]
    fn sizes_and_times() {
        for (value, shown) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (20 << 30, "20 GiB")] {
            assert_eq!(bytes(value), shown);
        }
        for (seconds, shown) in [(5, "5 s"), (150, "2 min"), (7200, "2 h"), (400_000, "4 d")] {
            assert_eq!(roughly(Duration::from_secs(seconds)), shown);
        }
    }
}
