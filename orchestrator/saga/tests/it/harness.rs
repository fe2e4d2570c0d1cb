//! The harnesses must pass a good saga and catch bad ones; else they prove nothing.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use xenith_orchestrator_saga::harness::{Scenario, every_step_twice, failures_and_crashes};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};

use crate::world::{Garden, Plant, PlantParams, trees};

struct Good;

impl Scenario for Good {
    type Saga = Plant;
    type World = Garden;

    async fn world(&self) -> Garden {
        Garden::default()
    }

    fn saga(&self, world: &Garden) -> Plant {
        Plant { garden: world.clone() }
    }

    fn params(&self, _: &Garden) -> PlantParams {
        trees(&["oak", "elm"])
    }

    async fn effects(&self, world: &Garden) -> String {
        format!("{:?}", world.trees.lock().unwrap())
    }
}

#[tokio::test]
async fn a_good_saga_passes() {
    every_step_twice(&Good).await;
    failures_and_crashes(&Good).await;
}

/// What is wrong with a bad saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Fault {
    AddsAgain,
    NoUndo,
    UndoNeedsTheStep,
    UndoTakesTooMuch,
}

#[derive(Debug, Clone, Default)]
struct Basket(Arc<Mutex<Vec<&'static str>>>);

struct Bad {
    basket: Basket,
}

impl Saga for Bad {
    const KIND: &'static str = "bad";
    type Params = Fault;

    fn steps(fault: &Fault) -> Vec<Step<Self>> {
        let first = Step::new("first", Self::first);
        let second = Step::new("second", Self::second).undo(Self::nothing);
        match fault {
            Fault::NoUndo => vec![first, second],
            _ => vec![first.undo(Self::undo_first), second],
        }
    }
}

impl Bad {
    async fn first(&self, ctx: &StepCtx<Self>) -> Result<(), StepError> {
        let mut basket = self.basket.0.lock().unwrap();
        if *ctx.params() == Fault::AddsAgain || !basket.contains(&"egg") {
            basket.push("egg");
        }
        Ok(())
    }

    async fn undo_first(&self, ctx: &StepCtx<Self>) -> Result<(), StepError> {
        let mut basket = self.basket.0.lock().unwrap();
        let egg = basket.iter().position(|thing| *thing == "egg");
        match (ctx.params(), egg) {
            (_, Some(egg)) => drop(basket.remove(egg)),
            (Fault::UndoNeedsTheStep, None) => return Err(StepError::permanent("where is my egg?")),
            (Fault::UndoTakesTooMuch, None) => drop(basket.pop()),
            (_, None) => {}
        }
        Ok(())
    }

    async fn second(&self, _: &StepCtx<Self>) -> Result<(), StepError> {
        Ok(())
    }

    async fn nothing(&self, _: &StepCtx<Self>) -> Result<(), StepError> {
        Ok(())
    }
}

struct BadScenario(Fault);

impl Scenario for BadScenario {
    type Saga = Bad;
    type World = Basket;

    async fn world(&self) -> Basket {
        Basket(Arc::new(Mutex::new(vec!["bread"])))
    }

    fn saga(&self, world: &Basket) -> Bad {
        Bad { basket: world.clone() }
    }

    fn params(&self, _: &Basket) -> Fault {
        self.0
    }

    async fn effects(&self, world: &Basket) -> String {
        format!("{:?}", world.0.lock().unwrap())
    }
}

#[tokio::test]
async fn bad_sagas_are_caught() {
    for (fault, caught_by_twice, caught_by_failures) in [
        (Fault::AddsAgain, true, true),
        (Fault::NoUndo, true, true),
        (Fault::UndoNeedsTheStep, false, true),
        (Fault::UndoTakesTooMuch, false, true),
    ] {
        let twice = tokio::spawn(async move { every_step_twice(&BadScenario(fault)).await }).await;
        assert_eq!(twice.is_err(), caught_by_twice, "{fault:?}, every step twice");
        let failures = tokio::spawn(async move { failures_and_crashes(&BadScenario(fault)).await }).await;
        assert_eq!(failures.is_err(), caught_by_failures, "{fault:?}, failures and crashes");
    }
}
