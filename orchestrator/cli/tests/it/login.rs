//! Signing in, and what is remembered of it.

use std::os::unix::fs::MetadataExt;

use xenith_orchestrator_types::{ApiError, Reason};

use crate::program::Program;
use crate::samples::answer_everything;
use crate::server::{Answer, FakeOrchestrator};

#[tokio::test]
async fn the_first_login_shows_whom_one_trusts() {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    let program = Program::alone();
    let url = server.url();
    let login = ["login", url.as_str(), "--user", "admin"];

    // Nobody is there to compare: nothing is sent.
    let outcome = program.run_with_input(&login, "secret\n").await.is(6);
    assert!(outcome.err.contains(&server.authority.to_string()), "{}", outcome.err);
    assert!(server.asked().is_empty());

    let accept = [login.as_slice(), &["--accept-new"]].concat();
    program.run_with_input(&accept, "secret\n").await.is(0);
    let asked = server.asked();
    assert_eq!((asked[0].method.as_str(), &asked[0].params["password"]), ("auth.login", &"secret".into()));
    assert_eq!(asked[0].bearer, None);
    assert_eq!(std::fs::metadata(program.contexts()).unwrap().mode() & 0o777, 0o600);

    // From now on it is known, and the session is used.
    program.run(&["vm", "list"]).await.is(0);
    assert_eq!(server.asked()[0].bearer.as_deref(), Some("s"));
    let outcome = program.run(&["context", "list"]).await.is(0);
    assert!(outcome.out.contains("127.0.0.1  yes"), "{}", outcome.out);
    assert!(!outcome.out.contains(" s\n"), "no secret is shown");

    program.run(&["logout"]).await.is(0);
    assert_eq!(server.asked()[0].method, "auth.logout");
    assert!(!std::fs::read_to_string(program.contexts()).unwrap().contains("credential"));
}

#[tokio::test]
async fn a_fingerprint_in_the_arguments_asks_nobody() {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    let program = Program::alone().with("XENITH_PASSWORD", "secret");
    let pin = server.authority.to_string();
    let arguments = ["login", &server.url(), "-u", "admin", "--fingerprint", &pin, "--name", "lab"];
    program.run(&arguments).await.is(0);
    program.run(&["--context", "lab", "whoami"]).await.is(0);
    program.run(&["context", "use", "nowhere"]).await.is(2);
    program.run(&["context", "remove", "lab"]).await.is(0);
    program.run(&["vm", "list"]).await.is(2);
}

#[tokio::test]
async fn each_context_is_another_orchestrator() {
    let (one, other) = (FakeOrchestrator::start().await, FakeOrchestrator::start().await);
    let program = Program::alone().with("XENITH_PASSWORD", "secret");
    for (server, name) in [(&one, "one"), (&other, "other")] {
        answer_everything(server);
        let login = ["login", &server.url(), "-u", "admin", "--accept-new", "--name", name];
        program.run(&login).await.is(0);
        assert!(!server.asked().is_empty());
    }
    // Who was signed in to last, who is named for one command, and who was chosen from then on.
    let steps: [(&[&str], &[&str]); 6] = [
        (&["vm", "list"], &["other"]),
        (&["--context", "one", "vm", "list"], &["one"]),
        (&["vm", "list"], &["other"]),
        (&["context", "use", "one"], &[]),
        (&["vm", "list"], &["one"]),
        (&["--context", "other", "vm", "list"], &["other"]),
    ];
    for (arguments, expected) in steps {
        program.run(arguments).await.is(0);
        let mut asked = vec![("one", one.asked()), ("other", other.asked())];
        asked.retain(|(_, calls)| !calls.is_empty());
        let names: Vec<_> = asked.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, expected, "{arguments:?}");
    }
    let list = program.run(&["context", "list", "-o", "json"]).await.is(0).out;
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let current: Vec<_> =
        list.iter().map(|row| (row["name"].as_str().unwrap(), row["current"].as_bool().unwrap())).collect();
    assert_eq!(current, [("one", true), ("other", false)]);
    // The one that is forgotten asks nobody; the other one is still there.
    program.run(&["context", "remove", "one"]).await.is(0);
    program.run(&["vm", "list"]).await.is(2);
    program.run(&["--context", "other", "vm", "list"]).await.is(0);
    assert!(one.asked().is_empty());
}

#[tokio::test]
async fn a_known_orchestrator_is_not_replaced_by_another() {
    let (old, new) = (FakeOrchestrator::start().await, FakeOrchestrator::start().await);
    answer_everything(&new);
    let program = Program::alone().with("XENITH_PASSWORD", "secret");
    let (url, pin) = (new.url(), old.authority.to_string());
    let stored = format!("current = \"lab\"\n[contexts.lab]\nurl = \"{url}\"\nfingerprint = \"{pin}\"\n");
    std::fs::create_dir_all(program.contexts().parent().unwrap()).unwrap();
    std::fs::write(program.contexts(), stored).unwrap();
    // Others may read it: refused, and said how to mend.
    let outcome = program.run(&["vm", "list"]).await.is(2);
    assert!(outcome.err.contains("chmod 600"), "{}", outcome.err);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(program.contexts(), private).unwrap();
    let outcome = program.run(&["login", "-u", "admin", "--accept-new"]).await.is(6);
    assert!(outcome.err.contains("--fingerprint"), "{}", outcome.err);
    assert!(new.asked().is_empty());
    let pin = new.authority.to_string();
    program.run(&["login", "-u", "admin", "--fingerprint", &pin]).await.is(0);
}

#[tokio::test]
async fn a_wrong_password_stores_nothing() {
    let server = FakeOrchestrator::start().await;
    server.on("auth.login", Answer::Refuse(ApiError::new(Reason::Unauthenticated, "wrong name or password")));
    let program = Program::alone().with("XENITH_PASSWORD", "wrong");
    let outcome = program.run(&["login", &server.url(), "-u", "admin", "--accept-new"]).await.is(4);
    assert!(outcome.err.contains("wrong name or password"), "{}", outcome.err);
    assert!(!program.contexts().exists());
}

#[tokio::test]
async fn a_session_goes_to_no_other_address() {
    let (mine, other) = (FakeOrchestrator::start().await, FakeOrchestrator::start().await);
    answer_everything(&mine);
    answer_everything(&other);
    let program = Program::alone().with("XENITH_PASSWORD", "secret");
    program.run(&["login", &mine.url(), "-u", "admin", "--accept-new"]).await.is(0);
    let pin = other.authority.to_string();
    program.run(&["--url", &other.url(), "--fingerprint", &pin, "vm", "list"]).await.is(0);
    assert!(other.asked().iter().all(|asked| asked.bearer.is_none()));
}

#[tokio::test]
async fn a_code_is_asked_for_where_it_is_wanted() {
    let server = FakeOrchestrator::start().await;
    server.on("auth.login", Answer::Refuse(ApiError::invalid("code", "give the code")));
    let program = Program::alone();
    let url = server.url();
    let arguments = ["login", url.as_str(), "-u", "admin", "--accept-new"];
    // The fake wants one again; what counts is what it was given.
    program.run_with_input(&arguments, "secret\n123 456\n").await.is(2);
    let given: Vec<_> = server.asked().into_iter().map(|asked| asked.params).collect();
    assert_eq!(given.len(), 2, "{given:?}");
    assert_eq!((&given[0]["password"], given[0].get("code")), (&"secret".into(), None));
    assert_eq!((&given[1]["password"], &given[1]["code"]), (&"secret".into(), &"123 456".into()));
    let outcome = program.run_with_input(&arguments, "secret\n").await.is(2);
    assert!(outcome.err.contains("XENITH_CODE"), "{}", outcome.err);
    assert!(!program.contexts().exists());
}
