//! What surrounds every page.

use super::{Notice, Text, Visit, moment};

/// The pages in the order of the navigation: path and name.
const PAGES: [(&str, &str); 6] = [
    ("/", "Overview"),
    ("/queue", "Queue"),
    ("/held", "Held"),
    ("/drift", "Drift"),
    ("/history", "History"),
    ("/subscriptions", "Subscriptions"),
];

pub struct Frame {
    pub title: String,
    pub pages: Vec<Page>,
    pub name: Text,
    pub form_token: String,
    pub here: String,
    pub now: String,
    pub version: &'static str,
    pub notice: Option<Told>,
}

pub struct Page {
    pub path: &'static str,
    pub name: &'static str,
    pub is_here: bool,
}

pub struct Told {
    pub good: bool,
    pub words: Text,
}

impl Frame {
    pub fn new(title: &str, visit: &Visit, notice: Option<Notice>) -> Self {
        let path = visit.here.split('?').next().unwrap_or("/");
        let page = |(at, name)| Page { path: at, name, is_here: at == path };
        Self {
            title: title.to_owned(),
            pages: PAGES.map(page).into(),
            name: Text::of(&visit.who.name),
            form_token: visit.who.form_token.clone(),
            here: visit.here.clone(),
            now: moment(visit.now),
            version: env!("CARGO_PKG_VERSION"),
            notice: notice.map(|notice| Told { good: notice.good, words: Text::of(&notice.words) }),
        }
    }
}
