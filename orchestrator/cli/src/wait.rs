//! Waiting for a task: steps as they are done for people, silence for programs, the task's end as ours.
//!
//! Ctrl-C and --timeout end the waiting, never the task. A connection that breaks is opened again; the task's state
//! comes whole with each message, so nothing is missed.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use xenith_common_ids::TaskId;
use xenith_orchestrator_api::{Kind, Method, WatchTasks, task};
use xenith_orchestrator_client::{TaskChanges, Update, Watch};
use xenith_orchestrator_types::task::{StepStatus, Task, TaskRef, TaskStarted, TaskStatus};

use crate::app::App;
use crate::ask;
use crate::cli::{Planned, Tasked};
use crate::error::CliError;
use crate::live::LiveRegion;
use crate::output::{clean, paint};
use crate::table::{Paint, Tone};
use crate::words;

/// Often enough for the eye.
const FRAME: Duration = Duration::from_millis(200);
const BAR: usize = 24;

/// Starts a task; waits for it where that is wanted.
pub async fn begin<M>(app: &App, params: &M::Params, tasked: &Tasked) -> Result<(), CliError>
where
    M: Method<Result = TaskStarted>,
{
    let started = app.change::<M>(params, &tasked.keyed).await?;
    let id = started.object.clone().unwrap_or_else(|| started.task.to_string());
    if !waits(app, tasked) {
        let people = format!("Task {0} has begun; follow it: xenith task wait {0}", started.task);
        return app.out.result(&started, &id, &people);
    }
    let began = Instant::now();
    let task = follow(app, started.task, tasked.timeout.map(Into::into)).await?;
    app.out.result(&task, &id, &done(&task, began.elapsed()))
}

/// As [`begin`], or shows what would be done.
pub async fn begin_or_plan<M>(app: &App, params: &M::Params, planned: &Planned) -> Result<(), CliError>
where
    M: Method<Result = TaskStarted>,
{
    const { assert!(matches!(M::KIND, Kind::Plannable), "this method has no dry run") };
    match planned.dry_run {
        true => plan::<M>(app, params).await,
        false => begin::<M>(app, params, &planned.tasked).await,
    }
}

/// Shows what would be done.
pub async fn plan<M: Method>(app: &App, params: &M::Params) -> Result<(), CliError> {
    let plan = app.client().await?.plan::<M>(params).await?;
    app.out.value(&plan, || {
        let mut text = String::from("This would be done; nothing was changed.\n");
        outline(&plan, 1, &mut text);
        text
    })
}

/// A JSON value as an indented list.
fn outline(value: &serde_json::Value, depth: usize, text: &mut String) {
    use serde_json::Value;
    let indent = "  ".repeat(depth);
    let scalar = |value: &Value| match value {
        Value::String(text) => clean(text),
        Value::Null => "-".into(),
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Object(fields) if fields.is_empty() => "none".into(),
        other => clean(&other.to_string()),
    };
    let nested = |value: &Value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = clean(name).replace('_', " ");
                if nested(value) {
                    text.push_str(&format!("{indent}{name}:\n"));
                    outline(value, depth + 1, text);
                } else {
                    text.push_str(&format!("{indent}{name}: {}\n", scalar(value)));
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if nested(item) {
                    text.push_str(&format!("{indent}-\n"));
                    outline(item, depth + 1, text);
                } else {
                    text.push_str(&format!("{indent}- {}\n", scalar(item)));
                }
            }
        }
        other => text.push_str(&format!("{indent}{}\n", scalar(other))),
    }
}

/// The default: a person who looks at a table on a terminal waits, a program does not.
fn waits(app: &App, tasked: &Tasked) -> bool {
    let asked = tasked.wait || tasked.timeout.is_some();
    asked || (!tasked.no_wait && app.out.for_people() && ask::somebody())
}

/// "Start web-1: done in 3.2 s".
pub fn done(task: &Task, took: Duration) -> String {
    format!("{}: done in {:.1} s", task.title, took.as_secs_f64())
}

/// Until the task is over.
pub async fn follow(app: &App, id: TaskId, limit: Option<Duration>) -> Result<Task, CliError> {
    let client = app.client().await?;
    let mut progress = Progress::new(app);
    let task = {
        let watching = async {
            let mut watch =
                client.watch::<TaskChanges>(&WatchTasks { task: Some(id), ..WatchTasks::default() }).await?;
            until_over(app, &mut watch, id, &mut progress).await
        };
        let deadline = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Before the task is watched: from then on who interrupts is to be told that it runs on.
            biased;
            _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted { title: String::new(), task: id }),
            task = watching => task,
            () = deadline => {
                Err(CliError::StillRunning { task: id, waited: limit.unwrap_or_default() })
            }
        }
    };
    progress.clear();
    match task {
        Ok(task) => succeeded(task),
        Err(CliError::Interrupted { task, .. }) => {
            Err(CliError::Interrupted { title: progress.title(), task })
        }
        Err(error) => Err(error),
    }
}

/// Only a task that is done is a success.
pub fn succeeded(task: Task) -> Result<Task, CliError> {
    if task.status == TaskStatus::Done { Ok(task) } else { Err(CliError::TaskEnded(Box::new(task))) }
}

async fn until_over(
    app: &App,
    watch: &mut Watch<TaskChanges>,
    id: TaskId,
    progress: &mut Progress,
) -> Result<Task, CliError> {
    let mut frames = tokio::time::interval(FRAME);
    loop {
        let update = tokio::select! {
            update = watch.next() => update?,
            _ = frames.tick() => {
                progress.draw();
                continue;
            }
        };
        match update {
            Some(Update::Item(task)) if task.id != id => {}
            Some(Update::Item(task)) if task.status.is_over() => return Ok(task),
            Some(Update::Item(task)) => progress.show(task),
            Some(Update::Interrupted) => progress.interrupted = true,
            Some(Update::Resumed | Update::Continued) => progress.interrupted = false,
            // It ended before the last message came: ask.
            None => return app.call::<task::Get>(&TaskRef { task: id }).await,
        }
    }
}

/// What is drawn meanwhile; nothing where nobody watches.
struct Progress {
    task: Option<Task>,
    began: Instant,
    interrupted: bool,
    region: Option<LiveRegion<io::Stderr>>,
    paint: Paint,
}

impl Progress {
    fn new(app: &App) -> Self {
        Self {
            task: None,
            began: Instant::now(),
            interrupted: false,
            region: io::stderr().is_terminal().then(LiveRegion::on_stderr),
            paint: paint(app.global.color, &io::stderr()),
        }
    }

    fn show(&mut self, task: Task) {
        self.task = Some(task);
        self.draw();
    }

    fn title(&self) -> String {
        self.task.as_ref().map_or_else(|| "the task".to_owned(), |task| task.title.clone())
    }

    fn draw(&mut self) {
        let Some(task) = &self.task else { return };
        let mut lines = progress_lines(task, self.began.elapsed(), self.paint);
        if self.interrupted {
            lines.push(self.paint.tone(Tone::Busy, "  the connection broke; trying to get it back"));
        }
        if let Some(region) = &mut self.region {
            // A terminal that is gone: the task is waited for all the same.
            let _nobody_looks = region.draw(&lines);
        }
    }

    fn clear(&mut self) {
        if let Some(region) = &mut self.region {
            let _nobody_looks = region.clear();
        }
    }
}

/// Title, bar and steps.
fn progress_lines(task: &Task, took: Duration, paint: Paint) -> Vec<String> {
    let filled = usize::from(task.percent.min(100)) * BAR / 100;
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
    let state = match task.status {
        TaskStatus::RollingBack => paint.tone(Tone::Bad, " undoing"),
        _ => String::new(),
    };
    let title = paint.bold(&clean(&task.title));
    let mut lines = vec![format!("{title}  {bar} {:>3}%  {}{state}", task.percent, words::roughly(took))];
    for step in &task.steps {
        let (mark, tone) = match step.status {
            StepStatus::Waiting => ("·", Tone::Dim),
            StepStatus::Running => ("▸", Tone::Busy),
            StepStatus::Done => ("✓", Tone::Good),
            StepStatus::Undone => ("↶", Tone::Bad),
        };
        lines.push(format!("  {} {}", paint.tone(tone, mark), clean(&step.name)));
    }
    lines.extend(task.message.as_deref().map(|message| format!("  {}", clean(message))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_outlined() {
        let plan = serde_json::json!({
            "host": "xen1",
            "steps": ["place", { "make_disk": { "bytes": 5 } }],
            "warnings": [],
        });
        let mut text = String::new();
        outline(&plan, 0, &mut text);
        assert_eq!(
            text,
            "host: xen1\nsteps:\n  - place\n  -\n    make disk:\n      bytes: 5\nwarnings: none\n"
        );
    }
}
