//! What a notification says: one item per subscription and change, in the shapes seen on the wire.

use serde_json::{Value, json};

use super::Tenant;
use super::directory::{Change, Kind, What};
use super::subscriptions::SubscriptionInfo;
use crate::sim::clock::{seconds, seven_digits};

/// The item for one change, or `None` when the subscription does not cover it.
pub(super) fn item(sim: &Tenant, subscription: &SubscriptionInfo, change: &Change) -> Option<Value> {
    let target = &subscription.target;
    if target.kind != change.kind || target.id.as_ref().is_some_and(|id| *id != change.id) {
        return None;
    }
    // Created, restored and soft-deleted are all `updated`; only the end of an object is `deleted`.
    let change_type = if matches!(change.what, What::HardDeleted) { "deleted" } else { "updated" };
    if !subscription.change_types.contains(change_type) {
        return None;
    }
    let (odata_type, path) = match change.kind {
        Kind::User => ("#Microsoft.Graph.User", format!("Users/{}", change.id)),
        Kind::Group => ("#Microsoft.Graph.Group", format!("Groups/{}", change.id)),
    };
    let mut data = json!({
        "@odata.type": odata_type,
        "@odata.id": path,
        "id": change.id,
        "organizationId": sim.options.tenant_id,
        "eventTime": seven_digits(change.ticks),
        "sequenceNumber": change.ticks,
    });
    match &change.what {
        What::Joined(member, _) => data["members@delta"] = json!([{"id": member}]),
        // No page shows this form; text and object have both been seen elsewhere.
        What::Left(member, _) if sim.traffic.dice.chance(0.5) => {
            data["members@delta"] = json!([{"id": member, "@removed": "deleted"}]);
        }
        What::Left(member, _) => {
            data["members@delta"] = json!([{"id": member, "@removed": {"reason": "deleted"}}]);
        }
        _ => {}
    }
    let mut item = json!({
        "changeType": change_type,
        "clientState": subscription.client_state,
        "resource": path,
        "resourceData": data,
        "subscriptionExpirationDateTime": expiration(sim, subscription),
        "subscriptionId": subscription.id,
        "tenantId": sim.options.tenant_id,
    });
    if subscription.client_state.is_none() {
        item.as_object_mut().expect("made an object").shift_remove("clientState");
    }
    Some(item)
}

/// A lifecycle item: no resource and no change type.
pub(super) fn lifecycle(sim: &Tenant, subscription: &SubscriptionInfo, event: &str) -> Value {
    json!({
        "subscriptionId": subscription.id,
        "subscriptionExpirationDateTime": expiration(sim, subscription),
        "tenantId": sim.options.tenant_id,
        "clientState": subscription.client_state,
        "lifecycleEvent": event,
    })
}

/// The same instant in one of the spellings that were seen.
fn expiration(sim: &Tenant, subscription: &SubscriptionInfo) -> String {
    let at = subscription.expires_at;
    match sim.traffic.dice.below(3) {
        0 => seconds(at),
        1 => seconds(at).replace('Z', "+00:00"),
        _ => at.display_with_offset(jiff::tz::offset(-7)).to_string(),
    }
}
