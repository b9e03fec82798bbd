//! `serve`: the service itself.

use anyhow::Context as _;

use super::exit::{Exit, Failure};
use crate::config::Config;
use crate::telemetry::start_logging;

pub async fn run(config: Config) -> Result<Exit, Failure> {
    start_logging(config.log.format, &config.log.level).context("log.level is not a filter")?;
    crate::app::serve(config).await?;
    Ok(Exit::Done)
}
