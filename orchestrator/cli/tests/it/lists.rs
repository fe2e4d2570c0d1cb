//! Lists: formats, columns, pages, and following them.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use xenith_orchestrator_types::Page;
use xenith_orchestrator_types::task::{Task, TaskStatus};
use xenith_orchestrator_types::vm::VmRow;

use crate::program::{Program, finish};
use crate::samples::{ID, answer_everything, page, row, task, vm};
use crate::server::FakeOrchestrator;

#[tokio::test]
async fn one_list_in_every_format() {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    let (one, two) = (row("web-1"), row("db"));
    server.answer("vm.list", page(vec![one.clone(), two.clone()]));
    let program = Program::signed_in(&server);
    let list = async |format: &str| program.run(&["vm", "list", "-o", format]).await.is(0).out;

    let table = "NAME   POWER    HOST  MEMORY   VCPUS  KIND  ADDRESSES  TAGS\n\
                 web-1  running  xen1  256 MiB  2      pvh   10.0.0.7   prod\n\
                 db     running  xen1  256 MiB  2      pvh   10.0.0.7   prod\n";
    assert_eq!(list("table").await, table);
    assert_eq!(list("name").await, "web-1\ndb\n");
    assert_eq!(list("id").await, format!("{}\n{}\n", one.id, two.id));
    let rows: Vec<VmRow> = serde_json::from_str(&list("json").await).unwrap();
    assert_eq!(rows, [one, two]);
    assert!(list("yaml").await.contains("name: web-1\n"));

    let colored = program.run(&["vm", "list", "--color", "always"]).await.is(0).out;
    assert!(colored.contains("\x1b[32mrunning\x1b[0m"), "{colored}");
    let chosen = program.run(&["vm", "list", "--columns", "power,name"]).await.is(0).out;
    assert!(chosen.starts_with("POWER    NAME\nrunning  web-1\n"), "{chosen}");
}

#[tokio::test]
async fn what_is_left_out_is_said() {
    let server = FakeOrchestrator::start().await;
    let first = Page { items: vec![row("a")], total: 7, next: Some("c1".into()), revision: None };
    server.answer("vm.list", &first);
    let program = Program::signed_in(&server);
    let outcome = program.run(&["vm", "list", "--limit", "1", "-f", "tag:x", "-o", "name"]).await.is(0);
    assert_eq!((outcome.out.as_str(), outcome.err.as_str()), ("a\n", "1 of 7; --all shows all\n"));
    let asked = server.asked();
    assert_eq!(asked[0].params, json!({ "filter": "tag:x", "sort": "", "limit": 1, "cursor": null }));

    // The canned answer always has a next page: three are wanted, three calls are made.
    program.run(&["vm", "list", "--limit", "3", "-o", "name"]).await.is(0);
    let cursors: Vec<_> = server.asked().iter().map(|asked| asked.params["cursor"].clone()).collect();
    assert_eq!(cursors, [Value::Null, json!("c1"), json!("c1")]);
}

#[tokio::test]
async fn a_watched_list_tells_changes_line_by_line() {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    let program = Program::signed_in(&server);
    let mut child = program.spawn(&["vm", "list", "--watch", "-f", "tag:prod", "-o", "json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let line = lines.next_line().await.unwrap().unwrap();
        let change: Value = serde_json::from_str(&line).unwrap();
        kinds.push(change["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["added", "added", "ready"]);
    interrupt(&child);
    finish(child).await.is(0);
    assert_eq!(server.asked()[0].params, json!({ "filter": "tag:prod" }));
}

#[tokio::test]
async fn a_task_says_who_began_it() {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    let program = Program::signed_in(&server);
    let list = program.run(&["task", "list", "--columns", "title,user"]).await.is(0).out;
    assert_eq!(list, "TITLE        USER\nStart web-1  ann\n");
    assert!(program.run(&["task", "list"]).await.is(0).out.contains("  USER  "));
    let one = program.run(&["task", "get", ID]).await.is(0).out;
    let line = one.lines().find(|line| line.starts_with("user ")).unwrap();
    assert_eq!(line.split_whitespace().last(), Some("ann"), "{one}");
    // An orchestrator that is older tells an id only.
    let older = Task { user_name: String::new(), user: Some(ID.parse().unwrap()), ..task(TaskStatus::Done) };
    server.answer("task.list", page(vec![older]));
    let list = program.run(&["task", "list", "--columns", "user"]).await.is(0).out;
    assert_eq!(list, format!("USER\n{ID}\n"));
}

#[tokio::test]
async fn snapshots_tell_which_keep_memory() {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    let snapshot = |name: &str, memory: Value| {
        json!({
            "id": ID, "name": name, "description": "", "vm": ID, "host": ID, "parent": null, "current": false,
            "created": "2026-11-23T08:00:00Z", "paused_ms": 12, "consistency": null, "spec": vm().spec,
            "disks": [], "memory": memory,
        })
    };
    let kept = |kept: Value| json!({ "vdi": ID, "sr": ID, "kept": kept });
    let whole = json!({
        "bytes": 256 << 20, "written_while": "running", "cpu_model": "Xeon", "xen_major": 4, "xen_minor": 17,
    });
    let (whole, written) = (snapshot("whole", kept(whole)), snapshot("being-taken", kept(Value::Null)));
    server.answer("snapshot.list", page(vec![whole, written, snapshot("disks-only", Value::Null)]));
    let list = Program::signed_in(&server).run(&["snapshot", "list", "--columns", "name,memory"]).await;
    let table = "NAME         MEMORY\nwhole        256 MiB\nbeing-taken  -\ndisks-only   -\n";
    assert_eq!(list.is(0).out, table);
}

#[tokio::test]
async fn events_are_told_as_they_happen() {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    let mut child = Program::signed_in(&server).spawn(&["events", "--watch"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert_eq!(line, "2026-11-23 08:00:00Z  warning  host.lost            xen1 is not heard");
    interrupt(&child);
    finish(child).await.is(0);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    server.answer("vm.list", page((0..5000).map(|_| row("a-long-name-to-fill-the-pipe")).collect()));
    let mut child = Program::signed_in(&server).spawn(&["vm", "list"]);
    drop(child.stdout.take());
    let outcome = finish(child).await.is(0);
    assert_eq!(outcome.err, "");
}

/// Ctrl-C.
pub fn interrupt(child: &tokio::process::Child) {
    let pid = child.id().unwrap().to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
}
