//! The files of the store: who has them open, who may read them, and the room there is.

use crate::domain::checkup::{self, Check, Finding, Kind};
use crate::store::health::{self, Holder};

use super::{Patient, Unopened};
use crate::app::assemble::BALLAST_BYTES;
use crate::app::token::{history_key_file, token_file};

impl Patient {
    pub(super) async fn shelf(&self) -> Vec<Finding> {
        let path = self.store_path.clone();
        let as_secret = [token_file(&path), history_key_file(&path)];
        let look = tokio::task::spawn_blocking(move || health::look(&path, &as_secret)).await;
        let standing = match look.expect("looking at files does not panic") {
            Ok(standing) => standing,
            Err(error) => {
                let found = format!("cannot look at {}: {error}", self.store_path.display());
                let todo = "see that the directory of store.path is there and belongs to the service's user";
                let means = "the service cannot open its store";
                let store = Finding::fail(Check::Store, Kind::Configuration, found, means, todo);
                let none = |check| Finding::skipped(check, "the directory cannot be looked at: see store");
                return vec![store, none(Check::StoreFiles), none(Check::StoreRoom)];
            }
        };
        vec![
            self.opened(&standing.holder),
            checkup::files(&standing.directory, &standing.files),
            checkup::room(standing.free_bytes, BALLAST_BYTES / 4, 2 * BALLAST_BYTES),
        ]
    }

    fn opened(&self, holder: &Holder) -> Finding {
        let check = Check::Store;
        let by = match holder {
            Holder::Process { id, name: Some(name) } => format!("process {id} ({name})"),
            Holder::Process { id, name: None } => format!("process {id}"),
            Holder::Nobody | Holder::Unknown => "another process".to_owned(),
        };
        if let Some(Unopened { is_held, words }) = &self.unopened {
            let (kind, found, todo) = match is_held {
                true => (
                    Kind::Unreachable,
                    format!("held by {by}, which does not answer as a service"),
                    "is this the configuration it was started with, and the same host or container? Else end that \
                     process",
                ),
                false => (Kind::Other, words.clone(), "do what the message says"),
            };
            return Finding::fail(check, kind, found, "no command can work on the store", todo);
        }
        match (holder, self.serves, self.store.is_some()) {
            (Holder::Process { .. }, true, _) => Finding::ok(check, format!("held by the service, {by}")),
            (_, true, _) => Finding::ok(check, "held by the service"),
            (_, false, true) => Finding::ok(check, "whole, and free: no service holds it"),
            (Holder::Nobody, false, false) => Finding::skipped(check, "not opened"),
            (_, false, false) => Finding::ok(check, format!("held by {by}")),
        }
    }
}
