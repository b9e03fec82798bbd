use super::*;

const WINDOW: Duration = Duration::from_secs(900);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn parked(user: u8, second: i64) -> Event {
    let what = What::UserParked { code: "rejected".to_owned(), users: vec![UserId::from_bytes([user; 16])] };
    Event { id: Uuid::from_u128(user.into()), at: at(second), what, suppressed: 0 }
}

fn users(event: &Event) -> usize {
    let What::UserParked { users, .. } = &event.what else { panic!("{event:?}") };
    users.len()
}

#[test]
fn the_first_is_told_and_the_next_ones_only_count_until_the_window_ends() {
    let (told, quiet) = hear(None, parked(1, 0), WINDOW, at(0));
    assert_eq!(
        (told.map(|event| event.suppressed), quiet.as_ref().unwrap().kept.is_some()),
        (Some(0), false)
    );
    let (told, quiet) = hear(quiet, parked(2, 10), WINDOW, at(10));
    assert_eq!(told, None);
    let (told, quiet) = hear(quiet, parked(3, 899), WINDOW, at(899));
    assert_eq!(told, None);
    let quiet = quiet.unwrap();
    assert_eq!(quiet.ends_at(WINDOW, at(899)), at(900));
    // Nobody had to come by for it to be told.
    let (event, after) = quiet.clone().end(at(900)).unwrap();
    assert_eq!((event.suppressed, users(&event), event.at), (1, 2, at(899)));
    assert_eq!(after, Quiet { told_at: at(900), kept: None });
    assert_eq!(after.end(at(1800)), None);
    // But if somebody does first, both are told as one.
    let (told, _) = hear(Some(quiet), parked(4, 901), WINDOW, at(901));
    let told = told.unwrap();
    assert_eq!((told.suppressed, users(&told)), (2, 3));
}

#[test]
fn a_thousand_name_fifty() {
    let mut quiet = hear(None, parked(0, 0), WINDOW, at(0)).1;
    for n in 1..=1000_u32 {
        let mut event = parked(0, 1);
        let What::UserParked { users, .. } = &mut event.what else { unreachable!() };
        *users = vec![UserId::from_bytes([n.to_be_bytes(); 4].concat().try_into().unwrap())];
        quiet = hear(quiet, event, WINDOW, at(1)).1;
    }
    let (event, _) = quiet.unwrap().end(at(900)).unwrap();
    assert_eq!((event.suppressed, users(&event)), (999, USERS_AT_MOST));
}

#[test]
fn a_clock_that_was_set_back_makes_no_window_longer() {
    let quiet = Quiet { told_at: at(5000), kept: None };
    assert!(hear(Some(quiet), parked(1, 0), WINDOW, at(0)).0.is_some());
    let delivery = Delivery { due_at: at(10_000_000), ..Delivery::new(parked(1, 0), at(0)) };
    assert_eq!(delivery.due(at(0)), at(0));
}

#[test]
fn a_test_is_told_whenever_it_is_asked_for() {
    let test = || Event { what: What::Test, ..parked(1, 0) };
    let (told, quiet) = hear(None, test(), WINDOW, at(0));
    assert!(told.is_some() && quiet.is_none());
    assert!(hear(quiet, test(), WINDOW, at(0)).0.is_some());
}

#[test]
fn a_delivery_is_tried_ten_times_by_the_schedule_of_the_standard() {
    let failed = || Tried::Failed { error: "500".to_owned(), wait: None };
    let mut delivery = Delivery::new(parked(1, 0), at(0));
    let mut waits = Vec::new();
    loop {
        match next(&delivery, failed(), at(0), 0.0) {
            Next::Again(again) => {
                waits.push(again.due_at.as_second() - at(0).as_second());
                delivery = again;
            }
            Next::GiveUp { error } => {
                assert_eq!(error, "500");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let hours = |n: i64| n * 3600;
    assert_eq!(
        waits,
        [5, 300, 1800, hours(2), hours(5), hours(10), hours(14), hours(20), hours(24)],
        "and the first at once"
    );
}

#[test]
fn the_receiver_may_ask_for_more_and_never_for_less() {
    let due = |wait: u64, unit| {
        let tried = Tried::Failed { error: String::new(), wait: Some(Duration::from_secs(wait)) };
        match next(&Delivery::new(parked(1, 0), at(0)), tried, at(0), unit) {
            Next::Again(again) => again.due_at.duration_since(at(0)).as_millis(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((due(1, 0.0), due(60, 0.0), due(0, 1.0)), (5_000, 60_000, 5_500));
    assert_eq!(next(&Delivery::new(parked(1, 0), at(0)), Tried::Gone, at(0), 0.0), Next::Disable);
    assert_eq!(next(&Delivery::new(parked(1, 0), at(0)), Tried::Delivered, at(0), 0.0), Next::Done);
}

#[test]
fn coverage_is_low_below_nine_tenths() {
    assert_eq!(What::coverage(0, 0), None);
    assert_eq!(What::coverage(9, 1), None);
    assert_eq!(What::coverage(8, 1), Some(What::CoverageLow { announced: 8, missed: 1 }));
    assert!(What::coverage(0, 1).is_some());
}

#[test]
fn every_kind_is_found_by_its_name_and_by_the_name_it_is_kept_by() {
    for kind in Kind::ALL {
        assert_eq!(Kind::by_name(kind.name()), Some(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
    assert_eq!(Kind::by_name("test"), None);
}
