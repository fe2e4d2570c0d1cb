//! Is this a Xen control domain, and can we talk to all of it?

use std::time::Duration;

use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_libxl as libxl;
use xenith_hypervisor_agent_types::HostFacts;
use xenith_hypervisor_agent_xenstore::{self as xenstore, Endpoint, Xenstore};

use super::{Check, Machine};
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(10);
/// `XENFEAT_dom0` of Xen's public `features.h`.
const FEATURE_DOM0: u32 = 11;
/// Debian's dom0 with the agent and a few backends; less gets killed by its own kernel sooner or later.
const DOM0_LEAST_MIB: u64 = 512;

pub(super) async fn checks(machine: &Machine, config: &Config) -> Vec<Check> {
    let tasks = TaskSet::new();
    let mut checks = vec![hypervisor(machine)];
    let (check, store) = xenstored(&tasks).await;
    checks.push(check);
    let (check, facts) = toolstack(store, &tasks).await;
    checks.push(check);
    checks.push(guest_kinds(machine, facts.as_ref()));
    checks.push(memory(config, facts.as_ref()));
    if let Err(stragglers) = tasks.shut_down(Duration::from_secs(1)).await {
        tracing::debug!(%stragglers, "left behind");
    }
    checks
}

pub(super) fn hypervisor(machine: &Machine) -> Check {
    let name = "xen";
    let part = |part: &str| machine.text(&format!("sys/hypervisor/version/{part}")).unwrap_or_default();
    if machine.text("sys/hypervisor/type").as_deref() != Some("xen") {
        return Check::fail(name, "this machine does not run under Xen")
            .because("VMs are domains of Xen; without it there is nothing to run them")
            .fix("apt install xen-system-amd64, reboot, and choose Xen in the boot menu");
    }
    let version = format!("Xen {}.{}{}", part("major"), part("minor"), part("extra"));
    if is_dom0(machine) {
        return Check::ok(name, format_args!("{version}, this is its control domain"));
    }
    Check::fail(name, format_args!("{version}, but this is a guest of it"))
        .because("only the control domain (dom0) may make domains")
        .fix("run the agent in dom0")
}

fn is_dom0(machine: &Machine) -> bool {
    if let Some(capabilities) = machine.text("proc/xen/capabilities") {
        return capabilities.contains("control_d");
    }
    // xenfs is not mounted everywhere.
    machine
        .text("sys/hypervisor/properties/features")
        .and_then(|features| u32::from_str_radix(&features, 16).ok())
        .is_some_and(|features| features & (1 << FEATURE_DOM0) != 0)
}

async fn xenstored(tasks: &TaskSet) -> (Check, Option<Xenstore>) {
    let name = "xenstored";
    let endpoint = Endpoint::discover();
    let failed = |found: String| {
        Check::fail(name, found)
            .because("domains, their devices and what guests say of themselves are found through it")
            .fix("systemctl start xenstored (Debian: the xen service starts it under Xen)")
    };
    let connecting = Xenstore::connect(xenstore::Options::new(endpoint.clone()), tasks);
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(store)) => (Check::ok(name, format_args!("answers at {endpoint}")), Some(store)),
        Ok(Err(error)) => (failed(full(&error)), None),
        Err(_) => (failed(format!("does not answer at {endpoint}")), None),
    }
}

/// libxenlight, and what it says of the machine.
async fn toolstack(store: Option<Xenstore>, tasks: &TaskSet) -> (Check, Option<HostFacts>) {
    let name = "libxenlight";
    let why = "the agent makes and ends domains through it";
    let library = match xenith_hypervisor_agent_libxl_sys::load() {
        Ok(library) => library.soname().to_owned(),
        Err(error) => {
            let check = Check::fail(name, full(&error)).because(why);
            return (check.fix("apt install xen-system-amd64 (it brings libxenlight)"), None);
        }
    };
    let Some(store) = store else {
        let found = format!("{library}, not tried: xenstored does not answer");
        return (Check::warn(name, found).because(why).fix("see xenstored"), None);
    };
    let asked = async {
        let xen = libxl::Libxl::open(libxl::Options::default(), store, tasks).await?;
        let facts = xen.host().await;
        xen.close().await;
        facts
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(facts)) => (Check::ok(name, format_args!("{library}, works")), Some(facts)),
        Ok(Err(error)) => {
            let check = Check::fail(name, format_args!("{library}: {}", full(&error))).because(why);
            (check.fix("see xen and xenstored; only root in dom0 may use it"), None)
        }
        Err(_) => {
            let check = Check::fail(name, format_args!("{library} does not answer")).because(why);
            (check.fix("look for hung xl processes and at /var/log/xen"), None)
        }
    }
}

fn guest_kinds(machine: &Machine, facts: Option<&HostFacts>) -> Check {
    let name = "guests";
    let words: Vec<String> = match facts {
        Some(facts) => facts.capabilities.clone(),
        // Such as "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_64".
        None => machine
            .text("sys/hypervisor/properties/capabilities")
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|word| word.split('-').next())
            .map(|word| if word == "xen" { "pv".to_owned() } else { word.to_owned() })
            .collect(),
    };
    let has = |word: &str| words.iter().any(|known| known == word);
    let fix = "switch on VT-x or AMD-V (and nested paging) in the firmware; then: reboot";
    if words.is_empty() {
        return Check::fail(name, "not known").because("Xen did not say what it can run").fix("see xen");
    }
    if !has("hvm") {
        return Check::warn(name, words.join(", "))
            .because("only PV guests can run: no PVH, no HVM")
            .fix(fix);
    }
    if facts.is_some() && !has("hap") {
        return Check::warn(name, words.join(", "))
            .because("HVM and PVH are slow without nested paging")
            .fix(fix);
    }
    Check::ok(name, words.join(", "))
}

fn memory(config: &Config, facts: Option<&HostFacts>) -> Check {
    let name = "memory";
    let Some(facts) = facts else {
        return Check::warn(name, "not known").because("only libxenlight tells").fix("see libxenlight");
    };
    let found = format!(
        "{} in all, {} free for guests, dom0 has {}",
        facts.memory_total, facts.memory_free, facts.memory_dom0
    );
    let dom0_mem = "set dom0_mem=2048M,max:2048M in GRUB_CMDLINE_XEN_DEFAULT, update-grub, reboot";
    if facts.memory_dom0.mib() < DOM0_LEAST_MIB {
        return Check::warn(name, found).because("dom0 is short of memory itself").fix(dom0_mem);
    }
    let dom0_holds_it = facts.memory_dom0.mib() > facts.memory_total.mib() / 2;
    if dom0_holds_it && config.dom0_memory_min.is_none() {
        return Check::warn(name, found)
            .because("dom0 holds most of it, and may not give it to guests")
            .fix(format_args!("{dom0_mem}; or set dom0_memory_min in the agent's settings"));
    }
    Check::ok(name, found)
}

fn full(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
