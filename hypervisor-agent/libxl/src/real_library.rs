//! Tests of the real libxenlight without Xen.
//!
//! With a shim in the place of the hypervisor's library and a xenstored of the test's own, libxl opens and
//! converts JSON. The shim must be preloaded, so such a test runs itself again in a child process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use xenith_hypervisor_agent_backend::{EventSender, HypervisorError};
use xenith_hypervisor_agent_libxl_sys::{
    Library, LoadError, libxl_device_disk, libxl_device_nic, libxl_domain_config,
    libxl_domain_restore_params, libxl_domain_sched_params,
};
use xenith_hypervisor_agent_types::{BootDevice, CpuFeatures, CpuLevel, DomainSpec, Firmware, PlatformKind};
use xenith_hypervisor_agent_xenstore::test_support::XenstoredFixture;

use crate::config;
use crate::fixtures::spec;
use crate::hotplug::Hotplug;
use crate::raw::{Context, OpenError, Wake, library};
use crate::reader::Reader;

const CHILD: &str = "XENITH_TEST_PRELOADED";

/// `None` where Xen's libraries are not installed.
fn installed() -> Option<&'static Library> {
    match library() {
        Ok(library) => Some(library),
        Err(LoadError::NotInstalled { tried }) => {
            println!("not tested, none of {tried} is installed here");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn open(library: &'static Library) -> Result<Context, OpenError> {
    Context::open(library, Arc::new(Wake::new().unwrap()))
}

/// Runs the test `name` again in a child, with the shim and a xenstored. `true`: this is the child.
async fn in_a_child(name: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let store = XenstoredFixture::start().await;
    let test = std::env::current_exe().unwrap();
    let child = tokio::process::Command::new(&test)
        .args(["--exact", &format!("real_library::{name}"), "--nocapture"])
        .env(CHILD, "1")
        .env("LD_PRELOAD", shim(&test))
        .env("XENSTORED_PATH", store.socket())
        .output()
        .await
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", child.status);
    false
}

/// The fixture has just made or found it in the build's `tmp` folder.
fn shim(test: &Path) -> PathBuf {
    let folder = test.ancestors().nth(3).unwrap().join("tmp");
    let shims = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let shims = shims.filter(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.starts_with("fakexen-") && name.ends_with(".so")
    });
    shims.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap()).unwrap().path()
}

#[test]
fn without_xen_there_is_one_typed_error() {
    if Path::new("/proc/xen/capabilities").exists() {
        return println!("not tested, there is Xen here");
    }
    let Some(library) = installed() else { return };
    for _ in 0..3 {
        let Err(error) = open(library) else { panic!("a context without Xen") };
        assert!(matches!(&error, OpenError::Unreachable(_)), "{error}");
        assert!(error.to_string().contains("privileged command interface"), "{error}");
    }
}

#[tokio::test]
async fn configurations_round_trip() {
    let Some(library) = installed() else { return };
    if !in_a_child("configurations_round_trip").await {
        return;
    }
    let context = open(library).unwrap();
    let boot_order = vec![BootDevice::Network, BootDevice::Disk];
    let uefi = DomainSpec { firmware: Firmware::Uefi, boot_order, ..spec(PlatformKind::Hvm) };
    for spec in PlatformKind::ALL.map(spec).into_iter().chain([uefi]) {
        let ours = config::domain(
            &spec,
            &[Path::new("/dev/loop7")],
            &Hotplug::Own("/var/lib/xenith/hotplug".into()),
        );
        let mut parsed = context.parse::<libxl_domain_config>("parsing", &ours.to_string()).unwrap();
        let theirs = context.json("writing", &mut parsed).unwrap();
        let theirs: Value = serde_json::from_str(&theirs).unwrap();
        assert_kept(&ours, &theirs, &format!("{} {:?}", spec.kind, spec.firmware));
    }
}

#[tokio::test]
async fn a_cpu_policy_is_read_as_it_is_meant() {
    let Some(library) = installed() else { return };
    if !in_a_child("a_cpu_policy_is_read_as_it_is_meant").await {
        return;
    }
    let context = open(library).unwrap();
    let features = |avx2| CpuFeatures::new("GenuineIntel", [1, 1, 1, 1, 1, avx2, 0, 0]).unwrap();
    let mut spec = spec(PlatformKind::Pvh);
    spec.hardware.cpu_level = CpuLevel::on(features(0x21), &features(1));
    let ours = config::domain(&spec, &[Path::new("/dev/loop7")], &Hotplug::Xens);
    let mut parsed = context.parse::<libxl_domain_config>("parsing", &ours.to_string()).unwrap();
    let theirs: Value = serde_json::from_str(&context.json("writing", &mut parsed).unwrap()).unwrap();
    // Newer ones have MSRs beside it.
    let cpuid = theirs.pointer("/b_info/cpuid/cpuid").or_else(|| theirs.pointer("/b_info/cpuid"));
    assert_eq!(cpuid, ours.pointer("/b_info/cpuid"));
}

#[tokio::test]
async fn hardware_round_trips() {
    let Some(library) = installed() else { return };
    if !in_a_child("hardware_round_trips").await {
        return;
    }
    let context = open(library).unwrap();
    let mut spec = spec(PlatformKind::Hvm);
    spec.hardware = crate::fixtures::hardware();
    let ours =
        config::domain(&spec, &[Path::new("/dev/loop7")], &Hotplug::Own("/var/lib/xenith/hotplug".into()));
    let mut parsed = context.parse::<libxl_domain_config>("parsing", &ours.to_string()).unwrap();
    let theirs: Value = serde_json::from_str(&context.json("writing", &mut parsed).unwrap()).unwrap();
    assert_kept(&ours, &theirs, "hvm");
    let empty = config::cd(None);
    let mut parsed = context.parse::<libxl_device_disk>("parsing", &empty.to_string()).unwrap();
    let theirs: Value = serde_json::from_str(&context.json("writing", &mut parsed).unwrap()).unwrap();
    assert_kept(&empty, &theirs, "cd");
    let share = config::scheduling(&spec.hardware.cpu).to_string();
    context.parse::<libxl_domain_sched_params>("parsing", &share).unwrap();
}

/// Everything that we wrote is in what libxl read, but for values that are libxl's defaults.
fn assert_kept(ours: &Value, theirs: &Value, path: &str) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                match theirs.get(key) {
                    Some(theirs) => assert_kept(value, theirs, &format!("{path}.{key}")),
                    None => assert!(is_default(value), "{path}.{key}: {value} was lost"),
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{path}");
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                assert_kept(ours, theirs, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(ours, theirs, "{path}"),
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Object(members) => members.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

#[tokio::test]
async fn sizes_fit_with_room() {
    let Some(library) = installed() else { return };
    if !in_a_child("sizes_fit_with_room").await {
        return;
    }
    let context = open(library).unwrap();
    let config = context.parse::<libxl_domain_config>("parsing", "{}").unwrap();
    let disk = context.parse::<libxl_device_disk>("parsing", "{}").unwrap();
    let nic = context.parse::<libxl_device_nic>("parsing", "{}").unwrap();
    let parameters = context.parse::<libxl_domain_restore_params>("parsing", "{}").unwrap();
    let sizes = [config.size(), disk.size(), nic.size(), parameters.size()];
    if library.soname().ends_with("4.17") {
        // `sizeof` in Xen 4.17 on x86-64, as a C compiler sees it.
        assert_eq!(sizes[..2], [1288, 144]);
    }
    assert!(sizes.iter().all(|size| (8..4096).contains(size)), "{sizes:?}");
}

#[tokio::test]
async fn what_is_not_json_is_an_error_with_a_reason() {
    let Some(library) = installed() else { return };
    if !in_a_child("what_is_not_json_is_an_error_with_a_reason").await {
        return;
    }
    let context = open(library).unwrap();
    for bad in ["", "{", r#"{"c_info":{"type":"no such kind"}}"#, r#"{"c_info":{"uuid":"x"}}"#, "{}\0"] {
        let parsed = context.parse::<libxl_domain_config>("parsing", bad);
        let failure = parsed.err().unwrap_or_else(|| panic!("{bad:?} was taken"));
        assert!(failure.code < 0, "{bad:?}: {failure}");
    }
}

#[tokio::test]
async fn a_question_that_panics_ends_no_other() {
    let Some(library) = installed() else { return };
    if !in_a_child("a_question_that_panics_ends_no_other").await {
        return;
    }
    let reader = Reader::start(library, EventSender::new()).await.unwrap();
    let panicked = reader.ask(|_| -> u32 { panic!("as this test does") }).await;
    assert_eq!(panicked, Err(HypervisorError::Closed));
    assert_eq!(reader.ask(|_| 7).await, Ok(7));
}
