//! What is common to everything that has to be told to somebody outside: reports of runs, alarms.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Serialize;
use xenith_common_text::chain;

/// Minutes before the next try; behind the last it is given up, after a day.
pub const AGAIN: [i64; 8] = [1, 2, 5, 15, 60, 180, 360, 720];
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads the machine's certificates, which blocks. Redirects are not followed: what is sent goes where it was said.
pub async fn new_client() -> Option<Client> {
    let build = || Client::builder().timeout(PATIENCE).redirect(Policy::none()).build();
    match tokio::task::spawn_blocking(build).await {
        Ok(Ok(client)) => Some(client),
        Ok(Err(error)) => {
            tracing::error!(%error, "nothing can be sent by HTTP");
            None
        }
        Err(error) => {
            tracing::error!(%error, "making a client was broken off");
            None
        }
    }
}

/// A URL without what may be a secret in it.
pub fn shown(to: &str) -> String {
    match Url::parse(to).map(|url| (url.scheme().to_owned(), url.host_str().map(ToOwned::to_owned))) {
        Ok((scheme, Some(host))) => format!("{scheme}://{host}"),
        _ => to.replace('\n', ", "),
    }
}

/// `body` as JSON. `Err`: why it was not taken, without the URL.
pub async fn post(client: &Client, url: &str, body: &impl Serialize) -> Result<(), String> {
    let why = |error: reqwest::Error| chain(&error.without_url());
    let answer = client.post(url).json(body).send().await.map_err(why)?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_address() {
        for (to, expected) in [
            ("https://hooks.example.org/T000/secret?x=1", "https://hooks.example.org"),
            ("http://user:password@10.0.0.1:8080/", "http://10.0.0.1"),
            ("udp://log.example.org:514", "udp://log.example.org"),
            ("ops@example.org", "ops@example.org"),
        ] {
            assert_eq!(shown(to), expected, "{to}");
        }
    }
}
