//! What shows on a terminal that something is under way, and how far it has come.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::client::Told;

/// Shown until it is dropped; off a terminal nothing is.
pub struct Spinner(ProgressBar);

impl Spinner {
    pub(super) fn new(message: &str, shown: bool) -> Self {
        if !shown {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_style(style(false)).with_message(message.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    pub fn say(&self, message: &str) {
        self.0.set_message(message.to_owned());
    }

    /// Shows how far it has come: as a bar where it is known of how much.
    pub fn follow(&self, told: &Told) {
        let (message, bar) = stand(told);
        if bar.map(|(_, of)| of) != self.0.length() {
            self.0.set_style(style(bar.is_some()));
            // What is left is guessed from the pace, and that is another one now.
            self.0.reset_eta();
        }
        match bar {
            Some((done, of)) => {
                self.0.set_length(of);
                self.0.set_position(done);
            }
            None => self.0.unset_length(),
        }
        self.0.set_message(message);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The words, and how much of how much.
fn stand(told: &Told) -> (String, Option<(u64, u64)>) {
    let doing = super::printable(&told.doing);
    match told.of {
        Some(of) => (doing, Some((told.done.min(of), of))),
        None if told.done > 0 => (format!("{doing}: {}", told.done), None),
        None => (doing, None),
    }
}

fn style(of_known: bool) -> ProgressStyle {
    let template = match of_known {
        true => "{spinner} {msg} {wide_bar} {pos}/{len} ({elapsed}, {eta} left)",
        false => "{spinner} {msg} ({elapsed})",
    };
    ProgressStyle::with_template(template).expect("a valid template")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_needs_a_whole() {
        let told = |done, of| Told { doing: "reading Entra".to_owned(), done, of };
        assert_eq!(stand(&told(0, None)), ("reading Entra".to_owned(), None));
        assert_eq!(stand(&told(12, None)), ("reading Entra: 12".to_owned(), None));
        assert_eq!(stand(&told(12, Some(40))), ("reading Entra".to_owned(), Some((12, 40))));
        assert_eq!(stand(&told(50, Some(40))).1, Some((40, 40)), "more came than was counted");
        for of_known in [true, false] {
            style(of_known);
        }
    }

    #[test]
    fn off_a_terminal_nothing_is_drawn() {
        let spinner = Spinner::new("reading", false);
        spinner.follow(&Told { doing: "reading Entra".to_owned(), done: 1, of: Some(2) });
        assert!(spinner.0.is_hidden());
    }
}
