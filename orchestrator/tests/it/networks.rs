//! Networks and rules from the API to the host: made, told of, changed while a VM runs, and taken away.

use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_hypervisor_agent_types::network::guest_interface;
use xenith_orchestrator_api::vm;
use xenith_orchestrator_client::{NounChanges, Watch};
use xenith_orchestrator_types::task::TaskStatus;
use xenith_orchestrator_types::{Binding, Reason, Role, Scope};

use crate::access::heard;
use crate::admins::{call, done, somebody};
use crate::harness::{EMPTY, Installation, api_error, small, until};
use crate::shared_storage::of;

/// On the one host.
async fn becomes(all: &Installation, network: &str, state: &str) -> Value {
    until(&format!("{network} is {state}"), async || {
        let status = call(&all.admin, "network.status", json!({ "network": network })).await.unwrap();
        (status["hosts"][0]["state"] == state).then(|| status["hosts"][0].clone())
    })
    .await
}

fn loaded(all: &Installation) -> String {
    all.hosts[0].sim.loaded_filter().unwrap_or_default().join("\n")
}

async fn filter_has(all: &Installation, text: &str) {
    until(text, async || loaded(all).contains(text).then_some(())).await;
}

fn bridge_of(network: &Value) -> String {
    network["bridge"].as_str().unwrap().to_owned()
}

/// Who looks at a network hears that a host has it now, though nobody called anything of networks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hosts_say_of_networks_is_told() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let lab = json!({ "name": "lab", "uplink": { "kind": "internal" } });
    call(&all.admin, "network.create", lab).await.unwrap();
    becomes(&all, "lab", "realised").await;
    let mut watch: Watch<NounChanges> = all.admin.watch(&EMPTY).await.unwrap();
    // To subscribe is answered before it is begun.
    until("changes are heard", async || {
        let name = format!("east-{}", xenith_common_ids::PoolId::new());
        call(&all.admin, "pool.create", json!({ "name": name })).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_millis(500), heard(&mut watch)).await.ok()
    })
    .await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    loop {
        let noun = heard(&mut watch).await;
        let status = call(&all.admin, "network.status", json!({ "network": "lab" })).await.unwrap();
        if noun.as_deref() == Some("network") && status["hosts"][1]["state"] == "realised" {
            break;
        }
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vms_are_found_by_their_network() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let lab = json!({ "name": "lab", "uplink": { "kind": "internal" } });
    let made = call(&all.admin, "network.create", lab).await.unwrap();
    becomes(&all, "lab", "realised").await;
    for (name, nics) in [
        ("web-1", json!([{ "network": "lab" }, { "network": "lab" }])),
        ("db-1", json!([])),
        ("mail", json!(null)),
    ] {
        let mut new = serde_json::to_value(small(name)).unwrap();
        if !nics.is_null() {
            new["nics"] = nics;
        }
        done::<vm::Create>(&all, new).await;
    }
    let of_lab = format!("network_id:{}", made["id"].as_str().unwrap());
    for (filter, name) in [(of_lab.as_str(), "web-1"), ("network_id:none", "db-1")] {
        until(filter, async || {
            let found = call(&all.admin, "vm.list", json!({ "filter": filter })).await.unwrap();
            (found["total"] == 1 && found["items"][0]["name"] == name).then_some(())
        })
        .await;
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_and_rules_reach_the_hosts() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let declare = async |more: Value| call(&all.admin, "network.create", more).await;
    let vlan = |name: &str, id: u32| json!({ "name": name, "uplink": { "kind": "interface", "interface": "eth8", "vlan": id } });
    let made = declare(vlan("backend", 7)).await.unwrap();
    let wrong = json!({ "name": "wrong", "uplink": { "kind": "interface", "interface": "eth77" } });
    declare(wrong).await.unwrap();
    for (params, reason) in [
        (vlan("again", 7), Reason::Conflict),
        (vlan("backend", 8), Reason::Conflict),
        (json!({ "name": "both", "bridge": "xenbr0", "uplink": { "kind": "internal" } }), Reason::Invalid),
        (json!({ "name": "ours", "bridge": made["bridge"] }), Reason::Invalid),
        (json!({ "name": "small", "uplink": { "kind": "internal" }, "mtu": 100 }), Reason::Invalid),
        (json!({ "name": "nothing" }), Reason::Invalid),
    ] {
        let shown = params.to_string();
        let error = api_error(declare(params).await);
        assert_eq!(error.reason(), reason, "{shown}: {error}");
    }
    let bridge = bridge_of(&made);
    becomes(&all, "backend", "realised").await;
    let failed = becomes(&all, "wrong", "failed").await;
    assert!(failed["reason"].as_str().unwrap().contains("no interface eth77"), "{failed}");
    // A bridge that the host has.
    becomes(&all, "default", "realised").await;

    // Rules are there before the VM is.
    let group = json!({ "name": "web", "tag": "web", "ingress": ["tcp:443", "tcp:22 tag:admin"] });
    call(&all.admin, "security_group.create", group).await.unwrap();
    let mac = "00:16:3e:00:00:01";
    let mut new = serde_json::to_value(small("web-1")).unwrap();
    new["nics"] = json!([{ "network": "backend", "mac": mac }]);
    (new["tags"], new["start"]) = (json!(["web"]), json!(true));
    done::<vm::Create>(&all, new).await;
    let interface = guest_interface(mac.parse().unwrap());
    assert!(loaded(&all).contains(&format!("\"{interface}\" : jump")), "{}", loaded(&all));

    // And change while it runs: the group's, those of one NIC, and the members of a tag.
    let rules = json!({ "group": "web", "ingress": ["udp:53", "tcp:22 tag:admin"] });
    call(&all.admin, "security_group.set_rules", rules).await.unwrap();
    filter_has(&all, "udp dport { 53 } accept").await;
    let nic =
        json!({ "vm": "web-1", "mac": mac, "lock": "addresses", "addresses": ["10.0.0.7"], "rate_mbit": 8 });
    call(&all.admin, "vm.set_nic", nic).await.unwrap();
    filter_has(&all, "ip saddr != { 10.0.0.7 } drop").await;
    let shown = call(&all.admin, "vm.nics", json!({ "vm": "web-1" })).await.unwrap();
    assert_eq!(shown[0]["settings"]["rate_mbit"], 8, "{shown}");
    assert_eq!(shown[0]["security_groups"], json!(["web"]));
    let mut other = serde_json::to_value(small("admin-1")).unwrap();
    other["nics"] = json!([{ "network": "backend", "mac": "00:16:3e:00:00:02" }]);
    other["tags"] = json!(["admin"]);
    done::<vm::Create>(&all, other).await;
    filter_has(&all, "_mac { 00:16:3e:00:00:02 }").await;
    let taken = json!({ "vm": "admin-1", "mac": "00:16:3e:00:00:02", "addresses": ["10.0.0.7"] });
    let error = api_error(call(&all.admin, "vm.set_nic", taken.clone()).await);
    assert!(error.reason() == Reason::Conflict && error.message.contains("web-1"), "{error}");
    // By whom is for who sees that VM.
    let of_admin = Binding { role: Role::Admin, scope: Scope::Tag("admin".into()) };
    let dora = somebody(&all, "dora", vec![of_admin]).await;
    let error = api_error(call(&dora, "vm.set_nic", taken).await);
    assert!(error.reason() == Reason::Conflict && error.message.contains("belongs to another VM"), "{error}");
    assert!(!error.message.contains("web-1") && !error.message.contains(mac), "{error}");

    let error = api_error(call(&all.admin, "network.delete", json!({ "network": "backend" })).await);
    assert_eq!(error.reason(), Reason::WrongState, "{error}");
    let off = call(&all.admin, "vm.power_off", json!({ "vm": "web-1" })).await.unwrap();
    all.wait_task(serde_json::from_value(off["task"].clone()).unwrap()).await;
    for vm in ["web-1", "admin-1"] {
        done::<vm::Delete>(&all, json!({ "vm": vm })).await;
    }
    for network in ["backend", "wrong"] {
        call(&all.admin, "network.delete", json!({ "network": network })).await.unwrap();
    }
    until("nothing of ours is left", async || {
        let bridges = call(&all.admin, "host.get", json!({ "host": "xen1" })).await.unwrap();
        let gone = !bridges["facts"]["bridges"].to_string().contains(&bridge);
        (gone && all.hosts[0].sim.loaded_filter().is_none()).then_some(())
    })
    .await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_network_is_encrypted_as_it_runs_and_hosts_get_each_others_keys() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    for (number, host) in ["xen1", "xen2"].into_iter().enumerate() {
        let peers = json!({ "host": host, "address": format!("192.0.2.{}", number + 1) });
        call(&all.admin, "host.set_peer_address", peers).await.unwrap();
    }
    let internal = json!({ "name": "lab", "uplink": { "kind": "internal" }, "encryption": "wireguard" });
    let error = api_error(call(&all.admin, "network.create", internal).await);
    assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some("encryption")));
    let back = json!({ "name": "back", "uplink": { "kind": "private", "vni": 5 } });
    call(&all.admin, "network.create", back).await.unwrap();
    becomes(&all, "back", "realised").await;
    assert!(all.hosts.iter().all(|host| host.sim.mesh().is_empty()));

    let set = async |encryption: &str| {
        let params = json!({ "network": "back", "encryption": encryption });
        call(&all.admin, "network.set_encryption", params).await.unwrap();
    };
    set("wireguard").await;
    let meshes = until("each host has the other's key and address", async || {
        let meshes: Vec<_> = all.hosts.iter().filter_map(|host| host.sim.mesh().into_iter().next()).collect();
        let whole =
            meshes.len() == 2 && meshes.iter().all(|mesh| mesh.peers.len() == 1 && mesh.routes.len() == 1);
        whole.then_some(meshes)
    })
    .await;
    assert_eq!(meshes[0].peers[0].address, meshes[1].address);
    assert_eq!(meshes[0].peers[0].endpoint.to_string(), "192.0.2.2");
    assert_eq!(meshes[0].peers[0].key.to_string(), meshes[1].private_key.to_ascii_uppercase());
    becomes(&all, "back", "realised").await;

    // One that cannot says so, and sends nothing in the open.
    all.hosts[0].sim.take_wireguard(Some("its kernel has no WireGuard"));
    set("none").await;
    until("nothing of it is left", async || {
        all.hosts.iter().all(|host| host.sim.mesh().is_empty()).then_some(())
    })
    .await;
    set("wireguard").await;
    let failed = becomes(&all, "back", "failed").await;
    assert!(failed["reason"].as_str().unwrap().contains("no WireGuard"), "{failed}");
    all.stop().await;
}

async fn runs(all: &Installation, vm: &str) {
    until(&format!("{vm} runs"), async || (all.vm(vm).await.power == Power::Running).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_cannot_filter_runs_only_who_needs_no_rules() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    all.hosts[1].sim.take_filter(Some("this host has no nft; install nftables"));
    let group = json!({ "name": "web", "tag": "web", "ingress": ["tcp:443"] });
    call(&all.admin, "security_group.create", group).await.unwrap();
    let mac = "00:16:3e:00:00:01";
    for (name, host, tags, start, nic) in [
        ("plain", "xen2", json!([]), true, json!({ "network": "default" })),
        // To be defined asks nothing of a host.
        ("web-1", "xen2", json!(["web"]), false, json!({ "network": "default" })),
        ("web-2", "xen1", json!(["web"]), true, json!({ "network": "default", "mac": mac })),
    ] {
        let mut new = serde_json::to_value(small(name)).unwrap();
        (new["host"], new["tags"], new["start"]) = (json!(host), tags, json!(start));
        (new["disks"], new["nics"]) = (json!([]), json!([nic]));
        done::<vm::Create>(&all, new).await;
    }
    runs(&all, "plain").await;
    runs(&all, "web-2").await;

    let started = all.run::<vm::Start>(&of(json!({ "vm": "web-1" }))).await;
    let moved = all.run::<vm::Migrate>(&of(json!({ "vm": "web-2", "host": "xen2" }))).await;
    for refused in [started, moved] {
        assert_eq!(refused.status, TaskStatus::RolledBack, "{}: {:?}", refused.title, refused.message);
        let why = refused.message.unwrap_or_default();
        assert!(why.contains("on xen2") && why.contains("install nftables"), "{}: {why}", refused.title);
    }
    runs(&all, "web-2").await;
    assert_eq!(all.vm("web-1").await.power, Power::Stopped);

    // Put right, it does at once.
    all.hosts[1].sim.take_filter(None);
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    done::<vm::Migrate>(&all, json!({ "vm": "web-2", "host": "xen2" })).await;
    let loaded = all.hosts[1].sim.loaded_filter().unwrap_or_default().join("\n");
    let interface = guest_interface(mac.parse().unwrap());
    assert!(loaded.contains(&format!("\"{interface}\" : jump")), "{loaded}");
    all.stop().await;
}
