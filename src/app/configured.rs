//! What is asked of the configuration while the parts made from it run.

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::config::{ConfigErrors, Sources};
use crate::web::operations::OperationError;
use crate::worker::Worker;

use super::operations::failed;

/// Where the configuration came from.
#[derive(Debug)]
pub struct Configured {
    sources: Sources,
}

impl Configured {
    pub fn new(sources: Sources) -> Self {
        Self { sources }
    }

    /// What the rules of another file would have done; see [`Worker::try_rules`].
    pub async fn simulate(
        &self,
        worker: &Worker,
        name: &str,
        text: &str,
        since: Option<Timestamp>,
    ) -> Result<Json, OperationError> {
        let new = self.sources.deciding(name, text).map_err(|errors| refused(&errors))?;
        let told = async {
            let effect = worker.try_rules(&new.rules, since).await?;
            worker.told(&effect, &new.rules, &new.guard.budgets).await
        };
        told.await.map_err(|error| failed(error.into()))
    }
}

fn refused(errors: &ConfigErrors) -> OperationError {
    OperationError::new(400, "configuration", format!("the configuration cannot be used\n{errors}"))
}
