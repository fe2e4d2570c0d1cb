//! Child processes that cannot outlive us.
//!
//! What always holds: a child started here ends when its [`OwnedChild`] is dropped, and when this process
//! dies in any way (the kernel sends the signal: `PR_SET_PDEATHSIG`). Each child has a process group of its
//! own, so that Ctrl-C on the terminal reaches only us and we decide the order of the ends.
//!
//! The kernel ties the death signal to the *thread* that started the child, not to the process. A tokio
//! worker may end while the process lives, and would take QEMU with it; so one thread that never ends
//! starts all children.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How a child is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// At once: QEMU has nothing to tidy up that a power cut would not lose too.
    Kill,
    /// It may tidy up for ten seconds: mmdebstrap has mounts and a temporary tree.
    Terminate,
}

/// How long a child may tidy up.
const TIDY_UP: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// A running or ended child.
#[derive(Debug)]
pub struct OwnedChild {
    child: Child,
    ending: Ending,
}

struct Order {
    command: Command,
    ending: Ending,
    reply: SyncSender<io::Result<Child>>,
}

/// Starts `command`; its standard streams are the caller's business.
pub fn spawn(command: Command, ending: Ending) -> io::Result<OwnedChild> {
    static STARTER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        // One order at a time: the asker waits for the reply anyway.
        let (send, orders) = sync_channel::<Order>(1);
        thread::Builder::new()
            .name("lab-starter".into())
            .spawn(move || {
                while let Ok(order) = orders.recv() {
                    let child = start(order.command, order.ending);
                    // An asker that went away drops the child's handle, not the child: end it here.
                    if let Err(unheard) = order.reply.send(child)
                        && let Ok(child) = unheard.0
                    {
                        drop(OwnedChild { child, ending: order.ending });
                    }
                }
            })
            .expect("a thread can be started at the beginning of the program");
        send
    });
    let (reply, answer) = sync_channel(1);
    let gone = |_| io::Error::other("the thread that starts children has ended");
    starter.send(Order { command, ending, reply }).map_err(|_| gone(()))?;
    let child = answer.recv().map_err(|_| gone(()))??;
    Ok(OwnedChild { child, ending })
}

#[allow(unsafe_code)]
fn start(mut command: Command, ending: Ending) -> io::Result<Child> {
    let parent = std::process::id();
    let signal = match ending {
        Ending::Kill => Signal::SIGKILL,
        Ending::Terminate => Signal::SIGTERM,
    };
    command.process_group(0);
    // SAFETY: the closure runs between fork and exec and makes two system calls (prctl, getppid), both
    // async-signal-safe; it allocates nothing and takes no lock. `io::Error::from_raw_os_error` does not
    // allocate either.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(signal)?;
            // The parent may have died before the call above: then no signal will come.
            if std::os::unix::process::parent_id() != parent {
                return Err(io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
            Ok(())
        });
    }
    command.spawn()
}

impl OwnedChild {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Some if it has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it ends or the time is over; `None` then.
    pub async fn wait_for(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends it now, with the whole group it started, and collects it.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        // Only fails if it was collected before.
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        // Only fails if nobody is left to hear it.
        let _ = killpg(group, signal);
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.ending == Ending::Terminate {
            self.signal(Signal::SIGTERM);
            let deadline = Instant::now() + TIDY_UP;
            while Instant::now() < deadline {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                thread::sleep(POLL);
            }
        }
        self.kill();
    }
}

/// "exit status 1" or "signal 9", for messages.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(pid: u32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn sleeper() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[test]
    fn ends_with_its_handle() {
        for ending in [Ending::Kill, Ending::Terminate] {
            let child = spawn(sleeper(), ending).unwrap();
            let pid = child.id();
            assert!(alive(pid));
            drop(child);
            assert!(!alive(pid), "{ending:?}");
        }
    }

    #[test]
    fn outlives_the_thread_that_asked_for_it() {
        let mut child = thread::spawn(|| spawn(sleeper(), Ending::Kill).unwrap()).join().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        assert!(alive(child.id()));
    }

    #[test]
    fn a_missing_program_is_an_error_of_the_caller() {
        assert_eq!(
            spawn(Command::new("/nonexistent/program"), Ending::Kill).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[tokio::test]
    async fn waiting_ends_with_the_child_or_the_time() {
        let mut child = spawn(sleeper(), Ending::Kill).unwrap();
        assert!(child.wait_for(Duration::from_millis(1)).await.unwrap().is_none());
        child.kill();
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        let mut child = spawn(command, Ending::Kill).unwrap();
        let status = child.wait_for(Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(describe(status), "exit status 3");
    }
}
