//! `healthcheck`: whether the service on this host is ready, for a container's HEALTHCHECK.

use serde_json::Value;

use super::client::{Client, knock};
use super::exit::{Exit, Failure};
use super::{Cli, Screen, config};
use crate::clock::Clock;

/// Ask the running service whether it is ready
///
/// Exit code 0: ready. 1: not ready, not running, or not to be asked. No other code is used, as
/// container runtimes know only these two.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cxone-sync healthcheck
  HEALTHCHECK CMD [\"cxone-sync\", \"healthcheck\"]")]
pub struct Args {}

pub async fn run(_args: &Args, cli: &Cli, mut screen: Screen) -> Result<Exit, Failure> {
    let ready = async {
        let place = config::place(&config::load(cli)?);
        match knock(&place, &Clock::system()).await? {
            Some(connection) => is_ready(&connection.client).await,
            None => Err(Failure::new(Exit::Failed, "no service answers on this host")),
        }
    };
    ready.await.map_err(|failure| Failure::new(Exit::Failed, failure.message))?;
    screen.print("ready")?;
    Ok(Exit::Done)
}

async fn is_ready(client: &Client) -> Result<(), Failure> {
    let answer = client.probe("readyz").await?;
    if answer.status.is_success() {
        return Ok(());
    }
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let words = json["error"]["message"].as_str().unwrap_or("no reason given");
    Err(Failure::new(Exit::Failed, format!("not ready ({}): {words}", answer.status.as_u16())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::testing::{client, json, text};

    #[tokio::test]
    async fn ready_is_what_readyz_says() {
        assert!(is_ready(&client(|_| text(200, "ok"))).await.is_ok());
        let failure = is_ready(&client(|_| {
            json(503, serde_json::json!({"error": {"code": "store_failed", "message": "the disk is full"}}))
        }))
        .await
        .unwrap_err();
        assert_eq!(failure.message, "not ready (503): the disk is full");
        assert_eq!(failure.exit, Exit::Failed);
    }
}
