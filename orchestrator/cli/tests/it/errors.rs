//! Exit codes, and what a tired administrator reads.

use xenith_orchestrator_types::{ApiError, Reason};

use crate::program::Program;
use crate::samples::answer_everything;
use crate::server::{Answer, FakeOrchestrator};

#[tokio::test]
async fn every_reason_has_its_exit_code() {
    let server = FakeOrchestrator::start().await;
    let program = Program::signed_in(&server);
    for (reason, code) in [
        (Reason::Unauthenticated, 4),
        (Reason::Forbidden, 4),
        (Reason::NotFound, 3),
        (Reason::Ambiguous, 3),
        (Reason::Invalid, 2),
        (Reason::Conflict, 5),
        (Reason::WrongState, 5),
        (Reason::NoPlacement, 5),
        (Reason::HostUnreachable, 6),
        (Reason::HostFailed, 1),
        (Reason::Throttled, 1),
        (Reason::ReadOnly, 1),
        (Reason::Internal, 1),
    ] {
        server.on("vm.start", Answer::Refuse(ApiError::new(reason, "that does not work")));
        let outcome = program.run(&["vm", "start", "web-1"]).await.is(code);
        assert_eq!(outcome.out, "", "{reason:?}");
        assert!(outcome.err.starts_with("xenith: that does not work\n"), "{reason:?}: {}", outcome.err);
    }
}

#[tokio::test]
async fn an_ambiguous_name_lists_the_candidates() {
    let server = FakeOrchestrator::start().await;
    let mut error = ApiError::new(Reason::Ambiguous, "2 VMs are called web");
    error.data.candidates = vec!["web 0189 on xen1".into(), "web 018a on xen2\x1b[2J".into()];
    server.on("vm.get", Answer::Refuse(error));
    let outcome = Program::signed_in(&server).run(&["vm", "get", "web"]).await.is(3);
    assert_eq!(
        outcome.err,
        "xenith: 2 VMs are called web\n  could be: web 0189 on xen1\n  could be: web 018a on xen2\u{fffd}[2J\n\
         next: name it by its id\n"
    );
}

#[tokio::test]
async fn who_is_not_there_is_said() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("https://{closed}");
    let outcome = Program::alone().run(&["--url", &url, "vm", "list"]).await.is(6);
    assert_eq!(
        outcome.err,
        format!(
            "xenith: cannot reach {url}\n  nobody listens there\n\
             next: check the address (xenith context list) and that the orchestrator runs\n"
        )
    );
    let outcome = Program::alone().run(&["vm", "list"]).await.is(2);
    assert!(outcome.err.contains("no orchestrator is known"), "{}", outcome.err);
}

#[tokio::test]
async fn another_certificate_ends_it() {
    let server = FakeOrchestrator::start().await;
    let program = Program::signed_in(&server);
    let other = "ab".repeat(32);
    let outcome = program.run(&["--fingerprint", &other, "vm", "list"]).await.is(6);
    assert!(outcome.err.contains("is not trusted"), "{}", outcome.err);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn wrong_usage_is_2_and_asks_nobody() {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    let program = Program::signed_in(&server);
    for arguments in [
        "vm fly",
        "vm list --columns nonsense",
        "vm list --limit 5 --all",
        "vm create x --memory lots",
        "vm create x",
        "vm create x --memory 1GiB --disk nothing",
        "vm create x --kind hvm --kernel vmlinuz --memory 1GiB",
        "vm create x --kernel vmlinuz --firmware uefi --memory 1GiB",
        "vm create x --kind pv --memory 1GiB",
        "vm update x",
        "user update ann",
        "user create ann --role king",
        "task get web-1",
        "rpc vm.get []",
        "rpc vm.subscribe",
        "--url http://xen vm list",
        "--context nowhere vm list",
        // Destructive, nobody to ask, no --yes.
        "vm delete web-1",
        "vm power-off web-1",
        "host remove xen1",
        "vdi delete root",
        "user delete ann",
    ] {
        let arguments: Vec<_> = arguments.split(' ').collect();
        let outcome = program.run(&arguments).await;
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{arguments:?}: {}", outcome.err);
        assert!(server.asked().is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_broken_audit_log_fails() {
    let server = FakeOrchestrator::start().await;
    let broken =
        serde_json::json!({ "records": 9, "broken_at": 4, "problem": "its hash differs", "head": "a" });
    server.answer("audit.verify", broken);
    let outcome = Program::signed_in(&server).run(&["audit", "verify"]).await.is(1);
    assert!(outcome.out.contains("broken at record 4"), "{}", outcome.out);
    assert!(outcome.err.contains("record 4: its hash differs"), "{}", outcome.err);
}
