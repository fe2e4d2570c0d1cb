//! The verbs. Each is a file of its own; a new one gets a variant here and a file beside this one.

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::setup::Purpose;
use crate::{crate_graph, docs, iso, lab, lab_test, licences, manifests, run, setup, sizes, test};

/// Builds, checks and tests Xenith. `make help` lists the everyday commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install the Debian packages that are missing, saying which and why
    Setup {
        /// What the machine is to be ready for; may be repeated [default: build and test]
        #[arg(long = "for", value_name = "PURPOSE")]
        purposes: Vec<PurposeName>,
        /// Only say what is missing
        #[arg(long)]
        check: bool,
    },
    /// Check the size budgets and house rules of the code
    Sizes,
    /// Check which of our crates uses which, against docs/crate-graph.txt and the rules of direction
    CrateGraph {
        /// Take the graph as it is as the new golden file
        #[arg(long)]
        bless: bool,
    },
    /// Check licences, bans and sources of all crates against deny.toml
    Licences,
    /// Check that each crate's name, lints and dependencies are the workspace's
    Manifests,
    /// Check links between documents, and that ARCHITECTURE.md tells truly what is built
    Docs,
    /// Run the product on this machine until Ctrl-C
    Run {
        /// A number of lab hosts, or sim [default: this machine if it is a Xen host, else one lab host]
        #[arg(long, default_value = "auto")]
        hosts: run::Hosts,
    },
    /// Start real Xen hosts in QEMU and keep them until Ctrl-C
    Lab {
        /// How many: xen1, xen2 and so on
        #[arg(long, default_value_t = 1)]
        hosts: u8,
    },
    /// Run a test on real Xen, in a QEMU host of its own
    LabTest {
        #[arg(value_enum, default_value_t = LabTestName::Scenario)]
        test: LabTestName,
    },
    /// Build the installer medium, its hash, signature and list of packages
    Iso {
        /// The folder for the results
        #[arg(long, default_value = "dist")]
        out: std::path::PathBuf,
        /// Instead, take Debian's newest packages as the locked ones
        #[arg(long)]
        update_lock: bool,
        /// Build it twice, each time from Debian's packages on, and say what differs
        #[arg(long, conflicts_with = "update_lock")]
        compare: bool,
    },
    /// Install hosts from the medium in QEMU, upgrade them, break them
    IsoTest,
    /// Do everything that `make test` promises
    Test {
        /// Do not look for Debian packages
        #[arg(long)]
        no_setup: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum PurposeName {
    Build,
    Test,
    Lab,
    Iso,
    Hvm,
    Ui,
}

#[derive(Clone, Copy, ValueEnum)]
enum LabTestName {
    /// A host joins, VMs live, everything is killed once: part of `make test`
    Scenario,
    /// Snapshots, clones, backups: a quarter of an hour
    Disks,
    /// Imports from VMware, which boot whole distributions: an hour
    Imports,
    /// Whole machines with BIOS and with UEFI, from a CD
    Hvm,
    /// The suite that each back-end has to pass, on libxl: forty minutes
    Conformance,
    /// Two hosts: live migration, shared storage, private networks, rules: half an hour
    Pool,
    /// `make run` with a real host, started twice
    Run,
}

impl From<LabTestName> for lab_test::Test {
    fn from(name: LabTestName) -> Self {
        match name {
            LabTestName::Scenario => Self::Scenario,
            LabTestName::Disks => Self::Disks,
            LabTestName::Imports => Self::Imports,
            LabTestName::Hvm => Self::Hvm,
            LabTestName::Conformance => Self::Conformance,
            LabTestName::Pool => Self::Pool,
            LabTestName::Run => Self::Run,
        }
    }
}

impl From<PurposeName> for Purpose {
    fn from(name: PurposeName) -> Self {
        match name {
            PurposeName::Build => Self::Build,
            PurposeName::Test => Self::Test,
            PurposeName::Lab => Self::Lab,
            PurposeName::Iso => Self::Iso,
            PurposeName::Hvm => Self::Hvm,
            PurposeName::Ui => Self::Ui,
        }
    }
}

pub fn run() -> Result<()> {
    match Cli::parse().verb {
        Verb::Setup { purposes, check } => {
            let mut purposes: Vec<Purpose> = purposes.into_iter().map(Purpose::from).collect();
            if purposes.is_empty() {
                purposes = vec![Purpose::Build, Purpose::Test];
            }
            setup::run(&purposes, if check { setup::Mode::Check } else { setup::Mode::Install })
        }
        Verb::Sizes => sizes::run(),
        Verb::CrateGraph { bless } => {
            crate_graph::run(if bless { crate_graph::Mode::Bless } else { crate_graph::Mode::Check })
        }
        Verb::Licences => licences::run(),
        Verb::Manifests => manifests::run(),
        Verb::Docs => docs::run(),
        Verb::Run { hosts } => run::run(hosts),
        Verb::Lab { hosts } => lab::run(hosts),
        Verb::LabTest { test } => lab_test::run(test.into()),
        Verb::Iso { out, update_lock, compare } => {
            let work = match (update_lock, compare) {
                (true, _) => iso::Work::RenewLock,
                (false, true) => iso::Work::Compare,
                (false, false) => iso::Work::Build,
            };
            iso::run(&out, work)
        }
        Verb::IsoTest => iso::test(),
        Verb::Test { no_setup } => test::run(if no_setup { test::Setup::Skip } else { test::Setup::Install }),
    }
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
