use super::*;

#[track_caller]
fn check(finding: Finding, state: State, words: &str) -> Finding {
    assert_eq!(finding.state, state, "{finding:?}");
    assert!(finding.found.contains(words), "{finding:?} should say {words:?}");
    let wrong = matches!(state, State::Warn | State::Fail);
    assert_eq!((finding.means.is_some(), finding.todo.is_some()), (wrong, wrong), "{finding:?}");
    assert_eq!(finding.kind.is_some(), state == State::Fail, "{finding:?}");
    finding
}

#[test]
fn the_page_has_a_section_for_each_check_and_for_nothing_else() {
    let page = include_str!("../../../docs/doctor.md");
    let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(sections, Check::ALL.map(Check::id));
    assert_eq!(Check::Clock.docs(), "docs/doctor.md#clock");
}

#[test]
fn a_clock_that_is_off_is_told_from_half_a_minute_on() {
    let skewed = |graph: i64, cxone: i64| {
        clock(&[("Graph", SignedDuration::from_secs(graph)), ("CXone", SignedDuration::from_secs(cxone))])
    };
    check(skewed(0, -1), State::Ok, "as Graph's and as CXone's");
    check(skewed(29, -29), State::Ok, "29 s behind Graph's and 29 s ahead of CXone's");
    check(skewed(30, 0), State::Warn, "30 s behind");
    check(skewed(0, -30), State::Warn, "30 s ahead");
    check(skewed(299, 0), State::Warn, "299 s behind");
    check(skewed(2, -300), State::Fail, "300 s ahead of CXone's");
    check(clock(&[]), State::Skipped, "no neighbour");
}

#[test]
fn permissions_that_are_missing_or_too_many_are_named() {
    let granted = |names: &str| {
        let names: BTreeSet<String> = names.split_whitespace().map(str::to_owned).collect();
        permissions(Some(&names))
    };
    check(granted("User.Read.All Group.Read.All"), State::Ok, "no others");
    check(granted("user.read.all GroupMember.Read.All"), State::Ok, "GroupMember.Read.All");
    check(granted("User.Read.All Group.Read.All GroupMember.Read.All"), State::Ok, "no others");
    let missing = check(granted(""), State::Fail, "missing: User.Read.All, Group.Read.All");
    assert_eq!(missing.kind, Some(Kind::Credentials));
    check(granted("User.Read.All"), State::Fail, "missing: Group.Read.All");
    let both =
        check(granted("Group.Read.All Directory.Read.All"), State::Fail, "too many: Directory.Read.All");
    assert!(both.found.contains("missing: User.Read.All") && both.todo.unwrap().contains("remove Directory"));
    let ours = "User.Read.All Group.Read.All";
    let excess = check(granted(&format!("{ours} Directory.Read.All")), State::Warn, "Directory.Read.All");
    assert!(excess.todo.unwrap().contains("remove Directory.Read.All"));
    check(granted(&format!("{ours} Mail.ReadBasic.All")), State::Warn, "Mail.ReadBasic.All");
    for writes in [
        "User.ReadWrite.All",
        "Directory.ReadWrite.All",
        "RoleManagement.ReadWrite.Directory",
        "User.ManageIdentities.All",
        "User.Invite.All",
        "Mail.Send",
        "Sites.FullControl.All",
        "full_access_as_app",
    ] {
        let writing = check(granted(&format!("{ours} {writes}")), State::Fail, writes);
        assert_eq!(writing.kind, Some(Kind::Other));
    }
    check(permissions(None), State::Warn, "none that one can look into");
}

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

const OURS: &str = "https://sync.example.com/notifications";

fn subscription(id: &str, resource: Resource, url: &str, hours: i64) -> Subscription {
    let expires_at = now() + SignedDuration::from_hours(hours);
    let (id, notification_url) = (id.to_owned(), url.to_owned());
    Subscription { id, resource, notification_url, expires_at, renewed_at: now(), signed_by: None }
}

#[test]
fn each_kind_of_subscription_is_told_apart() {
    let users = subscription("u", Resource::Users, OURS, 600);
    let groups = subscription("g", Resource::Groups, OURS, 600);
    let kept = [users.clone(), groups.clone()];
    let judged = |remote: &[Subscription]| subscriptions(&kept, remote, Some(OURS), now());
    check(judged(&kept), State::Ok, "users until 2026-12-18");
    check(judged(std::slice::from_ref(&users)), State::Fail, "lost: groups");
    let expired = subscription("g", Resource::Groups, OURS, 0);
    check(judged(&[users.clone(), expired]), State::Fail, "lost: groups");
    let doubled = subscription("x", Resource::Users, OURS, 600);
    check(judged(&[users.clone(), groups.clone(), doubled]), State::Warn, "not made by this store: users x");
    let foreign = subscription("f", Resource::Groups, "https://other.example.com/n", 600);
    check(
        judged(&[users.clone(), groups.clone(), foreign.clone()]),
        State::Warn,
        "foreign, to another address: groups f",
    );
    let soon = subscription("g", Resource::Groups, OURS, 23);
    check(judged(&[users.clone(), soon]), State::Warn, "groups until 2026-11-24T09");
    let tomorrow = subscription("g", Resource::Groups, OURS, 24);
    check(judged(&[users, tomorrow]), State::Ok, "groups");

    check(subscriptions(&[], &[], Some(OURS), now()), State::Warn, "not subscribed: users, groups");
    check(subscriptions(&[], &[foreign], Some(OURS), now()), State::Warn, "not subscribed: users, groups");
    check(subscriptions(&kept, &kept, None, now()), State::Skipped, "public_url");
}

#[test]
fn room_is_measured_by_what_the_store_does_without() {
    check(room(100, 100, 200), State::Warn, "0 MiB");
    check(room(99, 100, 200), State::Fail, "free");
    check(room(200 << 20, 100, 200), State::Ok, "200 MiB");
}

#[test]
fn what_others_may_read_or_exchange_is_told() {
    let mode = |name: &str, bits| Mode { name: name.to_owned(), bits };
    let closed = mode("/s", 0o40700);
    check(files(&closed, &[mode("a", 0o100600), mode("b", 0o100600)]), State::Ok, "2 files");
    let open = check(files(&closed, &[mode("a", 0o100644), mode("b", 0o100600)]), State::Fail, "a is 0644");
    assert_eq!(open.todo.as_deref(), Some("chmod 600 a"));
    check(files(&closed, &[mode("a", 0o100660)]), State::Fail, "a is 0660");
    check(files(&mode("/s", 0o40755), &[mode("a", 0o100600)]), State::Ok, "1 file");
    check(files(&mode("/s", 0o40777), &[]), State::Fail, "/s is 0777");
    check(files(&mode("/tmp", 0o41777), &[]), State::Warn, "/tmp is 1777");
    check(files(&mode("/s", 0o40775), &[]), State::Warn, "/s is 0775");
}

#[test]
fn a_certificate_that_was_not_renewed_in_time_is_told() {
    let left = |hours| certificate(now() + SignedDuration::from_hours(hours), now());
    check(left(60 * 24), State::Ok, "60 days");
    check(left(14 * 24), State::Ok, "14 days");
    check(left(13 * 24), State::Warn, "13 days");
    check(left(0), State::Fail, "expired");
}

#[test]
fn an_endpoint_is_slow_when_graph_says_so() {
    check(latency(1000), State::Ok, "1000 ms");
    check(latency(1001), State::Warn, "1001 ms");
    check(latency(3000), State::Warn, "3000 ms");
    check(latency(3001), State::Fail, "3001 ms");
}
