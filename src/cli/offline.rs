//! The admin API without a running service: the same router, in this process.

use super::client::StoreInUse;
use crate::app::{App, Environment};
use crate::config::Config;
use crate::outbound::Transport;
use crate::store::OpenError;

/// Assembles the parts on the store, starts nothing, and hands out the way to its admin API. When
/// another process has the store open, the error carries [`StoreInUse`].
pub async fn transport(config: Config) -> anyhow::Result<Transport> {
    let app =
        App::assemble(config, Environment::system()?).await.map_err(|error| match error.downcast_ref() {
            Some(OpenError::InUse { .. }) => error.context(StoreInUse),
            _ => error,
        })?;
    app.offline().await
}
