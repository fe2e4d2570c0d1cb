//! From the counters of a simulated host to series, and to Prometheus.

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{metrics, token, vm};
use xenith_orchestrator_types::access::{Binding, Role, Scope};
use xenith_orchestrator_types::metrics::{Measured, Metric, MetricSeriesList, QueryMetrics};
use xenith_orchestrator_types::token::CreateToken;
use xenith_orchestrator_types::{Empty, Reason};

use crate::harness::{Installation, api_error, small, until};

async fn with_vm() -> Installation {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let mut create = small("web-1");
    create.start = true;
    create.tags.insert("prod".to_owned());
    installation.run::<vm::Create>(&create).await;
    installation
}

fn last(answer: &MetricSeriesList, metric: Metric) -> Option<f64> {
    let series = answer.series.iter().find(|series| series.metric == metric)?;
    series.avg.iter().flatten().next_back().copied()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_counts_becomes_series() {
    let installation = with_vm().await;
    let query =
        async |request: QueryMetrics| installation.admin.call::<metrics::Query>(&request).await.unwrap();
    let of_vm = QueryMetrics { object: Some("web-1".into()), ..QueryMetrics::default() };
    let answer = until("the VM has a CPU and a disk that work", async || {
        let answer = query(of_vm.clone()).await;
        let works = last(&answer, Metric::Cpu)? > 0.0 && last(&answer, Metric::DiskWrite)? > 0.0;
        works.then_some(answer)
    })
    .await;
    assert_eq!((answer.total, answer.step_s), (1, 10));
    let memory = last(&answer, Metric::Memory).unwrap();
    assert!((memory / f64::from(128 << 20) - 1.0).abs() < 0.001, "{memory}");
    for series in &answer.series {
        assert_eq!((series.name.as_str(), series.of), ("web-1", Measured::Vm));
        assert_eq!((series.avg.len(), series.min.len()), (series.max.len(), series.avg.len()));
        assert!(series.avg.iter().any(Option::is_none), "nothing was measured before there was a host");
    }
    let power = last(&answer, Metric::Power).unwrap();
    let of_host = QueryMetrics { of: Measured::Host, object: Some("xen1".into()), ..QueryMetrics::default() };
    let host = query(of_host).await;
    let whole = last(&host, Metric::Power).unwrap();
    assert!(power > 0.0 && power < whole, "{power} W of {whole} W");
    assert!(last(&host, Metric::Load).is_some());
    assert!(last(&host, Metric::DiskQueueFull).is_none());

    let each = QueryMetrics { per_device: true, metrics: vec![Metric::DiskWrite], ..of_vm.clone() };
    let told = query(each).await;
    assert_eq!(told.series.len(), 1, "it has one disk: {told:?}");
    assert_eq!((told.series[0].device.as_deref(), told.series[0].name.as_str()), (Some("xvda"), "web-1"));
    assert!(last(&told, Metric::DiskWrite).unwrap() > 0.0);
    let prod =
        QueryMetrics { filter: "tag:prod".into(), metrics: vec![Metric::Cpu], ..QueryMetrics::default() };
    assert_eq!(query(prod).await.series.len(), 1);
    let test = QueryMetrics { filter: "tag:test".into(), ..QueryMetrics::default() };
    assert_eq!(query(test).await.total, 0);
    for (field, wrong) in [
        ("metrics", QueryMetrics { metrics: vec![Metric::Load], ..of_vm.clone() }),
        ("metrics", QueryMetrics { metrics: vec![Metric::Cpu], per_device: true, ..of_vm.clone() }),
        ("per_device", QueryMetrics { per_device: true, ..QueryMetrics::default() }),
        ("object", QueryMetrics { object: Some("xen1".into()), ..QueryMetrics::default() }),
        ("filter", QueryMetrics { filter: "tag:prod".into(), ..of_vm.clone() }),
        ("from", QueryMetrics { to: Some(time::OffsetDateTime::UNIX_EPOCH), ..of_vm.clone() }),
    ] {
        let error = api_error(installation.admin.call::<metrics::Query>(&wrong).await);
        assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some(field)), "{error}");
    }
    let listed = installation.admin.call::<metrics::List>(&Empty {}).await.unwrap();
    assert_eq!(listed.len(), Metric::ALL.len());
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minutes_are_there_after_a_restart() {
    let mut installation = with_vm().await;
    let of_vm = QueryMetrics {
        object: Some("web-1".into()),
        metrics: vec![Metric::Memory],
        step_s: 60,
        ..QueryMetrics::default()
    };
    until("it was measured", async || {
        let answer = installation.admin.call::<metrics::Query>(&of_vm).await.unwrap();
        last(&answer, Metric::Memory)
    })
    .await;
    // A minute later, as far as the series know.
    let app = &installation.orchestrator.as_ref().unwrap().app;
    app.metering.series.flush(xenith_orchestrator::metering::now() + 60).await.unwrap();
    installation.restart().await;
    let answer = installation.admin.call::<metrics::Query>(&of_vm).await.unwrap();
    assert!(last(&answer, Metric::Memory).is_some());
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_sees_what_its_token_lets_it_see() {
    let installation = with_vm().await;
    let tag = |tag: &str| vec![Binding { role: Role::Viewer, scope: Scope::Tag(tag.into()) }];
    let token = async |name: &str, bindings| {
        let create = CreateToken { name: name.into(), days: 1, bindings };
        installation.admin.call::<token::Create>(&create).await.unwrap().secret
    };
    let everything = vec![Binding { role: Role::Viewer, scope: Scope::All }];
    let (all, prod, test) =
        (token("all", everything).await, token("prod", tag("prod")).await, token("test", tag("test")).await);
    let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let get = async |secret: Option<&str>, query: &str| {
        let mut request = http.get(format!("{}/metrics{query}", installation.url()));
        if let Some(secret) = secret {
            request = request.bearer_auth(secret);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let id = installation.vm("web-1").await.id;
    let line = format!("xenith_vm_memory_bytes{{vm=\"{id}\"}} ");
    let info = format!("xenith_vm_info{{vm=\"{id}\",name=\"web-1\",host=\"");
    until("the VM's memory is shown", async || {
        let (status, text) = get(Some(&all), "").await;
        assert_eq!(status, 200);
        let host = text.contains("xenith_host_cpu_percent{host=") && text.contains("\",name=\"xen1\",pool=");
        (text.contains(&line) && text.contains(&info) && host).then_some(())
    })
    .await;
    for (name, secret, query, vm, host) in [
        ("nobody", None, "", false, false),
        ("a token of the VM's tag", Some(prod.as_str()), "", true, false),
        ("a token of another tag", Some(test.as_str()), "", false, false),
        ("a filter that lets it through", Some(all.as_str()), "?filter=tag:prod", true, true),
        ("a filter that does not", Some(all.as_str()), "?filter=tag:test", false, true),
    ] {
        let (status, text) = get(secret, query).await;
        assert_eq!(status, 200, "{name}");
        assert_eq!(text.contains(&line), vm, "{name}");
        assert_eq!(text.contains("web-1"), vm, "{name}");
        assert_eq!(text.contains("xenith_host_load{"), host, "{name}");
    }
    assert_eq!(get(Some("wrong"), "").await.0, 401);
    assert_eq!(get(Some(&all), "?filter=colour:red").await.0, 400);
    installation.stop().await;
}
