//! Microsoft Graph: the token, what it may do, and the subscriptions.

use crate::domain::checkup::{self, Check, Finding};
use crate::domain::subscription::Subscription;
use crate::graph::{Error, Graph};

use super::{Patient, Side, Trouble, Whose, within};

impl Patient {
    pub(super) async fn graph_side(&self) -> Side {
        let graph = &self.graph;
        let granted = match within(graph.permissions()).await {
            Ok(Ok(granted)) => granted,
            Ok(Err(Error::ForeignTenant { found })) => {
                let words = format!("the token for Microsoft Graph is of directory {found}");
                let token = Finding::skipped(Check::GraphToken, "it is of another directory: see tenant");
                return Side::without_token(token, Whose::Foreign(words));
            }
            Ok(Err(error)) => {
                let todo = "check graph.tenant_id, graph.client_id, graph.cloud and the credential of the app \
                            registration; what AADSTS numbers mean is in Entra's error codes";
                let means = "nothing can be read from the directory";
                let token = Trouble::from(error).finding(Check::GraphToken, means, todo);
                return Side::without_token(token, Whose::Unknown);
            }
            Err(late) => {
                let todo =
                    "look at the way out: DNS, firewall, HTTPS_PROXY; graph.login_url has to be reached";
                let means = "nothing can be read from the directory";
                let token = late.finding(Check::GraphToken, means, todo);
                return Side::without_token(token, Whose::Unknown);
            }
        };
        let findings = vec![
            Finding::ok(Check::GraphToken, "a token was given"),
            checkup::permissions(granted.as_ref()),
            self.subscriptions(graph).await,
        ];
        let whose = graph.tenant().map_or(Whose::Unknown, |id| Whose::Known(id.to_owned()));
        Side { findings, skew: graph.skew(), whose }
    }

    /// Read also where nobody could be notified: the answer tells what time it is for Graph.
    async fn subscriptions(&self, graph: &Graph) -> Finding {
        let check = Check::Subscriptions;
        let means = "whether Graph notifies us cannot be seen";
        let remote = match within(graph.subscriptions()).await {
            Ok(Ok(remote)) => remote,
            Ok(Err(error)) => {
                let todo =
                    "see graph-permissions: what is listed is what User.Read.All and Group.Read.All show";
                return Trouble::from(error).finding(check, means, todo);
            }
            Err(late) => return late.finding(check, means, "look at the way out to graph.base_url"),
        };
        let Some(store) = &self.store else {
            return Finding::skipped(check, "which of them are ours stands in the store, which is not open");
        };
        let kept = match store.subscriptions().await {
            Ok(kept) => kept,
            Err(error) => {
                let todo = "see what the log says of the store";
                return Trouble::from(error).finding(check, "the store does not work", todo);
            }
        };
        let remote: Vec<Subscription> = remote.into_iter().map(|remote| remote.subscription).collect();
        let ours = self.urls.as_ref().map(|urls| urls.notification.as_str());
        checkup::subscriptions(&kept, &remote, ours, self.clock.now())
    }
}

impl Side {
    fn without_token(token: Finding, whose: Whose) -> Self {
        let none = |check| Finding::skipped(check, "there is no token to look with: see graph-token");
        let findings = vec![token, none(Check::GraphPermissions), none(Check::Subscriptions)];
        Self { findings, skew: None, whose }
    }
}
