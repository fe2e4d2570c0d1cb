//! Series, for people as a line of blocks and for programs as they are.

use time::OffsetDateTime;
use xenith_orchestrator_api::metrics;
use xenith_orchestrator_types::Empty;
use xenith_orchestrator_types::metrics::{
    Measured, MetricInfo, MetricSeries, MetricSeriesList, QueryMetrics,
};

use crate::app::App;
use crate::cli::{MeasuredFlag, MetricsArgs, MetricsCommand};
use crate::error::CliError;
use crate::run::print;
use crate::table::{Cell, Column, Names, Paint, Row, lines};
use crate::words;

/// How wide a series is drawn.
const WIDTH: usize = 40;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Row for MetricInfo {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("metric", |info, _| Cell::new(info.metric.as_str())),
            Column::new("unit", |info, _| {
                Cell::maybe(Some(info.unit.as_str()).filter(|unit| !unit.is_empty()))
            }),
            Column::new("of", |info, _| {
                Cell::new(info.of.iter().map(|of| of.as_str()).collect::<Vec<_>>().join(", "))
            }),
            Column::new("summary", |info, _| Cell::new(&info.summary)),
        ]
    }

    fn name(&self) -> String {
        self.metric.to_string()
    }

    fn id(&self) -> String {
        self.metric.to_string()
    }
}

/// From the least to the greatest; a space where nothing was measured.
fn sparkline(values: &[Option<f64>]) -> String {
    let width = WIDTH.min(values.len());
    let there = || values.iter().flatten().copied();
    let (min, max) = there().fold((f64::MAX, f64::MIN), |(min, max), value| (min.min(value), max.max(value)));
    let block = |column: usize| {
        let (from, to) = (column * values.len() / width, (column + 1) * values.len() / width);
        let here: Vec<f64> = values[from..to].iter().flatten().copied().collect();
        if here.is_empty() {
            return ' ';
        }
        let mean = here.iter().sum::<f64>() / here.len() as f64;
        let height = if max > min { (mean - min) / (max - min) * (BLOCKS.len() - 1) as f64 } else { 0.0 };
        BLOCKS[(height.round() as usize).min(BLOCKS.len() - 1)]
    };
    (0..width).map(block).collect()
}

fn table(answer: &MetricSeriesList, paint: Paint) -> String {
    let least = |values: &[Option<f64>]| values.iter().flatten().copied().reduce(f64::min);
    let columns: [Column<MetricSeries>; 7] = [
        Column::new("name", |series, _| match &series.device {
            Some(device) => Cell::new(format!("{} {device}", series.name)),
            None => Cell::new(&series.name),
        }),
        Column::new("metric", |series, _| Cell::new(series.metric.as_str())),
        Column::new("last", |series, _| {
            let last = series.avg.iter().flatten().next_back();
            Cell::maybe(last.map(|value| series.unit.show(*value)))
        }),
        Column::new("min", |series, _| {
            let min = series.min.iter().flatten().copied().reduce(f64::min);
            Cell::maybe(min.map(|value| series.unit.show(value)))
        }),
        Column::new("avg", |series, _| {
            let there: Vec<f64> = series.avg.iter().flatten().copied().collect();
            let avg = there.iter().sum::<f64>() / there.len() as f64;
            Cell::maybe((!there.is_empty()).then(|| series.unit.show(avg)))
        }),
        Column::new("max", |series, _| {
            let max = series.max.iter().flatten().copied().reduce(f64::max);
            Cell::maybe(max.map(|value| series.unit.show(value)))
        }),
        Column::new("course", |series, _| Cell::new(sparkline(&series.avg))),
    ];
    let measured: Vec<_> = answer.series.iter().filter(|series| least(&series.avg).is_some()).collect();
    if measured.is_empty() {
        return "Nothing was measured then.\n".to_owned();
    }
    let mut text = lines(&answer.series, &columns, &Names::default(), paint).join("\n");
    text.push('\n');
    text
}

pub const fn measured(flag: MeasuredFlag) -> Measured {
    match flag {
        MeasuredFlag::Vm => Measured::Vm,
        MeasuredFlag::Host => Measured::Host,
    }
}

fn request(arguments: MetricsArgs) -> QueryMetrics {
    let to = arguments.to;
    let since = arguments.since.map(|since| to.unwrap_or_else(OffsetDateTime::now_utc) - *since);
    QueryMetrics {
        of: measured(arguments.of),
        object: arguments.object,
        filter: arguments.filter,
        metrics: arguments.metrics,
        per_device: arguments.per_device,
        from: arguments.from.or(since),
        to,
        step_s: arguments.step.map_or(0, |step| u32::try_from(step.as_secs()).unwrap_or(u32::MAX)),
    }
}

pub async fn run(app: &App, command: MetricsCommand) -> Result<(), CliError> {
    match command {
        MetricsCommand::List(columns) => {
            let metrics = app.call::<metrics::List>(&Empty {}).await?;
            print(app, &metrics, &columns).await
        }
        MetricsCommand::Query(arguments) => {
            let answer = app.call::<metrics::Query>(&request(*arguments)).await?;
            app.out.value(&answer, || table(&answer, app.out.paint))?;
            if app.out.for_people() {
                let step = words::roughly(std::time::Duration::from_secs(answer.step_s.into()));
                app.note(&format!("from {}, a value every {step}", words::at(answer.from)));
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines() {
        for (values, expected) in [
            (vec![], ""),
            (vec![None, Some(1.0), Some(1.0)], " ▁▁"),
            (vec![Some(0.0), None, Some(7.0), Some(3.5)], "▁ █▅"),
        ] {
            assert_eq!(sparkline(&values), expected);
        }
        let long: Vec<_> = (0..1000).map(|n| Some(f64::from(n))).collect();
        assert_eq!(sparkline(&long).chars().count(), WIDTH);
    }
}
