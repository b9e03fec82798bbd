//! `serve`: the service itself.

use anyhow::Context as _;

use super::exit::{Exit, Failure};
use crate::config::Config;
use crate::telemetry;

pub async fn run(config: Config) -> Result<Exit, Failure> {
    let traces = telemetry::start(config.log.format, &config.log.level, config.traces.as_ref())
        .context("log.level is not a filter")?;
    let served = crate::app::serve(config).await;
    // It waits for a collector.
    tokio::task::spawn_blocking(|| traces.finish()).await.ok();
    served?;
    Ok(Exit::Done)
}
