//! The installer at a keyboard: questions on any text console, a serial line of 115200 baud included.
//!
//! Plain lines instead of a full-screen interface: they work on every terminal, survive a lost connection, can be read
//! again by scrolling up, and a test can type them. Nothing is written before the name of each disk was typed.

mod questions;
mod terminal;

use std::fs;
use std::path::Path;

pub use self::terminal::{Console, Terminal};

use crate::answers::{After, Answers};
use crate::apply::Watch;
use crate::existing::{self, Existing};
use crate::facts::Facts;
use crate::session::{self, Ready};

/// What the unattended installation could not do, for whoever comes to the console.
pub const FAILED: &str = "/run/xenith/failed";

/// How a session at the console ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Installed(After),
    /// Somebody wants a shell.
    Shell,
}

/// Runs the questions until something is installed or a shell is wanted.
pub fn run(terminal: &mut dyn Terminal) -> std::io::Result<Ended> {
    terminal.show(&format!("\n\nXenith {}: installation of a Xen host", env!("CARGO_PKG_VERSION")));
    if let Ok(why) = fs::read_to_string(Path::new(FAILED)) {
        terminal.show(&format!("\nThe unattended installation did not succeed:\n  {}\n", why.trim()));
    }
    terminal.show("Nothing is written to any disk before you typed its name.");
    loop {
        match terminal.ask("Enter begins, `shell` opens a shell")?.as_str() {
            "" => {}
            "shell" => return Ok(Ended::Shell),
            _ => continue,
        }
        if let Some(existing) = existing::find()
            && let Some(ended) = upgrade(terminal, &existing)?
        {
            return Ok(ended);
        }
        match crate::facts::Facts::gather() {
            Ok(facts) => {
                if let Some(ended) = install(terminal, &facts)? {
                    return Ok(ended);
                }
            }
            Err(error) => terminal.show(&format!("This machine cannot be looked at: {error}")),
        }
    }
}

/// Offers to upgrade the host that is here. `None`: it is not wanted, or did not work.
fn upgrade(terminal: &mut dyn Terminal, existing: &Existing) -> std::io::Result<Option<Ended>> {
    terminal.show(&format!(
        "\n{} is installed on this machine (slot {} starts). `upgrade` puts the system of this medium into its other \
         slot and loses nothing.",
        existing.name,
        existing.good.as_str()
    ));
    if terminal.ask("`upgrade`, or Enter for an installation from the beginning")? != "upgrade" {
        return Ok(None);
    }
    let (plan, image) = match existing.plan() {
        Ok(planned) => planned,
        Err(problem) => {
            terminal.show(&format!("\nThis does not work: {problem}"));
            return Ok(None);
        }
    };
    terminal.show("\nThis will be done:\n");
    for line in &plan.summary {
        terminal.show(&format!("  {line}"));
    }
    let typed = terminal.ask(&format!("\nType {} to begin; anything else goes back", existing.name))?;
    if typed != existing.name {
        return Ok(None);
    }
    if let Err(problem) = existing.apply(&plan, &image, &mut Lines { terminal, last: 0 }) {
        terminal.show(&format!("\n{problem}\nThe host starts as before. The log is {}.", crate::apply::LOG));
        return Ok(None);
    }
    terminal.show(
        "\nThe new system is tried at the next start. If it does not come up, the old one starts again.",
    );
    Ok(Some(Ended::Installed(plan.after)))
}

/// One round of questions. `None`: back to the beginning.
fn install(terminal: &mut dyn Terminal, facts: &Facts) -> std::io::Result<Option<Ended>> {
    let answers = questions::ask(terminal, facts)?;
    let ready = loop {
        match session::prepare(&answers, facts, &mut |line| terminal.show(line)) {
            Ok(ready) => break ready,
            Err(error) => {
                terminal.show(&format!("\nThis does not work: {error}"));
                match terminal
                    .ask("`r` tries again, `s` opens a shell, Enter goes back to the questions")?
                    .as_str()
                {
                    "r" => {}
                    "s" => return Ok(Some(Ended::Shell)),
                    _ => return Ok(nothing_written(terminal)),
                }
            }
        }
    };
    if !confirmed(terminal, &answers, facts, &ready)? {
        return Ok(nothing_written(terminal));
    }
    loop {
        let Err(error) = ready.apply(&mut Lines { terminal, last: 0 }) else {
            terminal.show("\nInstalled.");
            return Ok(Some(Ended::Installed(ready.plan.after)));
        };
        terminal.show(&format!("\n{error}\nThe log is {}.", crate::apply::LOG));
        match terminal.ask("`r` tries again from the beginning, `s` opens a shell, Enter gives up")?.as_str()
        {
            "r" => {}
            "s" => return Ok(Some(Ended::Shell)),
            _ => {
                terminal.show(
                    "Given up. Unless the message above says otherwise, the disks were written in part, and what was on \
                     them is lost.",
                );
                return Ok(None);
            }
        }
    }
}

fn nothing_written(terminal: &mut dyn Terminal) -> Option<Ended> {
    terminal.show("Nothing was written.");
    None
}

/// Shows the summary, and takes the names of the disks for a yes.
fn confirmed(
    terminal: &mut dyn Terminal,
    answers: &Answers,
    facts: &Facts,
    ready: &Ready,
) -> std::io::Result<bool> {
    terminal.show("\nThis will be done:\n");
    for line in &ready.plan.summary {
        terminal.show(&format!("  {line}"));
    }
    for wanted in &answers.target.disks {
        let path =
            crate::disks::find(&facts.disks, wanted).map_or(wanted.as_str(), |disk| disk.path.as_str());
        let typed = terminal.ask(&format!("\nType {path} to erase it; anything else goes back"))?;
        if typed != path {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Progress as lines.
pub struct Lines<'a> {
    pub terminal: &'a mut dyn Terminal,
    pub last: u64,
}

impl Watch for Lines<'_> {
    fn step(&mut self, number: usize, of: usize, title: &str) {
        self.last = 0;
        self.terminal.show(&format!("[{number}/{of}] {title}"));
    }

    fn percent(&mut self, what: &str, percent: u64) {
        // A line for every tenth: a serial log stays readable.
        if percent / 10 != self.last / 10 {
            self.terminal.show(&format!("      {what}: {percent} %"));
        }
        self.last = percent;
    }
}
