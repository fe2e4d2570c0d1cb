//! Sources and what is at them.

use time::OffsetDateTime;
use xenith_orchestrator_api::import;
use xenith_orchestrator_client::ClientError;
use xenith_orchestrator_types::import::{
    ConnectSource, ImportFinding, ImportSource, LookAtSource, NetworkMapping, SourceVm, StartImport,
    StorageMapping, VmAssessment,
};
use xenith_orchestrator_types::wave::WaveOptions;

use crate::app::App;
use crate::ask;
use crate::cli::{Columns, Keyed, LookArgs, MoveArgs, StartArgs};
use crate::error::CliError;
use crate::run::print;
use crate::table::{Cell, Column, Row, Sheet, Tone};
use crate::wait::begin_or_plan;
use crate::words;

const MIB: u64 = 1 << 20;

impl Row for ImportSource {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |source, _| Cell::new(&source.name)),
            Column::new("address", |source, _| Cell::new(&source.address)),
            Column::new("user", |source, _| Cell::new(&source.user)),
            Column::new("about", |source, _| Cell::new(&source.about)),
            Column::on_request("fingerprint", |source, _| Cell::new(&source.fingerprint)),
            Column::on_request("created", |source, _| Cell::new(words::at(source.created))),
            Column::on_request("id", |source, _| Cell::new(source.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for SourceVm {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |vm, _| Cell::new(&vm.name)),
            Column::new("power", |vm, _| Cell::new(&vm.power)),
            Column::new("host", |vm, _| Cell::new(&vm.host)),
            Column::new("os", |vm, _| Cell::new(&vm.os)),
            Column::new("vcpus", |vm, _| Cell::new(vm.vcpus.to_string())),
            Column::new("memory", |vm, _| Cell::new(words::bytes(vm.memory_mib * MIB))),
            Column::new("disks", |vm, _| Cell::new(vm.disks.to_string())),
            Column::new("data", |vm, _| Cell::new(words::bytes(vm.transfer_mib * MIB))),
            Column::on_request("networks", |vm, _| Cell::list(&vm.networks)),
            Column::on_request("id", |vm, _| Cell::new(&vm.id)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}

fn verdict(assessment: &VmAssessment) -> Cell {
    let says = |severity: &str| assessment.findings.iter().any(|finding| finding.severity == severity);
    match (assessment.movable, says("attention")) {
        (false, _) => Cell::toned(Tone::Bad, "blocked"),
        (true, true) => Cell::toned(Tone::Busy, "attention"),
        (true, false) => Cell::toned(Tone::Good, "ready"),
    }
}

impl Row for VmAssessment {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |vm, _| Cell::new(&vm.name)),
            Column::new("verdict", |vm, _| verdict(vm)),
            Column::new("data", |vm, _| Cell::new(words::bytes(vm.transfer_mib * MIB))),
            Column::new("method", |vm, _| Cell::new(&vm.method)),
            Column::new("findings", |vm, _| {
                let codes: Vec<_> = vm.findings.iter().map(|finding| finding.code.clone()).collect();
                Cell::list(&codes)
            }),
            Column::on_request("id", |vm, _| Cell::new(&vm.id)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}

/// The certificate first, with no password sent; then the sign-in.
pub async fn connect(app: &App, mut request: ConnectSource, keyed: &Keyed) -> Result<(), CliError> {
    if request.fingerprint.is_none() {
        let probe = app.call::<import::Connect>(&request).await;
        let Err(CliError::Client(ClientError::Api(error))) = probe else {
            return probe.map(drop);
        };
        let found = error.message.split_whitespace().find(|word| word.matches(':').count() == 31);
        let Some(found) = found.map(ToOwned::to_owned) else { return Err(error.into()) };
        if !ask::somebody() {
            return Err(error.into());
        }
        app.note(&format!("The certificate of {} has the SHA-256 fingerprint\n  {found}", request.address));
        ask::yes("Is it that of your server?")?;
        request.fingerprint = Some(found);
    }
    let question = format!("Password of {} at {}", request.user, request.address);
    request.password = ask::secret(&question, "XENITH_SOURCE_PASSWORD")?;
    let source = app.change::<import::Connect>(&request, keyed).await?;
    app.out.result(&source, &source.id.to_string(), &format!("{} is known: {}", source.name, source.about))
}

pub async fn assess(app: &App, look: LookArgs, columns: &Columns) -> Result<(), CliError> {
    let LookArgs { source, vms } = look;
    let one = vms.len() == 1;
    let found = app.call::<import::Assess>(&LookAtSource { source, vms }).await?;
    match found.as_slice() {
        [vm] if one && app.out.for_people() => app.out.object(vm, || sheet(vm)),
        all => print(app, all, columns).await,
    }
}

fn sheet(vm: &VmAssessment) -> Sheet {
    let line = |finding: &ImportFinding| {
        format!("{} ({}): {}. {}", finding.code, finding.severity, finding.reason, finding.fix)
    };
    Sheet::new()
        .line("name", &vm.name)
        .cell("verdict", verdict(vm))
        .line("method", &vm.method)
        .line("data", words::bytes(vm.transfer_mib * MIB))
        .each("findings", vm.findings.iter().map(line))
}

/// `THEIRS=OURS`, or `OURS` for all others; `none` leaves NICs out.
pub fn networks(flags: &[String]) -> Vec<NetworkMapping> {
    let mapping = |flag: &String| {
        let (from, to) = flag.rsplit_once('=').unwrap_or(("*", flag));
        NetworkMapping { from: from.to_owned(), to: Some(to.to_owned()).filter(|to| to != "none") }
    };
    flags.iter().map(mapping).collect()
}

/// `THEIRS=OURS`, or `OURS` for all others.
pub fn storage(flags: &[String]) -> Vec<StorageMapping> {
    let mapping = |flag: &String| {
        let (from, to) = flag.rsplit_once('=').unwrap_or(("*", flag));
        StorageMapping { from: from.to_owned(), to: to.to_owned() }
    };
    flags.iter().map(mapping).collect()
}

pub fn seconds(duration: humantime::Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// What is asked of one VM, or of each of a wave.
pub fn options(how: MoveArgs) -> WaveOptions {
    WaveOptions {
        networks: networks(&how.networks),
        storage: storage(&how.storage),
        pool: how.pool,
        host: how.host,
        tags: how.tags.into_iter().collect(),
        cut_over_at: how.cut_over_at,
        downtime_s: how.downtime.map(seconds),
        interval_s: seconds(how.interval),
        shutdown_s: seconds(how.shutdown),
        force: how.force,
        verify: how.verify,
        track: how.track,
        no_prepare: how.no_prepare,
        start: how.start,
    }
}

pub async fn start(app: &App, args: StartArgs) -> Result<(), CliError> {
    let how = options(args.how);
    let request = StartImport {
        source: args.source,
        vm: args.vm,
        name: args.name,
        networks: how.networks,
        storage: how.storage,
        pool: how.pool,
        host: how.host,
        tags: how.tags,
        cut_over_at: how.cut_over_at.or_else(|| args.now.then(OffsetDateTime::now_utc)),
        downtime_s: how.downtime_s,
        interval_s: how.interval_s,
        shutdown_s: how.shutdown_s,
        force: how.force,
        verify: how.verify,
        track: how.track,
        no_prepare: how.no_prepare,
        start: how.start,
    };
    begin_or_plan::<import::Start>(app, &request, &args.planned).await
}
