//! Any method by its name.

use std::io::Read;

use serde_json::{Map, Value};
use xenith_orchestrator_api::SUBSCRIPTIONS;
use xenith_orchestrator_client::Repeat;

use crate::app::App;
use crate::cli::{Format, RawCall};
use crate::error::CliError;

pub async fn run(app: &App, call: RawCall) -> Result<(), CliError> {
    if SUBSCRIPTIONS.iter().any(|subscription| subscription.name == call.method) {
        return Err(CliError::usage_next(
            format!("{} is a subscription", call.method),
            "use --watch of vm list, host list, vdi list, task list or event list",
        ));
    }
    let text = if call.params == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map_err(|source| CliError::File {
            what: "read",
            path: "standard input".into(),
            source,
        })?;
        text
    } else {
        call.params
    };
    let params: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        CliError::usage_next(
            format!("the parameters are not a JSON object: {error}"),
            "write them like '{\"vm\": \"web-1\"}'",
        )
    })?;
    // Without a key nobody can say whether it took effect, so it does not go out twice.
    let known = xenith_orchestrator_api::methods().into_iter().find(|method| method.name == call.method);
    let safe =
        params.contains_key("idempotency_key") || known.is_some_and(|method| !method.kind.is_mutation());
    let repeat = if safe { Repeat::Safe } else { Repeat::Never };
    let answer = app.client().await?.call_raw(&call.method, params, repeat).await?;
    let value: Value = serde_json::from_str(answer.get())
        .map_err(|error| CliError::usage(format!("the answer is not JSON: {error}")))?;
    if app.out.format == Format::Json {
        return app.out.message(&value);
    }
    app.out.value(&value, || {
        let pretty = serde_json::to_string_pretty(&value).unwrap_or_else(|_| value.to_string());
        format!("{pretty}\n")
    })
}
