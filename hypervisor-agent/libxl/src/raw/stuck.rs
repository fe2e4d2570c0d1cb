//! Children of this process that can never go on.
//!
//! libxl ends a domain in a child that it forks, for the one call to Xen that takes long. `fork` copies the thread that
//! calls it, and every lock as it is: where another thread has libxencall's lock at that moment, which it has for some
//! microseconds in each call, the child waits for it for ever, the domain stays, and libxl waits for the child (seen on
//! Xen 4.17). Each `xl` is a process with one thread, so that this happens to nobody else.
//!
//! Such a child is told from all others by what it does: it is this program still, it has one thread, and that one waits,
//! without a limit, for a lock that no other process has. So nobody can wake it. It is killed, and libxl says that it
//! failed. Another program may wait like this for a signal, whose handler wakes it.

use std::fs;
use std::time::Duration;

use libc::pid_t;

/// Between two looks: what only passes by is somewhere else then.
const AGAIN: Duration = Duration::from_millis(200);

/// Ends the children that can never go on. Returns how many.
pub fn end_stuck_children() -> usize {
    let seen = stuck();
    if seen.is_empty() {
        return 0;
    }
    std::thread::sleep(AGAIN);
    let still: Vec<pid_t> =
        stuck().into_iter().filter(|child| seen.contains(child)).map(|(pid, _)| pid).collect();
    for pid in &still {
        tracing::warn!(pid, "a child that libxl forked waits for a lock that nobody has; it is ended");
        // SAFETY: no memory is involved. Nobody has reaped the child, so the number is still its.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
    still.len()
}

/// With what each waits in.
fn stuck() -> Vec<(pid_t, String)> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = children.flat_map(|pids| {
        pids.split_whitespace().filter_map(|pid| pid.parse::<pid_t>().ok()).collect::<Vec<_>>()
    });
    pids.filter_map(|pid| {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let (call, status) = (read("syscall")?, read("status")?);
        (waits_for_ever(&call) && has_one_thread(&status) && is_this_program(pid)).then_some((pid, call))
    })
    .collect()
}

/// `/proc/PID/syscall`: the call's number, its six arguments, the stack and the next instruction.
fn waits_for_ever(call: &str) -> bool {
    let mut words = call.split_whitespace();
    if words.next().and_then(|number| number.parse().ok()) != Some(libc::SYS_futex) {
        return false;
    }
    let hexadecimal = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let arguments: Vec<u64> = words.map_while(hexadecimal).collect();
    let [_lock, operation, _value, limit, ..] = arguments[..] else { return false };
    let private = libc::FUTEX_PRIVATE_FLAG as u64;
    let waits = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].map(|wait| wait as u64 | private);
    limit == 0 && waits.contains(&(operation & !(libc::FUTEX_CLOCK_REALTIME as u64)))
}

/// What has not become another program since it was forked.
fn is_this_program(pid: pid_t) -> bool {
    let program = |process: &str| fs::read_link(format!("/proc/{process}/exe")).ok();
    program("self").is_some_and(|ours| program(&pid.to_string()) == Some(ours))
}

fn has_one_thread(status: &str) -> bool {
    status.lines().any(|line| line.split_whitespace().eq(["Threads:", "1"]))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_lock_of_its_own_without_a_limit_is_waited_for_for_ever() {
        for (call, stuck) in [
            ("202 0x7f00e9d6d040 0x80 0x2 0x0 0x0 0x0 0x7f00e9640fc8 0x7f00ea17a12b", true),
            ("202 0x7f00e9d6d040 0x189 0x2 0x0 0x0 0xffffffff 0x7f00e9640fc8 0x7f00ea17a12b", true),
            ("202 0x7f00e9d6d040 0x80 0x2 0x7ffd00 0x0 0x0 0x7f00e9640fc8 0x7f00ea17a12b", false),
            ("202 0x7f00e9d6d040 0x0 0x2 0x0 0x0 0x0 0x7f00e9640fc8 0x7f00ea17a12b", false),
            ("7 0x7f00e9d6d040 0x80 0x2 0x0 0x0 0x0 0x7f00e9640fc8 0x7f00ea17a12b", false),
            ("running", false),
            ("", false),
        ] {
            assert_eq!(waits_for_ever(call), stuck, "{call}");
        }
        assert!(has_one_thread("Name:\tagent\nThreads:\t1\n") && !has_one_thread("Threads:\t11\n"));
    }

    #[test]
    fn a_child_with_the_lock_of_a_thread_that_it_has_not_is_ended() {
        let sleeps = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_this_program(pid_t::try_from(sleeps.id()).unwrap()), "it is another program");
        let lock = Mutex::new(());
        let held = lock.lock().unwrap();
        // SAFETY: the child takes a lock, which allocates nothing, and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let _never = lock.lock();
            // SAFETY: ends this process and nothing else.
            unsafe { libc::_exit(0) };
        }
        assert!(pid > 0);
        let began = Instant::now();
        while end_stuck_children() == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "it is not found");
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "{status}");
        drop(held);
        let mut sleeps = sleeps;
        assert!(sleeps.try_wait().unwrap().is_none(), "another child was ended");
        sleeps.kill().unwrap();
        sleeps.wait().unwrap();
    }
}
