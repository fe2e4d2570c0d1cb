//! Against a model that keeps everything.

use std::collections::BTreeMap;

use proptest::prelude::*;
use xenith_orchestrator_metrics::Query;
use xenith_orchestrator_types::metrics::Metric;

use crate::support::{DAY_ONE, World, vm};

#[derive(Debug, Clone)]
enum Step {
    /// So many values, five seconds apart.
    Values(Vec<u16>),
    /// Nothing for so many seconds.
    Silence(u64),
    Flush,
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => prop::collection::vec(1u16..1000, 1..200).prop_map(Step::Values),
        3 => (1u64..5000).prop_map(|seconds| Step::Silence(seconds / 5 * 5)),
        4 => Just(Step::Flush),
        1 => Just(Step::Expire),
        1 => (0u64..100_000).prop_map(|seconds| Step::Silence(seconds / 5 * 5)),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_resolution_tells_what_was_measured(steps in steps(), ago in 0u64..40, step in 0usize..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            let vm = vm();
            let mut model: BTreeMap<u64, f64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Values(values) => for value in values {
                        world.record(vm, world.now, &[(Metric::Memory, f64::from(value))]);
                        model.insert(world.now, f64::from(value));
                        world.now += 5;
                        if world.now.is_multiple_of(60) {
                            world.metrics.flush(world.now).await.unwrap();
                        }
                    },
                    Step::Silence(seconds) => world.now += seconds,
                    Step::Flush => world.metrics.flush(world.now).await.unwrap(),
                    Step::Expire => world.metrics.expire(world.now, |_| true).await.unwrap(),
                }
            }
            let from = world.now.saturating_sub(ago * 3600).max(DAY_ONE);
            let step = [5, 60, 3600, 7200][step];
            let query = Query { entities: vec![vm], metrics: vec![], from, to: world.now, step };
            let answer = world.metrics.query(&query, world.now).await.unwrap();
            let (begin, step) = (u64::from(answer.plan.from), u64::from(answer.plan.step));
            let end = u64::from(answer.plan.end());
            // Of a stretch that begins before what this resolution keeps, the model knows more.
            let points = answer.series.first().map(|series| series.points.clone()).unwrap_or_default();
            for n in 0..u64::from(answer.plan.count) {
                let at = begin + n * step;
                let there: Vec<f64> = model.range(at..(at + step).min(end)).map(|(_, value)| *value).collect();
                let point = points.get(n as usize).copied().flatten();
                prop_assert_eq!(point.is_some(), !there.is_empty(), "at {} of {:?}", at, answer.plan);
                let Some(point) = point else { continue };
                let (min, max) = there.iter().fold((f64::MAX, 0.0f64), |(a, b), v| (a.min(*v), b.max(*v)));
                prop_assert!((point.min / min - 1.0).abs() < 0.001, "{:?} {}", point, min);
                prop_assert!((point.max / max - 1.0).abs() < 0.001, "{:?} {}", point, max);
                prop_assert!(point.min <= point.avg && point.avg <= point.max);
            }
            Ok(())
        })?;
    }
}
