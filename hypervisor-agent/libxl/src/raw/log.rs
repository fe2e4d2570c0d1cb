//! libxl's log, collected per operation: an error code alone says nothing ("-3"), the lines say what to do.
//!
//! Lines go to `tracing` (target `libxl`) as they come, and the important ones are kept for the error of the
//! running operation. A context runs one operation at a time, so no line is blamed on another's.
//!
//! The callbacks run on the context's thread. One exception: libxl forks children that may log before they
//! `exec`, in a copy of our process where another thread may have held any lock. There the line goes to
//! stderr with a bare `write(2)` and nothing else is touched.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_ulong};
use std::panic::{AssertUnwindSafe, catch_unwind};

use xenith_hypervisor_agent_libxl_sys::{__va_list_tag, xentoollog_level, xentoollog_logger};

unsafe extern "C" {
    fn vsnprintf(
        buffer: *mut c_char,
        size: usize,
        format: *const c_char,
        arguments: *mut __va_list_tag,
    ) -> c_int;
}

/// Lines kept for one operation; the first ones tell the cause, so later ones are dropped.
const KEPT: usize = 32;
/// Bytes of a line; longer ones are cut.
const LINE: usize = 2048;

/// What is in lines that libxl gives as errors although nothing is wrong: they are only traced, and blamed for nothing.
const HARMLESS: [&str; 1] = [
    // At every look at a domain that came out of a stream, for which libxl writes no start time. Whoever asks is told that
    // there is none (`Context::start_time`).
    "Can't get start time of domain",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub level: Level,
    pub text: String,
}

/// What libxl gets as its logger. The table is first, so a pointer to one is a pointer to the other.
#[repr(C)]
pub struct Logger {
    table: xentoollog_logger,
    pid: u32,
    kept: RefCell<Vec<LogLine>>,
}

impl Logger {
    pub fn new() -> Self {
        let table =
            xentoollog_logger { vmessage: Some(message), progress: Some(progress), destroy: Some(destroy) };
        Self { table, pid: std::process::id(), kept: RefCell::default() }
    }

    /// The lines (warnings and worse) since the last call.
    pub fn take(&self) -> Vec<LogLine> {
        self.kept.take()
    }

    fn keep(&self, level: Level, text: &str) {
        if let Ok(mut kept) = self.kept.try_borrow_mut()
            && level >= Level::Warning
            && kept.len() < KEPT
        {
            kept.push(LogLine { level, text: text.to_owned() });
        }
    }
}

extern "C" fn message(
    logger: *mut xentoollog_logger,
    level: xentoollog_level,
    errno: c_int,
    context: *const c_char,
    format: *const c_char,
    arguments: *mut __va_list_tag,
) {
    if logger.is_null() || format.is_null() {
        return;
    }
    let mut buffer = [0_u8; LINE];
    // SAFETY: `format` and `arguments` are what libxl was given for exactly this purpose; vsnprintf writes
    // at most LINE bytes with a NUL and consumes the list, which nobody uses after us. A va_list is passed
    // on as the pointer that it is at the ABI level on x86-64 (array type) and AArch64 (large struct).
    let length = unsafe { vsnprintf(buffer.as_mut_ptr().cast(), LINE, format, arguments) };
    let length = usize::try_from(length).unwrap_or(0).min(LINE - 1);
    // SAFETY: the pointer is the one that `Context::open` passed to libxl_ctx_alloc: a live `Logger`, freed
    // only after the context; libxl calls loggers on the thread that called it, which owns both.
    let logger = unsafe { &*logger.cast::<Logger>() };
    if std::process::id() != logger.pid {
        // SAFETY: a plain system call with a buffer of that length.
        unsafe { libc::write(libc::STDERR_FILENO, buffer.as_ptr().cast(), length) };
        return;
    }
    // A panic must not unwind into C; there is nothing to do about it but lose the line.
    let _lost_line = catch_unwind(AssertUnwindSafe(|| {
        let prefix = if context.is_null() {
            String::new()
        } else {
            // SAFETY: not null, and a C string that lives for this call.
            let context = unsafe { CStr::from_ptr(context) };
            format!("{}: ", context.to_string_lossy())
        };
        let mut text = prefix + String::from_utf8_lossy(&buffer[..length]).trim_end();
        if errno > 0 {
            text = format!("{text}: {}", std::io::Error::from_raw_os_error(errno));
        }
        record(logger, level, &text);
    }));
}

/// How much a line matters, which libxl does not always know.
fn weigh(level: xentoollog_level, text: &str) -> Level {
    if HARMLESS.iter().any(|harmless| text.contains(harmless)) {
        return Level::Debug;
    }
    match level {
        xentoollog_level::XTL_CRITICAL | xentoollog_level::XTL_ERROR => Level::Error,
        xentoollog_level::XTL_WARN => Level::Warning,
        xentoollog_level::XTL_NOTICE | xentoollog_level::XTL_INFO => Level::Info,
        _ => Level::Debug,
    }
}

fn record(logger: &Logger, level: xentoollog_level, text: &str) {
    let level = weigh(level, text);
    match level {
        // A libxl error is not yet ours: the caller decides what it means.
        Level::Error | Level::Warning => tracing::info!(target: "libxl", "{text}"),
        Level::Info => tracing::debug!(target: "libxl", "{text}"),
        Level::Debug => tracing::trace!(target: "libxl", "{text}"),
    }
    logger.keep(level, text);
}

extern "C" fn progress(
    _logger: *mut xentoollog_logger,
    _context: *const c_char,
    _doing_what: *const c_char,
    _percent: c_int,
    _done: c_ulong,
    _total: c_ulong,
) {
}

/// Ours is freed with its context; libxl never calls this, xtl_logger_destroy would.
extern "C" fn destroy(_logger: *mut xentoollog_logger) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_is_kept_for_the_error() {
        const RESUMED: &str =
            "libxl: libxl_domain.c:1794:libxl_vm_get_start_time: Domain 7:Can't get start time of domain";
        for (given, text, level, is_kept) in [
            (xentoollog_level::XTL_CRITICAL, "libxl: out of memory", Level::Error, true),
            (xentoollog_level::XTL_ERROR, "libxl: Domain 7:no device model", Level::Error, true),
            (xentoollog_level::XTL_WARN, "libxl: Domain 7:it is slow", Level::Warning, true),
            (xentoollog_level::XTL_INFO, "libxl: Domain 7:it is there", Level::Info, false),
            (xentoollog_level::XTL_DEBUG, "libxl: Domain 7:a detail", Level::Debug, false),
            (xentoollog_level::XTL_ERROR, RESUMED, Level::Debug, false),
        ] {
            assert_eq!(weigh(given, text), level, "{text}");
            let logger = Logger::new();
            record(&logger, given, text);
            let expected = if is_kept { vec![LogLine { level, text: text.to_owned() }] } else { Vec::new() };
            assert_eq!(logger.take(), expected, "{text}");
        }
    }
}
