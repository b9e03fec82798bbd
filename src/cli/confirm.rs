//! Asking before much is set in motion.

use super::exit::{Exit, Failure};
use super::screen::Screen;

/// What must happen before work on `n` users begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// There is nothing to agree to.
    Nothing,
    Given,
    Ask,
    /// Nobody is there to be asked, and `--yes` was not given.
    Missing,
}

pub fn consent(n: u64, yes: bool, interactive: bool) -> Consent {
    match (n, yes, interactive) {
        (0, _, _) => Consent::Nothing,
        (_, true, _) => Consent::Given,
        (_, false, true) => Consent::Ask,
        (_, false, false) => Consent::Missing,
    }
}

/// `Ok(true)` to go on, `Ok(false)` when there is nothing to do; a refusal is a failure.
/// `what` completes "This …", such as "marks 3 users again".
pub fn confirm(n: u64, what: &str, yes: bool, screen: &mut Screen) -> Result<bool, Failure> {
    match consent(n, yes, screen.interactive) {
        Consent::Nothing => Ok(false),
        Consent::Given => {
            screen.note(&format!("This {what}."));
            Ok(true)
        }
        Consent::Ask if screen.ask(&format!("This {what}. Go on?"))? => Ok(true),
        Consent::Ask => Err(Failure::new(Exit::Failed, "not confirmed, so nothing was done")),
        Consent::Missing => Err(Failure::usage(format!(
            "this {what}; nobody is here to confirm it, so nothing was done: say --yes to go on"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::testing::screen;

    #[test]
    fn without_a_yes_and_without_a_person_nothing_is_done() {
        for (n, yes, interactive, expected) in [
            (0, false, false, Consent::Nothing),
            (0, true, true, Consent::Nothing),
            (3, true, false, Consent::Given),
            (3, true, true, Consent::Given),
            (3, false, true, Consent::Ask),
            (3, false, false, Consent::Missing),
        ] {
            assert_eq!(consent(n, yes, interactive), expected, "{n} {yes} {interactive}");
        }
    }

    #[test]
    fn the_answer_counts() {
        let go_on = |interactive, typed| {
            let (mut screen, _, notes) = screen(interactive, typed);
            (confirm(3, "marks 3 users again", false, &mut screen).map_err(|f| f.exit), notes.text())
        };
        assert_eq!(go_on(true, "y\n"), (Ok(true), "This marks 3 users again. Go on? [y/N] ".to_owned()));
        assert_eq!(go_on(true, "\n").0, Err(Exit::Failed));
        assert_eq!(go_on(false, "y\n").0, Err(Exit::Usage));
    }
}
