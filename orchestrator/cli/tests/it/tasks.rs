//! Waiting for tasks.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xenith_orchestrator_types::task::TaskStatus;

use crate::lists::interrupt;
use crate::program::{Program, finish};
use crate::samples::{ID, answer_everything, started, task};
use crate::server::FakeOrchestrator;

async fn server_with(states: &[TaskStatus]) -> FakeOrchestrator {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    server.feed("task.subscribe", states.iter().map(|status| json!(task(*status))).collect());
    server.answer("task.get", task(TaskStatus::Running));
    server
}

#[tokio::test]
async fn a_script_does_not_wait_unless_it_says_so() {
    let server = server_with(&[TaskStatus::Running, TaskStatus::Done]).await;
    let program = Program::signed_in(&server);
    let outcome = program.run(&["vm", "start", "web-1", "-o", "json"]).await.is(0);
    let answer: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(answer, json!(started()));
    assert_eq!(server.subscribed(), 0);
    let outcome = program.run(&["vm", "start", "web-1", "--wait", "-o", "json"]).await.is(0);
    let answer: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(answer["status"], "done");
    assert_eq!(program.run(&["vm", "start", "web-1", "-o", "id"]).await.is(0).out, format!("{ID}\n"));
    let outcome = program.run(&["vm", "start", "web-1", "--wait"]).await.is(0);
    assert!(outcome.out.starts_with("Start web-1: done in "), "{}", outcome.out);
    assert_eq!(outcome.err, "", "progress is for terminals");
}

#[tokio::test]
async fn a_task_ends_as_the_command_ends() {
    for (status, code, words) in [
        (TaskStatus::Done, 0, ""),
        (TaskStatus::RolledBack, 7, "Start web-1: failed and was undone\n  xen1: not enough memory\n"),
        (TaskStatus::Parked, 7, "xenith task retry"),
        (TaskStatus::Abandoned, 7, "was abandoned"),
    ] {
        let server = server_with(&[TaskStatus::Running, status]).await;
        let program = Program::signed_in(&server);
        for arguments in [["vm", "start", "web-1", "--wait"].as_slice(), &["task", "wait", ID]] {
            let outcome = program.run(arguments).await.is(code);
            assert!(outcome.err.contains(words), "{}", outcome.err);
        }
        server.answer("task.get", task(status));
        program.run(&["task", "wait", ID]).await.is(code);
    }
}

#[tokio::test]
async fn a_broken_connection_is_waited_out() {
    let server = server_with(&[TaskStatus::Running]).await;
    let child = Program::signed_in(&server).spawn(&["vm", "start", "web-1", "--wait"]);
    until(|| server.subscribed() == 1).await;
    server.feed("task.subscribe", vec![json!(task(TaskStatus::Done))]);
    server.cut();
    finish(child).await.is(0);
}

#[tokio::test]
async fn ctrl_c_leaves_the_task_running() {
    let server = server_with(&[TaskStatus::Running]).await;
    let child = Program::signed_in(&server).spawn(&["vm", "start", "web-1", "--wait"]);
    until(|| server.subscribed() == 1).await;
    interrupt(&child);
    let outcome = finish(child).await.is(130);
    assert!(outcome.err.contains(&format!("runs on as task {ID}")), "{}", outcome.err);
    assert!(server.asked().iter().all(|asked| asked.method != "task.cancel"));
}

#[tokio::test]
async fn patience_ends_before_the_task() {
    let server = server_with(&[TaskStatus::Running]).await;
    let program = Program::signed_in(&server);
    let outcome = program.run(&["vm", "start", "web-1", "--timeout", "100ms"]).await.is(8);
    assert!(outcome.err.contains("still runs after 100ms"), "{}", outcome.err);
}

#[tokio::test]
async fn a_dry_run_shows_the_plan() {
    let server = server_with(&[]).await;
    let program = Program::signed_in(&server);
    let outcome = program.run(&["vm", "delete", "web-1", "--dry-run"]).await.is(0);
    assert_eq!(
        outcome.out,
        "This would be done; nothing was changed.\n  host: xen1\n  steps:\n    - place\n    - make disk\n"
    );
    assert!(server.asked().iter().all(|asked| asked.dry_run));
    let outcome = program.run(&["vm", "delete", "web-1", "--dry-run", "-o", "json"]).await.is(0);
    assert_eq!(serde_json::from_str::<Value>(&outcome.out).unwrap()["host"], "xen1");
}

#[tokio::test]
async fn what_cannot_be_undone_is_planned_without_a_question() {
    let server = server_with(&[]).await;
    let program = Program::signed_in(&server);
    for line in [
        "vm power-off web-1",
        "vm shutdown web-1",
        "vm detach-disk web-1 xvda",
        "vm clone web-1 web-2",
        "snapshot clone fresh web-2",
        "template deploy debian web-2",
        "vdi delete data",
        "vdi migrate data --sr fast",
        "snapshot create fresh --vm web-1 --memory",
        "snapshot revert fresh",
        "snapshot revert fresh --disks-only",
        "template delete debian",
        "backup delete 0189",
        "backup restore web-1@latest",
        "backup restore web-1@latest --in-place",
        "host remove xen1 --force",
        "host evacuate xen1",
        "host upgrade xen1 https://example.org/live",
        "host reboot xen1",
        "host shutdown xen1 --shut-down-vms",
        "host set-management xen1 --vlan 7",
        "vm migrate web-1 --host xen2",
        "pool balance default",
        "pool set-cpu-level default auto",
        "pool update default --reboot",
    ] {
        let arguments: Vec<_> = line.split(' ').chain(["--dry-run"]).collect();
        let outcome = program.run(&arguments).await.is(0);
        assert!(
            outcome.out.starts_with("This would be done; nothing was changed.\n"),
            "{line}: {}",
            outcome.out
        );
    }
    assert!(server.asked().iter().all(|asked| asked.dry_run), "{:?}", server.asked());
}

#[tokio::test]
async fn a_key_goes_along() {
    let server = server_with(&[]).await;
    Program::signed_in(&server).run(&["vm", "start", "web-1", "--idempotency-key", "mine"]).await.is(0);
    assert_eq!(server.asked()[0].key.as_deref(), Some("mine"));
}

/// Polls a condition, at most half a minute.
async fn until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "it did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
