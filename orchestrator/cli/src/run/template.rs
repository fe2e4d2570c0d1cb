//! What VMs are made from.

use std::path::Path;

use xenith_common_ids::FragmentId;
use xenith_hypervisor_agent_types::{BootDevice, Firmware, Graphics, MemorySpec, Platform, VcpuSpec};
use xenith_orchestrator_api::{fragment, template};
use xenith_orchestrator_types::template::{
    CloudInit, CreateTemplate, DeployTemplate, ImportTemplate, SetTemplateFragments, Template, TemplateDisk,
    TemplateRef,
};

use crate::app::App;
use crate::ask;
use crate::cli::{DeployArgs, ImportArgs, TemplateCommand};
use crate::error::CliError;
use crate::run::list;
use crate::spec::new_nic;
use crate::table::{Cell, Column, Row, Sheet};
use crate::wait::{begin, begin_or_plan};
use crate::words;

impl Row for Template {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |template, _| Cell::new(&template.name)),
            Column::new("host", |template, names| Cell::new(names.host(template.host))),
            Column::new("kind", |template, _| Cell::new(template.platform.kind().to_string())),
            Column::new("memory", |template, _| Cell::new(template.memory.target.to_string())),
            Column::new("disk", |template, _| {
                let size = template.disks.first().and_then(|disk| disk.size);
                Cell::maybe(size.map(|size| words::bytes(size.bytes())))
            }),
            Column::new("ready", |template, _| Cell::new(if template.ready { "yes" } else { "no" })),
            Column::new("description", |template, _| Cell::new(&template.description)),
            Column::on_request("created", |template, _| Cell::new(words::at(template.created))),
            Column::on_request("id", |template, _| Cell::new(template.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn run(app: &App, command: TemplateCommand) -> Result<(), CliError> {
    match command {
        TemplateCommand::List(listing) => list::<template::List, Template>(app, &listing).await,
        TemplateCommand::Get { template } => {
            let found = app.call::<template::Get>(&TemplateRef { template }).await?;
            shown(app, &found).await
        }
        TemplateCommand::Create { vm, name, description, tasked } => {
            begin::<template::Create>(app, &CreateTemplate { vm, name, description }, &tasked).await
        }
        TemplateCommand::Import(args) => {
            let tasked = args.tasked.clone();
            begin::<template::Import>(app, &import(*args), &tasked).await
        }
        TemplateCommand::Delete { template, confirm, planned } => {
            if !planned.dry_run {
                ask::confirm(&format!("Delete the template {template}?"), confirm)?;
            }
            begin_or_plan::<template::Delete>(app, &TemplateRef { template }, &planned).await
        }
        TemplateCommand::Deploy(args) => {
            let planned = args.planned.clone();
            begin_or_plan::<template::Deploy>(app, &deploy(*args)?, &planned).await
        }
        TemplateCommand::SetFragments { template, fragments, keyed } => {
            let params = SetTemplateFragments { template, fragments };
            let found = app.change::<template::SetFragments>(&params, &keyed).await?;
            shown(app, &found).await
        }
    }
}

async fn shown(app: &App, found: &Template) -> Result<(), CliError> {
    let names = app.names().await;
    let fragments = if app.out.for_people() && !found.fragments.is_empty() {
        app.all::<fragment::List, _>().await.unwrap_or_default()
    } else {
        Vec::new()
    };
    // One that the caller may not see is shown by its id.
    let fragment = |id: &FragmentId| {
        let known = fragments.iter().find(|fragment| fragment.id == *id);
        known.map_or_else(|| id.to_string(), |fragment| fragment.name.clone())
    };
    let disk = |disk: &TemplateDisk| {
        let size = disk.size.map(|size| words::bytes(size.bytes())).unwrap_or_default();
        format!("{} {size}", disk.device)
    };
    app.out.object(found, || {
        Sheet::new()
            .line("name", &found.name)
            .line("id", found.id.to_string())
            .line("host", names.host(found.host))
            .line("created", words::at(found.created))
            .line("memory", found.memory.target.to_string())
            .line("vcpus", found.vcpus.online.to_string())
            .maybe("description", Some(&found.description))
            .each("disks", found.disks.iter().map(disk))
            .each("fragments", found.fragments.iter().map(fragment))
    })
}

fn import(args: ImportArgs) -> ImportTemplate {
    let firmware = if args.uefi { Firmware::Uefi } else { Firmware::Bios };
    ImportTemplate {
        name: args.name,
        description: args.description,
        host: args.host,
        sr: args.sr,
        url: args.url,
        sha256: args.sha256,
        platform: Platform::Hvm { firmware, boot_order: vec![BootDevice::Disk] },
        vcpus: VcpuSpec { online: args.vcpus, max: args.vcpus },
        memory: MemorySpec { target: args.memory, max: args.memory },
        graphics: Graphics::Vnc,
    }
}

pub fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::File {
        what: "read",
        path: path.to_owned(),
        source,
    })
}

fn deploy(args: DeployArgs) -> Result<DeployTemplate, CliError> {
    let read_all =
        |paths: &[std::path::PathBuf]| paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>();
    let keys = read_all(&args.ssh_keys)?;
    let cloud_init = CloudInit {
        hostname: args.hostname,
        // A file may have several keys, one a line.
        ssh_keys: keys
            .iter()
            .flat_map(|text| text.lines())
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(ToOwned::to_owned)
            .collect(),
        fragments: args.fragments,
        user_data: args.user_data.as_deref().map(read).transpose()?,
        network_config: args.network_config.as_deref().map(read).transpose()?,
        variables: args.variables.into_iter().map(|variable| (variable.key, variable.value)).collect(),
    };
    Ok(DeployTemplate {
        template: args.template,
        name: args.name,
        vcpus: args.vcpus.map(|online| VcpuSpec { online, max: online }),
        memory: args.memory.map(|target| MemorySpec { target, max: target }),
        disk_size: args.disk_size,
        nics: args.nics.iter().map(new_nic).collect(),
        cloud_init: (!args.no_cloud_init).then_some(cloud_init),
        description: args.description,
        tags: args.tags.into_iter().collect(),
        start: args.start,
    })
}
