//! The progress of what takes longer than a call.

use std::time::Instant;

use xenith_orchestrator_api::{Method, WatchTasks, task};
use xenith_orchestrator_client::{TaskChanges, Update};
use xenith_orchestrator_types::task::{ListTasks, StepStatus, Task, TaskRef, TaskStatus};

use crate::app::App;
use crate::ask;
use crate::cli::{Keyed, TaskCommand};
use crate::error::CliError;
use crate::run::paged;
use crate::table::{Cell, Column, Row, Sheet, Tone};
use crate::wait::{done, follow, succeeded};
use crate::words;

fn status(status: TaskStatus) -> Cell {
    let tone = match status {
        TaskStatus::Done => Tone::Good,
        TaskStatus::Running => Tone::Busy,
        TaskStatus::RollingBack | TaskStatus::RolledBack | TaskStatus::Parked => Tone::Bad,
        TaskStatus::Abandoned => Tone::Dim,
    };
    Cell::toned(tone, status.as_str())
}

impl Row for Task {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("id", |task, _| Cell::new(task.id.to_string())),
            Column::new("title", |task, _| Cell::new(&task.title)),
            Column::new("status", |task, _| status(task.status)),
            Column::new("percent", |task, _| Cell::new(format!("{} %", task.percent))),
            Column::new("user", |task, _| Cell::maybe(user(task))),
            Column::new("created", |task, _| Cell::new(words::ago(task.created))),
            Column::new("message", |task, _| Cell::maybe(task.message.as_ref())),
            Column::on_request("method", |task, _| Cell::new(&task.method)),
            Column::on_request("subjects", |task, _| Cell::list(&task.subjects)),
            Column::on_request("ended", |task, _| Cell::maybe(task.ended.map(words::at))),
        ]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// An orchestrator that is older than this program tells an id only.
fn user(task: &Task) -> Option<String> {
    let name = Some(task.user_name.clone()).filter(|name| !name.is_empty());
    name.or_else(|| task.user.map(|user| user.to_string()))
}

fn sheet(task: &Task) -> Sheet {
    let step = |step: &StepStatus| match step {
        StepStatus::Waiting => "waiting",
        StepStatus::Running => "running",
        StepStatus::Done => "done",
        StepStatus::Undone => "undone",
    };
    Sheet::new()
        .line("title", &task.title)
        .line("id", task.id.to_string())
        .cell("status", status(task.status))
        .line("percent", format!("{} %", task.percent))
        .maybe("message", task.message.as_ref())
        .line("method", &task.method)
        .each("subjects", task.subjects.iter().cloned())
        .maybe("user", user(task))
        .line("created", words::at(task.created))
        .maybe("ended", task.ended.map(words::at))
        .each("steps", task.steps.iter().map(|one| format!("{:<8} {}", step(&one.status), one.name)))
}

pub async fn run(app: &App, command: TaskCommand) -> Result<(), CliError> {
    match command {
        TaskCommand::List { watch: true, listing, .. } => watch(app, listing.filter).await,
        TaskCommand::List { watch: false, vm, active, listing } => {
            paged(app, &listing.limited, &listing.columns, async |limit, cursor| {
                let (filter, sort, vm) = (listing.filter.clone(), listing.sort.clone(), vm.clone());
                app.call::<task::List>(&ListTasks { filter, sort, vm, active, limit, cursor }).await
            })
            .await
        }
        TaskCommand::Get { task } => {
            let task = app.call::<task::Get>(&TaskRef { task }).await?;
            app.out.object(&task, || sheet(&task))
        }
        TaskCommand::Wait { task, timeout } => {
            let began = Instant::now();
            // It may be over already, or not be there: then nothing would ever come.
            let now = app.call::<task::Get>(&TaskRef { task }).await?;
            let task = if now.status.is_over() {
                succeeded(now)?
            } else {
                follow(app, task, timeout.map(Into::into)).await?
            };
            app.out.result(&task, &task.id.to_string(), &done(&task, began.elapsed()))
        }
        TaskCommand::Cancel { task, keyed } => change::<task::Cancel>(app, TaskRef { task }, keyed).await,
        TaskCommand::Retry { task, keyed } => change::<task::Retry>(app, TaskRef { task }, keyed).await,
        TaskCommand::Abandon { task, confirm, keyed } => {
            ask::confirm("Leave the task as it is? What it did half stays so.", confirm)?;
            change::<task::Abandon>(app, TaskRef { task }, keyed).await
        }
    }
}

async fn change<M>(app: &App, params: TaskRef, keyed: Keyed) -> Result<(), CliError>
where
    M: Method<Params = TaskRef, Result = Task>,
{
    let task = app.change::<M>(&params, &keyed).await?;
    app.out.object(&task, || sheet(&task))
}

/// A line for each change of any task that passes, until Ctrl-C.
async fn watch(app: &App, filter: String) -> Result<(), CliError> {
    let params = WatchTasks { task: None, filter };
    let mut watch = app.client().await?.watch::<TaskChanges>(&params).await?;
    let following = async {
        while let Some(update) = watch.next().await? {
            match update {
                Update::Item(task) if app.out.for_people() => {
                    let paint = app.out.paint;
                    let Cell { text, tone } = status(task.status);
                    let state = paint.tone(tone, &format!("{text:<12}"));
                    let title = crate::output::clean(&task.title);
                    app.out.line(&format!("{}  {state} {:>3} %  {title}", task.id, task.percent))?;
                }
                Update::Item(task) => app.out.message(&task)?,
                Update::Interrupted => app.note("the connection broke; trying to get it back"),
                Update::Resumed | Update::Continued => app.note("the connection is back"),
            }
        }
        Ok(())
    };
    tokio::select! {
        // Before the first line is written: who reads it may interrupt at once.
        biased;
        _ = tokio::signal::ctrl_c() => Ok(()),
        result = following => result,
    }
}
