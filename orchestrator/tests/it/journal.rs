//! Tasks and events in the filter language: found, sorted, paged, and shown to who may see them.

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{event, task, user, vm};
use xenith_orchestrator_client::Client;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::task::{ListTasks, Task, TaskRef};
use xenith_orchestrator_types::user::CreateUser;
use xenith_orchestrator_types::vm::{DeleteVm, StartVm, UpdateVm};
use xenith_orchestrator_types::{Binding, Page, Reason, Role, Scope};

use crate::harness::{Installation, api_error, small, until};

const PASSWORD: &str = "correct horse battery";

async fn tasks(client: &Client, filter: &str, sort: &str) -> Page<Task> {
    let request = ListTasks { filter: filter.into(), sort: sort.into(), ..ListTasks::default() };
    client.call::<task::List>(&request).await.unwrap()
}

fn titles(page: &Page<Task>) -> String {
    page.items.iter().map(|task| task.title.as_str()).collect::<Vec<_>>().join(", ")
}

async fn who(installation: &Installation, name: &str, scope: Scope) -> Client {
    let bindings = vec![Binding { role: Role::Operator, scope }];
    let request = CreateUser { name: name.into(), password: PASSWORD.into(), bindings };
    installation.admin.call::<user::Create>(&request).await.unwrap();
    installation.login(name, PASSWORD).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_filtered_sorted_and_paged() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    for name in ["web-1", "web-2", "db-1"] {
        all.run::<vm::Create>(&small(name)).await;
    }
    std::fs::remove_file(all.hosts[0].folder().join("boot/vmlinuz")).unwrap();
    let failed = all.run::<vm::Start>(&StartVm { vm: "db-1".into() }).await;
    for restarted in [false, true] {
        if restarted {
            all.restart().await;
        }
        for (filter, sort, wanted) in [
            ("method:vm.create", "created", "Create web-1, Create web-2, Create db-1"),
            ("method:vm.create", "", "Create db-1, Create web-2, Create web-1"),
            ("method:vm.create", "-", "Create web-1, Create web-2, Create db-1"),
            ("method:vm.create web", "title", "Create web-1, Create web-2"),
            ("status:done db", "", "Create db-1"),
            ("status:rolled-back", "", failed.title.as_str()),
            ("status:running,parked", "", ""),
            ("user:admin -status:done", "", failed.title.as_str()),
            ("user:nobody", "", ""),
            ("age:>1h", "", ""),
            ("ended:none", "", ""),
        ] {
            let page = tasks(&all.admin, filter, sort).await;
            assert_eq!(titles(&page), wanted, "{filter:?} by {sort:?}, restarted: {restarted}");
            assert_eq!(page.total, page.items.len() as u64, "{filter:?}");
        }
    }
    let mut request = ListTasks { sort: "created".into(), limit: 1, ..ListTasks::default() };
    let mut seen = Vec::new();
    loop {
        let page = all.admin.call::<task::List>(&request).await.unwrap();
        assert_eq!((page.items.len(), page.total), (1, 4));
        seen.extend(page.items.into_iter().map(|task| task.title));
        match page.next {
            Some(next) => request.cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(seen.join(", "), format!("Create web-1, Create web-2, Create db-1, {}", failed.title));
    let of_vm = ListTasks { vm: Some("db-1".into()), filter: "status:done".into(), ..ListTasks::default() };
    assert_eq!(titles(&all.admin.call::<task::List>(&of_vm).await.unwrap()), "Create db-1");
    for (filter, sort, field) in [("status:gone", "", "filter"), ("", "colour", "sort")] {
        let request = ListTasks { filter: filter.into(), sort: sort.into(), ..ListTasks::default() };
        let error = api_error(all.admin.call::<task::List>(&request).await);
        assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some(field)), "{error}");
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_a_task_sees_it_in_the_list_at_once() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    for number in 0..20 {
        let started = all.admin.call::<vm::Create>(&small(&format!("web-{number}"))).await.unwrap();
        let page = tasks(&all.admin, "", "").await;
        assert!(page.items.iter().any(|task| task.id == started.task), "{number}");
        all.wait_task(started.task).await;
        let page = tasks(&all.admin, "status:done", "").await;
        assert!(page.items.iter().any(|task| task.id == started.task), "{number} is done");
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_follow_their_vms_to_who_may_see_them() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let dora = who(&all, "dora", Scope::Tag("dev".into())).await;
    let created = all.run::<vm::Create>(&small("web-1")).await;
    assert_eq!(tasks(&dora, "", "").await.total, 0);
    let tagged = |tags: &[&str]| {
        let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
        serde_json::from_value::<UpdateVm>(serde_json::json!({ "vm": "web-1", "tags": tags })).unwrap()
    };
    all.run::<vm::Update>(&tagged(&["dev"])).await;
    until("dora sees the tasks of her VM", async || (tasks(&dora, "", "").await.total == 2).then_some(()))
        .await;
    assert_eq!(tasks(&dora, "method:vm.create", "").await.items[0].id, created.id);
    all.run::<vm::Update>(&tagged(&["prod"])).await;
    until("dora sees them no more", async || (tasks(&dora, "", "").await.total == 0).then_some(())).await;
    let hidden = api_error(dora.call::<task::Get>(&TaskRef { task: created.id }).await);
    assert_eq!(hidden.reason(), Reason::NotFound);
    all.run::<vm::Update>(&tagged(&["dev"])).await;
    until("dora sees them again", async || (tasks(&dora, "", "").await.total == 4).then_some(())).await;
    all.run::<vm::Delete>(&DeleteVm { vm: "web-1".into(), keep_disks: false }).await;
    until("of a VM that is gone she sees nothing", async || {
        (tasks(&dora, "", "").await.total == 0).then_some(())
    })
    .await;
    assert_eq!(tasks(&all.admin, "", "").await.total, 5, "who sees everything sees these");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_filtered_sorted_and_paged() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.hosts[0].stop_agent().await;
    let find = async |all: &Installation, filter: &str, sort: &str| {
        let request = ListEvents { filter: filter.into(), sort: sort.into(), ..ListEvents::default() };
        let page = all.admin.call::<event::List>(&request).await.unwrap();
        assert_eq!(page.total, page.items.len() as u64);
        page.items.into_iter().map(|event| event.kind).collect::<Vec<_>>().join(" ")
    };
    until("the loss is an event", async || {
        (find(&all, "severity:error", "").await == "host.lost").then_some(())
    })
    .await;
    for restarted in [false, true] {
        if restarted {
            all.restart().await;
        }
        for (filter, sort, wanted) in [
            ("kind:host age:<1h", "number", "host.joined host.connected host.lost"),
            ("kind:host pool:default -severity:error", "", "host.connected host.joined"),
            ("\"its VMs are unknown\"", "", "host.lost"),
            ("kind:=host.joined", "", "host.joined"),
            ("subject:host/ severity:info joined", "", "host.joined"),
            ("pool:other", "", ""),
        ] {
            assert_eq!(find(&all, filter, sort).await, wanted, "{filter:?}, restarted: {restarted}");
        }
    }
    let first = ListEvents { filter: "kind:host".into(), limit: 2, ..ListEvents::default() };
    let page = all.admin.call::<event::List>(&first).await.unwrap();
    let rest = ListEvents { cursor: page.next, ..first };
    assert_eq!(page.items.len(), 2);
    let last = all.admin.call::<event::List>(&rest).await.unwrap();
    assert_eq!((last.items.last().unwrap().kind.as_str(), last.next), ("host.joined", None));
    let vera = who(&all, "vera", Scope::Tag("dev".into())).await;
    assert_eq!(vera.call::<event::List>(&ListEvents::default()).await.unwrap().total, 0);
    all.stop().await;
}
