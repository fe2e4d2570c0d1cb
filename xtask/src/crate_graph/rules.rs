//! Who may depend on whom.
//!
//! The first row whose pattern fits a crate decides; a pattern may end in `*`. Every crate must fit a row, so a new
//! component has to say where it stands.

use std::collections::BTreeSet;

use super::{Edge, When};

struct Row {
    crates: &'static str,
    may_use: &'static [&'static str],
    /// Allowed besides in tests.
    tests_may_use: &'static [&'static str],
    why: &'static str,
}

const COMMON: &str = "xenith-common-*";

/// Crates that only tests and test programs use.
const SUPPORT: &str = "xenith-common-test-support";

const ROWS: &[Row] = &[
    Row { crates: COMMON, may_use: &[COMMON], tests_may_use: &[], why: "common is below everything" },
    Row {
        crates: "xenith-backup*",
        may_use: &[COMMON, "xenith-backup*"],
        tests_may_use: &[],
        why: "backup works without host or orchestrator",
    },
    Row {
        crates: "xenith-vmware-import*",
        may_use: &[COMMON, "xenith-vmware-import*"],
        tests_may_use: &[],
        why: "the importer works without host or orchestrator",
    },
    Row {
        crates: "xenith-hypervisor-agent-libxl-sys",
        may_use: &[],
        tests_may_use: &[],
        why: "raw bindings know nothing of ours",
    },
    Row {
        crates: "xenith-hypervisor-agent-types",
        may_use: &[COMMON],
        tests_may_use: &[],
        why: "vocabulary depends on common only",
    },
    Row {
        crates: "xenith-hypervisor-agent-api",
        may_use: &[COMMON, "xenith-hypervisor-agent-types"],
        tests_may_use: &[],
        why: "the contract depends on the vocabulary only",
    },
    Row {
        crates: "xenith-hypervisor-agent-client",
        may_use: &[COMMON, "xenith-hypervisor-agent-types", "xenith-hypervisor-agent-api"],
        tests_may_use: &["xenith-hypervisor-agent", "xenith-hypervisor-agent-sim"],
        why: "a client knows the contract, never the server",
    },
    Row {
        crates: "xenith-hypervisor-agent*",
        may_use: &[COMMON, "xenith-hypervisor-agent*", "xenith-backup", "xenith-vmware-import"],
        tests_may_use: &[],
        why: "the agent never depends on the orchestrator",
    },
    Row {
        crates: "xenith-orchestrator-types",
        may_use: &[COMMON, "xenith-hypervisor-agent-types"],
        tests_may_use: &[],
        why: "vocabulary depends on common and the agent's vocabulary only",
    },
    Row {
        crates: "xenith-orchestrator-api",
        may_use: &[COMMON, "xenith-hypervisor-agent-types", "xenith-orchestrator-types"],
        tests_may_use: &[],
        why: "the contract depends on the vocabulary only",
    },
    Row {
        crates: "xenith-orchestrator-client",
        may_use: &[
            COMMON,
            "xenith-hypervisor-agent-types",
            "xenith-orchestrator-types",
            "xenith-orchestrator-api",
        ],
        tests_may_use: &["xenith-orchestrator"],
        why: "a client knows the contract, never the server",
    },
    Row {
        crates: "xenith-orchestrator-cli",
        may_use: &[
            COMMON,
            "xenith-hypervisor-agent-types",
            "xenith-orchestrator-types",
            "xenith-orchestrator-api",
            "xenith-orchestrator-client",
            // It opens the files that it sends.
            "xenith-vmware-import",
        ],
        tests_may_use: &["xenith-orchestrator*", "xenith-hypervisor-agent*", "xenith-vmware-import*"],
        why: "the CLI is one client among others",
    },
    Row {
        crates: "xenith-orchestrator-store",
        may_use: &[COMMON],
        tests_may_use: &[],
        why: "the store keeps bytes and knows no VM",
    },
    Row {
        crates: "xenith-orchestrator-saga",
        may_use: &[COMMON, "xenith-orchestrator-store"],
        tests_may_use: &[],
        why: "the saga engine knows no VM",
    },
    Row {
        crates: "xenith-orchestrator-test-utils",
        may_use: &[COMMON, "xenith-orchestrator*", "xenith-hypervisor-agent*"],
        tests_may_use: &[],
        why: "the harness starts real agents over the simulator",
    },
    Row {
        crates: "xenith-orchestrator*",
        may_use: &[
            COMMON,
            "xenith-orchestrator*",
            "xenith-hypervisor-agent-types",
            "xenith-hypervisor-agent-api",
            "xenith-hypervisor-agent-client",
            "xenith-backup",
            "xenith-vmware-import",
        ],
        tests_may_use: &["xenith-hypervisor-agent*", "xenith-vmware-import*"],
        why: "the orchestrator talks to agents through their client",
    },
    Row {
        crates: "xtask",
        may_use: &[],
        tests_may_use: &[],
        why: "make starts with xtask on a machine that cannot build the rest yet",
    },
    Row {
        crates: "xenith-installer-media",
        may_use: &["xenith-installer", "xenith-lab*"],
        tests_may_use: &["xenith-*"],
        why: "the medium is made from the lab's recipe, and its test drives the product",
    },
    Row {
        crates: "xenith-installer",
        may_use: &[COMMON, "xenith-hypervisor-agent-api", "xenith-hypervisor-agent-types"],
        tests_may_use: &[],
        why: "the installer knows the agent's join token and what the agent asks of the slots",
    },
    Row {
        crates: "xenith-lab*",
        may_use: &["xenith-*"],
        tests_may_use: &[],
        why: "the lab drives the product",
    },
    Row {
        crates: "xenith-benches*",
        may_use: &["xenith-*"],
        tests_may_use: &[],
        why: "the benches drive the product",
    },
];

/// What nobody may depend on in the product, because it is a program or belongs to tests.
const LEAVES: &[&str] =
    &["xtask", "xenith-lab*", "xenith-benches*", "xenith-installer-media", "xenith-orchestrator-cli"];

/// The edges that no review can make right, as messages.
pub fn violations(edges: &BTreeSet<Edge>) -> Vec<String> {
    edges.iter().filter_map(violation).collect()
}

fn violation(edge: &Edge) -> Option<String> {
    let Some(row) = ROWS.iter().find(|row| fits(row.crates, &edge.from)) else {
        return Some(format!(
            "wrong: {edge}: no rule covers {}; add it to xtask/src/crate_graph/rules.rs",
            edge.from
        ));
    };
    let test_program = matches!(row.crates, "xenith-lab*" | "xenith-benches*" | "xenith-installer-media");
    if !test_program && any_fits(LEAVES, &edge.to) {
        return Some(format!("wrong: {edge}: nothing depends on {}", edge.to));
    }
    if edge.to == SUPPORT && edge.when == When::Always && !test_program && !edge.from.ends_with("-test-utils")
    {
        return Some(format!("wrong: {edge}: {SUPPORT} is for tests"));
    }
    let allowed = any_fits(row.may_use, &edge.to)
        || (edge.when == When::Tests && any_fits(row.tests_may_use, &edge.to));
    (!allowed).then(|| format!("wrong: {edge}: {}", row.why))
}

fn any_fits(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, name))
}

fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_judged_by_direction() {
        use When::{Always, Tests};
        for (from, to, when, allowed) in [
            ("xenith-common-block", "xenith-common-units", Always, true),
            ("xenith-common-block", "xenith-backup", Always, false),
            ("xenith-hypervisor-agent-types", "xenith-common-ids", Always, true),
            ("xenith-hypervisor-agent-types", "xenith-hypervisor-agent-api", Always, false),
            ("xenith-hypervisor-agent-api", "xenith-hypervisor-agent-types", Always, true),
            ("xenith-hypervisor-agent-api", "xenith-hypervisor-agent-client", Always, false),
            ("xenith-hypervisor-agent-client", "xenith-hypervisor-agent-api", Always, true),
            ("xenith-hypervisor-agent-client", "xenith-hypervisor-agent", Always, false),
            ("xenith-hypervisor-agent-client", "xenith-hypervisor-agent", Tests, true),
            ("xenith-hypervisor-agent", "xenith-hypervisor-agent-libxl", Always, true),
            ("xenith-hypervisor-agent", "xenith-orchestrator-types", Always, false),
            ("xenith-hypervisor-agent", "xenith-orchestrator", Tests, false),
            ("xenith-hypervisor-agent-libxl-sys", "xenith-common-ids", Always, false),
            ("xenith-backup", "xenith-common-block", Always, true),
            ("xenith-backup", "xenith-vmware-import", Tests, false),
            ("xenith-vmware-import", "xenith-backup", Always, false),
            ("xenith-orchestrator", "xenith-hypervisor-agent-client", Always, true),
            ("xenith-orchestrator", "xenith-hypervisor-agent", Always, false),
            ("xenith-orchestrator", "xenith-hypervisor-agent-sim", Tests, true),
            ("xenith-orchestrator-saga", "xenith-orchestrator-types", Always, false),
            ("xenith-orchestrator", "xenith-orchestrator-cli", Tests, false),
            ("xenith-lab", "xenith-orchestrator-cli", Always, true),
            ("xenith-lab-scenario", "xenith-lab", Always, true),
            ("xenith-orchestrator", "xenith-lab-scenario", Tests, false),
            ("xenith-backup", "xenith-common-test-support", Tests, true),
            ("xenith-backup", "xenith-common-test-support", Always, false),
            ("xenith-installer", "xenith-hypervisor-agent-api", Always, true),
            ("xenith-installer", "xenith-lab", Always, false),
            ("xenith-installer-media", "xenith-lab", Always, true),
            ("xtask", "xenith-common-ids", Always, false),
            ("xenith-new-component", "xenith-common-ids", Always, false),
        ] {
            let edge = Edge { from: from.into(), to: to.into(), when };
            assert_eq!(violation(&edge).is_none(), allowed, "{edge}: {:?}", violation(&edge));
        }
    }
}
