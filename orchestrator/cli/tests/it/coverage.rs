//! Every method of the API has a command, and the command calls it with parameters that the API takes.

use std::collections::BTreeSet;

use serde_json::Value;
use xenith_orchestrator_api::{
    Kind, Method, alarm, alarm_rule, audit, auth, backup, backup_job, backup_run, console, event, filter,
    fragment, ha, host, import, iso, mail, metrics, network, orphan, pool, repository, role, security_group,
    snapshot, sr, standby, system, task, template, token, user, vdi, vm, wave,
};

use crate::program::Program;
use crate::samples::{ID, answer_everything};
use crate::server::FakeOrchestrator;

struct Case {
    method: &'static str,
    arguments: Vec<&'static str>,
    fits: fn(Value) -> Result<(), String>,
}

fn case<M: Method>(arguments: &'static str) -> Case {
    let fits = |params: Value| {
        serde_json::from_value::<M::Params>(params).map(drop).map_err(|error| error.to_string())
    };
    Case { method: M::NAME, arguments: arguments.split(' ').collect(), fits }
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        case::<vdi::List>("vdi list --sort -size"),
        case::<vdi::Create>("vdi create data --size 1GiB --host xen1"),
        case::<vdi::Import>("vdi import iso https://example.org/debian.iso --host xen1 --sr fast"),
        case::<vdi::Get>("vdi get data"),
        case::<vdi::Resize>("vdi resize data 2GiB"),
        case::<vdi::Clone>("vdi clone data copy"),
        case::<vdi::Copy>("vdi copy data copy --host xen2 --sr fast"),
        case::<vdi::Migrate>("vdi migrate data --sr fast --bandwidth 50"),
        case::<vdi::Upload>("vdi upload data tests/it/sector.raw --host xen1 --no-send"),
        case::<vdi::UploadTicket>("vdi upload-ticket data"),
        case::<vdi::Export>("vdi export data --ticket"),
        case::<vdi::BreakLease>("vdi break-lease data --host xen1 --yes"),
        case::<vdi::Delete>("vdi delete data --yes"),
        case::<console::Vm>("console vm web-1 --ticket"),
        case::<console::Host>("console host xen1 --ticket"),
        case::<sr::List>("sr list"),
        case::<sr::Get>("sr get fast"),
        case::<sr::Create>("sr create nas --host xen1 --nfs nas:/export/vms --nfs-options vers=4.2"),
        case::<sr::Attach>("sr attach nas xen2"),
        case::<sr::Detach>("sr detach nas xen2"),
        case::<sr::Forget>("sr forget nas --yes"),
        case::<sr::Scan>("sr scan nas"),
        case::<sr::Adopt>("sr adopt nas 01890a5d-ac96-774b-bcce-b302099a8057 data"),
        case::<iso::List>("iso list"),
        case::<template::List>("template list"),
        case::<template::Get>("template get debian"),
        case::<template::Create>("template create web-1 web"),
        case::<template::Import>(
            "template import debian https://example.org/debian.qcow2 --host xen1 --uefi",
        ),
        case::<template::Delete>("template delete debian --yes"),
        case::<template::Deploy>(
            "template deploy debian web-2 --disk-size 20GiB --nic lan --hostname www --fragment base --variable role=web \
             --start",
        ),
        case::<template::SetFragments>("template set-fragments debian base web"),
        case::<fragment::List>("fragment list -f kind:script"),
        case::<fragment::Get>("fragment get base"),
        case::<fragment::Create>("fragment create base tests/it/base.yaml --pool lab --description x"),
        case::<fragment::Update>("fragment update base --file tests/it/base.yaml"),
        case::<fragment::Delete>("fragment delete base --yes"),
        case::<snapshot::List>("snapshot list --vm web-1 -f age:>30d --all"),
        case::<snapshot::Get>("snapshot get before"),
        case::<snapshot::Create>("snapshot create before --vm web-1 --description x --memory"),
        case::<snapshot::Revert>("snapshot revert before --vm web-1 --yes"),
        case::<snapshot::Delete>("snapshot delete before --yes"),
        case::<snapshot::Clone>("snapshot clone before web-2 --start"),
        case::<filter::Complete>("filter complete network bri"),
        case::<audit::List>("audit list --columns all -f user:admin --sort sequence"),
        case::<audit::Verify>("audit verify"),
        case::<mail::Get>("mail get"),
        case::<mail::Set>("mail set mail.example.org --from xenith@example.org"),
        case::<mail::Test>("mail test ops@example.org"),
        case::<system::Info>("system info"),
        case::<system::Health>("system health"),
    ];
    cases.extend(hosts());
    cases.extend(networks());
    cases.extend(pools());
    cases.extend(access());
    cases.extend(what_happens());
    cases.extend(tasks());
    cases.extend(imports());
    cases.extend(backups());
    cases.extend(vms());
    cases
}

fn hosts() -> Vec<Case> {
    vec![
        case::<host::List>("host list --filter status:connected"),
        case::<host::Get>("host get xen1"),
        case::<host::Hardware>("host hardware xen1"),
        case::<host::Add>("host add xen2 --pool default --valid 30m"),
        case::<host::SetMaintenance>("host set-maintenance xen1 off"),
        case::<host::Evacuate>("host evacuate xen1"),
        case::<host::Upgrade>("host upgrade xen1 https://example.org/live --evacuate"),
        case::<host::Reboot>("host reboot xen1 --evacuate --move-disks"),
        case::<host::Shutdown>("host shutdown xen1 --shut-down-vms"),
        case::<host::PowerControl>("host power-control xen1"),
        case::<host::SetPowerControl>(
            "host set-power-control xen1 redfish bmc1 --user x --certificate aa --keep-password",
        ),
        case::<host::Power>("host power xen1 off --force --yes"),
        case::<host::SetAddress>("host set-address xen1 xen1.example.org:8444"),
        case::<host::SetPeerAddress>("host set-peer-address xen1 10.10.0.1"),
        case::<host::SetManagement>(
            "host set-management xen1 --address 192.0.2.6/24 --gateway 192.0.2.1 --dns 192.0.2.53 --vlan 7 --bond lacp \
             --interfaces eth0,eth1 --agent-address 192.0.2.6:8444",
        ),
        case::<host::Remove>("host remove xen1 --force --yes"),
        case::<ha::Show>("ha show default"),
        case::<ha::Enable>("ha enable default --sr nas --lease 90"),
        case::<ha::Disable>("ha disable default --yes"),
        case::<ha::SetPriority>("ha set-priority web-1 high"),
    ]
}

fn networks() -> Vec<Case> {
    vec![
        case::<network::List>("network list -f bridge:xenbr0 --limit 5"),
        case::<network::Create>("network create lan --bridge xenbr0"),
        case::<network::Status>("network status lan"),
        case::<network::SetEncryption>("network set-encryption backend wireguard"),
        case::<network::Delete>("network delete lan --yes"),
        case::<security_group::List>("security-group list -f tag:web"),
        case::<security_group::Create>("security-group create web --tag web --ingress tcp:443 --no-egress"),
        case::<security_group::SetRules>("security-group set-rules web --ingress tcp:80,443"),
        case::<security_group::Delete>("security-group delete web --yes"),
    ]
}

fn pools() -> Vec<Case> {
    vec![
        case::<pool::List>("pool list"),
        case::<pool::Create>("pool create lab --description x"),
        case::<pool::Delete>("pool delete lab --yes"),
        case::<pool::Balance>("pool balance default --goal density"),
        case::<pool::BalanceStatus>("pool balance-status default"),
        case::<pool::CpuLevel>("pool cpu-level default"),
        case::<pool::SetCpuLevel>("pool set-cpu-level default auto"),
        case::<pool::Update>(
            "pool update default --image https://example.org/live --host xen1 --at-once 2 --vms-stay",
        ),
        case::<pool::UpdateStatus>("pool update-status default"),
        case::<pool::PauseUpdate>("pool pause-update default"),
        case::<pool::ResumeUpdate>("pool resume-update default"),
        case::<pool::SetBalance>(
            "pool set-balance default --mode automatic --threshold 15 --cool-down 90s --power-hosts on",
        ),
    ]
}

fn access() -> Vec<Case> {
    vec![
        case::<auth::Login>("login --user admin"),
        case::<auth::Logout>("logout"),
        case::<auth::Whoami>("whoami"),
        case::<auth::ChangePassword>("change-password"),
        case::<user::List>("user list -f role:admin --sort -created"),
        case::<user::Get>("user get ann"),
        case::<user::Access>("user access ann"),
        case::<user::Create>("user create ann --role operator@pool:default --role viewer@tag:dev"),
        case::<user::Update>("user update ann --disable --no-roles --password"),
        case::<user::Delete>("user delete ann --yes"),
        case::<user::TotpEnrol>("user totp-enrol"),
        case::<user::TotpConfirm>("user totp-confirm"),
        case::<user::TotpDisable>("user totp-disable"),
        case::<user::TotpReset>("user totp-reset ann --yes"),
        case::<token::List>("token list -f expires:<2026-12-31"),
        case::<token::Create>("token create ci --days 30 --role viewer"),
        case::<token::Revoke>("token revoke ci -y"),
        case::<role::List>("role list"),
    ]
}

fn what_happens() -> Vec<Case> {
    vec![
        case::<orphan::List>("orphan list -f kind:image"),
        case::<event::List>("event list --limit 5 -f severity:error"),
        case::<alarm::List>("alarm list -f severity:error --limit 5"),
        case::<alarm::Silence>("alarm silence --rule busy --object web-1 --for 2h --comment x"),
        case::<alarm::Silences>("alarm silences"),
        case::<alarm::Unsilence>("alarm unsilence 01890a5d-ac96-774b-bcce-b302099a8057"),
        case::<alarm_rule::List>("alarm-rule list"),
        case::<alarm_rule::Get>("alarm-rule get busy"),
        case::<alarm_rule::Create>(
            "alarm-rule create busy --metric cpu --above 90 --clear 80 --for 10m -f tag:prod --mail-to ops@example.org",
        ),
        case::<alarm_rule::Update>(
            "alarm-rule update busy --enabled off --severity error --syslog udp://log:514",
        ),
        case::<alarm_rule::Delete>("alarm-rule delete busy --yes"),
        case::<metrics::List>("metrics list"),
        case::<metrics::Query>("metrics query web-1 --metric disk.write --per-device --since 6h --step 1m"),
    ]
}

fn tasks() -> Vec<Case> {
    vec![
        case::<task::List>("task list --active --vm web-1 -f user:ann --sort created"),
        case::<task::Get>("task get 01890a5d-ac96-774b-bcce-b302099a8057"),
        case::<task::Cancel>("task cancel 01890a5d-ac96-774b-bcce-b302099a8057"),
        case::<task::Retry>("task retry 01890a5d-ac96-774b-bcce-b302099a8057"),
        case::<task::Abandon>("task abandon 01890a5d-ac96-774b-bcce-b302099a8057 --yes"),
    ]
}

fn imports() -> Vec<Case> {
    vec![
        case::<import::List>("import list --archived -f phase:following"),
        case::<import::Get>("import get web-1"),
        case::<import::Upload>(
            "import upload tests/it/sector.raw --name web-1 --memory 1GiB --vcpus 2 --network lan --no-send",
        ),
        case::<import::Connect>("import connect vc --address vc.example --user me --certificate aa"),
        case::<import::Sources>("import sources"),
        case::<import::Disconnect>("import disconnect vc --yes"),
        case::<import::Inventory>("import inventory vc web-1"),
        case::<import::Assess>("import assess vc"),
        case::<import::Start>("import start vc web-1 --network lan --downtime 30s --verify"),
        case::<import::CutOver>("import cut-over web-1 --at 2026-12-24T22:00:00Z --force"),
        case::<import::Ticket>("import ticket web-1"),
        case::<import::Prepare>("import prepare web-1 --without"),
        case::<import::RollBack>("import roll-back web-1 --yes"),
        case::<import::Archive>("import archive web-1"),
        case::<import::Plan>(
            "import plan vc web-1 --network lan --criticality web-1=3 --with web-1=db-1 --window 6h",
        ),
        case::<wave::List>("wave list"),
        case::<wave::Get>("wave get friday"),
        case::<wave::Create>(
            "wave create friday vc web-1 db-1 --network lan --downtime 30s --per-host 2 --start",
        ),
        case::<wave::Start>("wave start friday"),
        case::<wave::Pause>("wave pause friday"),
        case::<wave::Delete>("wave delete friday --yes"),
    ]
}

fn backups() -> Vec<Case> {
    vec![
        case::<repository::List>("repository list"),
        case::<repository::Get>("repository get main"),
        case::<repository::Create>("repository create main /backups --host xen1 --sealed"),
        case::<repository::Update>("repository update main --concurrency 2 --bandwidth 100"),
        case::<repository::Test>("repository test main"),
        case::<repository::Verify>("repository verify main --deep"),
        case::<repository::Key>("repository key main"),
        case::<repository::Delete>("repository delete main --yes"),
        case::<backup_job::List>("backup-job list"),
        case::<backup_job::Get>("backup-job get nightly"),
        case::<backup_job::Create>(
            "backup-job create nightly --filter tag:prod --repository main --keep last=3,daily=7 --window 8h --rpo 26h",
        ),
        case::<backup_job::Update>(
            "backup-job update nightly --enabled off --retries 2 --exclude-disk xvdb --prove-ports 22,443",
        ),
        case::<backup_job::Delete>("backup-job delete nightly --yes"),
        case::<backup_job::Run>("backup-job run nightly"),
        case::<backup_run::List>("backup-run list --job nightly -f status:failed -s ended"),
        case::<backup_run::Get>("backup-run get 01890a5d-ac96-774b-bcce-b302099a8057"),
        case::<backup_run::Cancel>("backup-run cancel 01890a5d-ac96-774b-bcce-b302099a8057"),
        case::<backup::List>("backup list --vm web-1 -f age:<7d -s -size"),
        case::<backup::Get>("backup get 0189 --repository main"),
        case::<backup::Unprotected>("backup unprotected --older-than 26h -f why:no_job -s -newest"),
        case::<backup::Create>("backup create web-1 --repository main"),
        case::<backup::Hold>("backup hold 0189 off"),
        case::<backup::Delete>("backup delete 0189 --yes"),
        case::<backup::Prove>("backup prove 0189 --within 5m --ports 22,443"),
        case::<standby::List>("standby list -f status:ready"),
        case::<standby::Get>("standby get db"),
        case::<standby::Create>(
            "standby create db --host xen2 --repository main --network lan=dmz --keep-macs",
        ),
        case::<standby::Follow>("standby follow db"),
        case::<standby::FailOver>("standby fail-over db --force --yes"),
        case::<standby::FailBack>("standby fail-back db --deadline 5m --yes"),
        case::<standby::Release>("standby release db"),
        case::<standby::Delete>("standby delete db --yes"),
        case::<backup::Files>("backup files 0189 1:/etc"),
        case::<backup::Download>("backup download 0189 1:/etc --ticket"),
        case::<backup::Restore>(
            "backup restore 0189 --name web-2 --sr fast --network lan=dmz --network old= --instant",
        ),
    ]
}

fn vms() -> Vec<Case> {
    vec![
        case::<vm::List>("vm list -f power:running --all"),
        case::<vm::Count>("vm count"),
        case::<vm::Complete>("vm complete power:r"),
        case::<vm::Get>("vm get web-1"),
        case::<vm::Place>("vm place --memory 1GiB --vcpus 2 --network lan"),
        case::<vm::Create>("vm create web-1 --kernel vmlinuz --memory 256MiB --disk 1GiB --nic lan --start"),
        case::<vm::Update>("vm update web-1 --memory 1GiB --add-tag new"),
        case::<vm::Delete>("vm delete web-1 --keep-disks --yes"),
        case::<vm::Start>("vm start web-1"),
        case::<vm::Shutdown>("vm shutdown web-1 --deadline 30s --force"),
        case::<vm::Reboot>("vm reboot web-1"),
        case::<vm::PowerOff>("vm power-off web-1 --discard-memory --yes"),
        case::<vm::Pause>("vm pause web-1"),
        case::<vm::Unpause>("vm unpause web-1"),
        case::<vm::Suspend>("vm suspend web-1"),
        case::<vm::Resume>("vm resume web-1"),
        case::<vm::Migrate>("vm migrate web-1 --host xen2 --move-disks --sr fast --bandwidth 50"),
        case::<vm::AttachDisk>("vm attach-disk web-1 vdi=data,access=ro"),
        case::<vm::DetachDisk>("vm detach-disk web-1 xvdb"),
        case::<vm::InsertCd>("vm insert-cd web-1 debian"),
        case::<vm::EjectCd>("vm eject-cd web-1"),
        case::<vm::Clone>("vm clone web-1 web-2 --start"),
        case::<vm::Bulk>("vm bulk shutdown web-1 --filter tag:test --force --yes"),
        case::<vm::AttachNic>("vm attach-nic web-1 lan,mac=00:16:3e:00:00:01"),
        case::<vm::Nics>("vm nics web-1"),
        case::<vm::SetNic>(
            "vm set-nic web-1 00:16:3e:00:00:01 --lock addresses --address 10.0.0.7 --rate 100 --link down",
        ),
        case::<vm::DetachNic>("vm detach-nic web-1 00:16:3e:00:00:01"),
    ]
}

#[tokio::test]
async fn every_method_has_a_command() {
    let methods: BTreeSet<_> = xenith_orchestrator_api::methods().iter().map(|method| method.name).collect();
    let covered: BTreeSet<_> = cases().iter().map(|case| case.method).collect();
    assert_eq!(methods, covered, "give the method a command, and the command a line here");
    assert!(ID.starts_with("01890a5d"), "the table above has it literally");

    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    let program = Program::signed_in(&server)
        .with("XENITH_PASSWORD", "old password")
        .with("XENITH_CODE", "123456")
        .with("XENITH_SOURCE_PASSWORD", "its password")
        .with("XENITH_NEW_PASSWORD", "a new long password");
    for case in cases() {
        program.run(&case.arguments).await.is(0);
        let asked = server.asked();
        let call = asked.iter().find(|asked| asked.method == case.method);
        let call = call.unwrap_or_else(|| panic!("{:?} calls {asked:?}", case.arguments));
        (case.fits)(call.params.clone()).unwrap_or_else(|error| panic!("{}: {error}", case.method));
    }
}

#[tokio::test]
async fn commands_are_called_like_their_methods() {
    let help = xenith_orchestrator_cli::cli::full_help();
    for method in xenith_orchestrator_api::methods() {
        let (noun, verb) = method.name.split_once('.').unwrap();
        let (noun, verb) = (noun.replace('_', "-"), verb.replace('_', "-"));
        let heading =
            if noun == "auth" { format!("== xenith {verb}\n") } else { format!("== xenith {noun} {verb}\n") };
        assert!(help.contains(&heading), "{heading}");
    }
}

/// What can be planned has the flag, and nothing else has it.
#[test]
fn a_dry_run_is_offered_where_there_is_one() {
    let help = xenith_orchestrator_cli::cli::full_help();
    let pages = help.split("== xenith ").skip(1);
    let offers = pages.filter(|page| page.lines().any(|line| line.trim() == "--dry-run"));
    let offers: BTreeSet<_> = offers.filter_map(|page| page.lines().next()).collect();
    let methods = xenith_orchestrator_api::methods();
    let plannable = methods.iter().filter(|method| method.kind == Kind::Plannable);
    let commands: Vec<_> = plannable.map(|method| method.name.replace('.', " ").replace('_', "-")).collect();
    assert_eq!(offers, commands.iter().map(String::as_str).collect::<BTreeSet<_>>());
}
