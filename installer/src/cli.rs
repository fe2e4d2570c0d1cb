//! The command line. Exit status: 0 done; 1 failed; 2 a wrong command line or wrong answers; 10 no answers were found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode};

use clap::{Parser, Subcommand};
use xenith_hypervisor_agent_types::system::SystemSlot;
use xenith_installer::answers::{After, Answers};
use xenith_installer::apply::{Watch, apply, apply_without_image};
use xenith_installer::boot_state::{ESP, Record};
use xenith_installer::disks::{self, Disk};
use xenith_installer::facts::Facts;
use xenith_installer::image::Image;
use xenith_installer::plan::BRIDGE;
use xenith_installer::screen::{self, Console, Ended, FAILED, Lines, Terminal};
use xenith_installer::upgrade::{self, Verdict};
use xenith_installer::{console, existing, live, own_orchestrator, session, source};

const NO_ANSWERS: u8 = 10;
/// Who watches an unattended installation watches one of these.
const CONSOLES: [&str; 2] = ["/dev/tty1", "/dev/ttyS0"];

/// Installs a Xen host from this medium, and looks after the systems of an installed one.
#[derive(Debug, Parser)]
#[command(name = "xenith-installer", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check an answers file, on any machine: every complaint has its line and field
    Check { answers: PathBuf },
    /// Install without questions, if answers are found on the medium, a volume XENITH-ANSWERS or by URL
    Auto,
    /// Ask the questions on this console
    Screen,
    /// Show the status of this host, and a menu
    Console,
    /// Tell the boot loader that the running system is good, once it is
    BootGood,
    /// Long after the start of a system on trial: go back, if it was not found good
    #[command(hide = true)]
    TrialOver,
    /// Put a new system into the other slot of this host
    Upgrade {
        /// The folder with image.json, its signature, and the squashfs (on a medium: live)
        image: PathBuf,
        /// The key that signed it (minisign, `RW…`), if not the one of the running system
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Also one that is older than the running system
        #[arg(long)]
        older: bool,
        /// Only say what would be done
        #[arg(long)]
        plan: bool,
        /// Start into it at once
        #[arg(long)]
        reboot: bool,
    },
    /// Before the orchestrator of this host starts for the first time: its settings, with this host's address
    #[command(hide = true)]
    OrchestratorSettings,
    /// For the agent: what runs, as JSON
    #[command(hide = true)]
    System,
    /// For the agent: an image into the slot that does not run, without starting it
    #[command(hide = true)]
    Fill { image: PathBuf },
    /// For the agent: start anew into this slot, which is tried once; the one that runs is kept
    #[command(hide = true)]
    StartSlot { slot: String },
}

/// The whole program.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Check { answers } => return check(&answers),
        Command::Auto => return auto(),
        Command::Screen => screen(),
        Command::Console => console::run().map_err(|error| error.to_string()),
        Command::BootGood => boot_good(),
        Command::TrialOver => trial_over(),
        Command::Upgrade { image, key, older, plan, reboot } => {
            let mode = if plan { Mode::PlanOnly } else { Mode::Apply };
            let age = if older { Age::Any } else { Age::NotOlder };
            upgrade(&image, key, age, mode).and_then(|()| if reboot { start_again() } else { Ok(()) })
        }
        Command::OrchestratorSettings => own_orchestrator::ensure_settings(),
        Command::System => system(),
        Command::Fill { image } => fill(&image, None, Age::NotOlder, Mode::Apply).map(drop),
        Command::StartSlot { slot } => start_slot(&slot),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xenith-installer: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn check(path: &Path) -> ExitCode {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("xenith-installer: cannot read {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    match Answers::parse(&text) {
        Ok(_) => {
            println!("{}: good", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::from(2)
        }
    }
}

/// Every console at once.
#[derive(Default)]
struct Everywhere;

impl Terminal for Everywhere {
    fn show(&mut self, line: &str) {
        println!("{line}");
        for path in CONSOLES {
            // A machine without one of them still has the other.
            let _absent = fs::OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, format!("{line}\r\n").as_bytes()));
        }
    }

    fn ask(&mut self, _: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn ask_secret(&mut self, _: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

fn auto() -> ExitCode {
    let mut everywhere = Everywhere;
    if let Err(error) = live::any_network() {
        // An answers file on the medium needs none.
        everywhere.show(&format!("xenith-installer: {error}"));
    }
    match unattended(&mut everywhere) {
        Ok(Some(after)) => {
            everywhere.show("xenith-installer: INSTALLED");
            match end(after) {
                Ok(()) => ExitCode::SUCCESS,
                Err(problem) => {
                    everywhere.show(&problem);
                    ExitCode::FAILURE
                }
            }
        }
        Ok(None) => ExitCode::from(NO_ANSWERS),
        Err(problem) => {
            everywhere.show(&format!("xenith-installer: FAILED: {problem}"));
            // For the screens, which start now.
            let _on_screen_already =
                fs::create_dir_all("/run/xenith").and_then(|()| fs::write(FAILED, &problem));
            ExitCode::FAILURE
        }
    }
}

fn unattended(terminal: &mut Everywhere) -> Result<Option<After>, String> {
    let Some(found) = source::find().map_err(|error| error.to_string())? else { return Ok(None) };
    terminal.show(&format!("xenith-installer: unattended, answers from {}", found.from));
    let answers = Answers::parse(&found.text).map_err(|error| format!("{}, {error}", found.from))?;
    let facts = Facts::gather().map_err(|error| error.to_string())?;
    let hash = found.hash();
    // A disk that is not there is told with the plan.
    let disks: Vec<&Disk> =
        answers.target.disks.iter().filter_map(|wanted| disks::find(&facts.disks, wanted).ok()).collect();
    if let Some(disk) = existing::installed_from(&hash, &disks) {
        return Err(format!(
            "{disk} has a host that was installed from these very answers, and nothing was written: a machine that starts from \
             the medium or the network each time would lose its VMs each time. Start it from its disk; or, to install it \
             again, change the answers, be it by a comment"
        ));
    }
    let mut ready = session::prepare(&answers, &facts, &mut |line| terminal.show(line))
        .map_err(|error| error.to_string())?;
    ready.plan.note_answers(&hash);
    for line in &ready.plan.summary {
        terminal.show(&format!("  {line}"));
    }
    ready.apply(&mut Lines { terminal, last: 0 }).map_err(|error| error.to_string())?;
    Ok(Some(ready.plan.after))
}

fn end(after: After) -> Result<(), String> {
    let verb = match after {
        After::Reboot => "reboot",
        After::PowerOff => "poweroff",
    };
    systemctl(verb)
}

fn systemctl(verb: &str) -> Result<(), String> {
    let status =
        Process::new("systemctl").arg(verb).status().map_err(|error| format!("systemctl {verb}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("systemctl {verb} ended with {status}")) }
}

fn screen() -> Result<(), String> {
    match screen::run(&mut Console).map_err(|error| error.to_string())? {
        Ended::Installed(after) => end(after),
        Ended::Shell => Process::new("/bin/bash")
            .arg("--login")
            .status()
            .map(drop)
            .map_err(|error| format!("a shell cannot be started: {error}")),
    }
}

fn boot_good() -> Result<(), String> {
    match upgrade::boot_good(&mut |line| println!("{line}")).map_err(|error| error.to_string())? {
        Verdict::Healthy | Verdict::Stay => Ok(()),
        Verdict::GoBack => start_again(),
    }
}

/// Forced: what hangs would keep an orderly restart from its end.
fn trial_over() -> Result<(), String> {
    if !upgrade::still_on_trial() {
        return Ok(());
    }
    println!("this system was not found good in all the time since its start, and is left");
    let status = Process::new("systemctl").args(["--force", "reboot"]).status();
    let status = status.map_err(|error| format!("systemctl --force reboot: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("systemctl --force reboot ended with {status}")) }
}

fn start_again() -> Result<(), String> {
    systemctl("reboot")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    PlanOnly,
    Apply,
}

/// Which systems are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    NotOlder,
    Any,
}

/// Came with the running system: the date of its source.
const SOURCE_DATE: &str = "/usr/share/xenith/source-date";
/// Came with the running system: whoever signed that one signs the next.
const IMAGE_KEY: &str = "/usr/share/xenith/image.pub";

fn system() -> Result<(), String> {
    let system = upgrade::system(Path::new(ESP)).map_err(|error| error.to_string())?;
    println!("{}", serde_json::to_string(&system).map_err(|error| error.to_string())?);
    Ok(())
}

fn start_slot(slot: &str) -> Result<(), String> {
    let slot: SystemSlot = slot.parse()?;
    let (record, running) = upgrade::here().map_err(|error| error.to_string())?;
    let goes_over = slot != running;
    if goes_over && upgrade::is_waiting() {
        carry_again(&record, running)?;
    }
    upgrade::next_start(running, slot, Path::new(ESP)).map_err(|error| error.to_string())?;
    if !goes_over {
        return Ok(());
    }
    if let Err(error) = upgrade::forget_waiting() {
        // At worst a system that was tried before gets the settings of this one, which is the host's.
        println!("it cannot be noted that the other system is started: {error}");
    }
    start_again()
}

/// What was changed here since the other slot was filled goes into it, too.
fn carry_again(record: &Record, running: SystemSlot) -> Result<(), String> {
    no_network_on_trial()?;
    let here = Here::read(running)?;
    let plan = upgrade::carry_again(record, running, &here.settings(), &here.other);
    let mut console = Console;
    let mut watch = Lines { terminal: &mut console, last: 0 };
    apply_without_image(&plan, &mut watch).map_err(|error| error.to_string())
}

fn no_network_on_trial() -> Result<(), String> {
    if console::network_on_trial() {
        return Err("the orchestrator is trying another network on this host, which the new system would keep whatever becomes \
                    of it; try again when that is over"
            .to_owned());
    }
    Ok(())
}

/// What an upgrade has to know of the running system.
struct Here {
    fstab: String,
    shadow: String,
    address: Option<String>,
    /// The device of the slot that does not run.
    other: String,
}

impl Here {
    fn read(running: SystemSlot) -> Result<Self, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
        Ok(Self {
            fstab: read("/etc/fstab")?,
            shadow: read("/etc/shadow")?,
            address: live::address_of(BRIDGE),
            other: upgrade::other(Path::new("/"), running.other()).map_err(|error| error.to_string())?,
        })
    }

    fn settings(&self) -> upgrade::Old<'_> {
        upgrade::Old { root: "/", fstab: &self.fstab, shadow: &self.shadow, address: self.address.as_deref() }
    }
}

fn upgrade(folder: &Path, key: Option<String>, age: Age, mode: Mode) -> Result<(), String> {
    let running = fill(folder, key, age, mode)?;
    if mode == Mode::PlanOnly {
        return Ok(());
    }
    upgrade::commit(running, Path::new(ESP)).map_err(|error| error.to_string())?;
    println!(
        "slot {} is tried at the next start; if it does not come up, this one starts again",
        running.other().as_str()
    );
    Ok(())
}

/// Into the slot that does not run. Answers which one does.
fn fill(folder: &Path, key: Option<String>, age: Age, mode: Mode) -> Result<SystemSlot, String> {
    let key = match key {
        Some(key) => key,
        None => fs::read_to_string(IMAGE_KEY)
            .map_err(|error| format!("cannot read {IMAGE_KEY}: {error}; give --key"))?,
    };
    let image = Image::open_signed(folder, &key).map_err(|error| error.to_string())?;
    if age == Age::NotOlder {
        let running = fs::read_to_string(SOURCE_DATE).unwrap_or_default();
        upgrade::ensure_not_older(&image.description, &running)?;
    }
    let (record, running) = upgrade::here().map_err(|error| error.to_string())?;
    let here = Here::read(running)?;
    let plan = upgrade::plan(&record, running, &here.settings(), (&here.other, &image.description.version));
    for line in &plan.summary {
        println!("{line}");
    }
    if mode == Mode::PlanOnly {
        return Ok(running);
    }
    no_network_on_trial()?;
    upgrade::give_up_other(&record, running, Path::new(ESP), &mut |line| println!("{line}"))
        .map_err(|error| error.to_string())?;
    let unnoted =
        |error: std::io::Error| format!("it cannot be noted whether the other system waits: {error}");
    upgrade::forget_waiting().map_err(unnoted)?;
    let mut console = Console;
    let mut watch = Lines { terminal: &mut console, last: 0 };
    apply(&plan, &image, &mut watch).map_err(|error| error.to_string())?;
    upgrade::note_waiting().map_err(unnoted)?;
    watch.percent("ready", 100);
    Ok(running)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
