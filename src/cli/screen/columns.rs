//! Tables that fit the terminal: an id is never broken, a text is wrapped, and what matters least is
//! left out first.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

/// A text that is narrower than this is no longer read, but spelt.
const NARROWEST: u16 = 10;
/// Blanks between two columns.
const GAP: u16 = 2;

/// A column, and what may be done with it where there is little room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    heading: &'static str,
    wraps: bool,
    /// The lowest is left out first; `None`: never.
    spared: Option<u8>,
}

impl Column {
    /// Is never wrapped: ids, numbers, single words.
    pub const fn word(heading: &'static str) -> Self {
        Self { heading, wraps: false, spared: None }
    }

    /// Is wrapped.
    pub const fn text(heading: &'static str) -> Self {
        Self { heading, wraps: true, spared: None }
    }

    /// Is left out where there is no room; the lowest `order` first.
    pub const fn spare(self, order: u8) -> Self {
        Self { spared: Some(order), ..self }
    }
}

/// A table under way; [`Grid::lines`] makes it text.
#[derive(Debug)]
pub struct Grid {
    table: Table,
    columns: Vec<Column>,
    width: Option<u16>,
}

impl Grid {
    /// `width`: columns of the terminal; `None` off a terminal, where everything is shown on one line.
    pub(super) fn new(columns: &[Column], width: Option<u16>) -> Self {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(columns.iter().map(|column| Cell::new(column.heading.to_uppercase())));
        Self { table, columns: columns.to_vec(), width }
    }

    pub fn add_row(&mut self, row: impl Into<Row>) {
        self.table.add_row(row);
    }

    /// As text, without the blanks the last column leaves, and with a word on what was left out.
    pub fn lines(mut self) -> String {
        let mut left_out = Vec::new();
        if let Some(width) = self.width {
            let content = self.table.column_max_content_widths();
            let fitted = fit(&self.columns, &content, width);
            // Ours are strict; the table only wraps.
            self.table.set_content_arrangement(ContentArrangement::Dynamic).set_width(u16::MAX);
            for (n, (column, wide)) in self.columns.iter().zip(fitted).enumerate() {
                let constraint = match wide {
                    Some(wide) => ColumnConstraint::Absolute(Width::Fixed(wide + GAP)),
                    None => {
                        left_out.extend(Some(column.heading).filter(|heading| !heading.is_empty()));
                        ColumnConstraint::Hidden
                    }
                };
                self.table.column_mut(n).expect("every heading has a column").set_constraint(constraint);
            }
        }
        let line = |line: String| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n";
        let mut text: String = self.table.lines().map(line).collect();
        if !left_out.is_empty() {
            text += &format!("(left out: {})\n", left_out.join(", "));
        }
        text
    }
}

/// How wide each column is; `None` is left out. `content`: how wide each would like to be.
fn fit(columns: &[Column], content: &[u16], width: u16) -> Vec<Option<u16>> {
    let least = |n: usize| if columns[n].wraps { content[n].min(NARROWEST) } else { content[n] };
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let needed = |kept: &[usize]| kept.iter().map(|n| least(*n).saturating_add(GAP)).sum::<u16>();
    let room = width.saturating_add(GAP);
    while needed(&kept) > room {
        let first = kept.iter().filter_map(|n| Some((columns[*n].spared?, *n))).min();
        // What is left is never left out: better too wide than without it.
        let Some((_, out)) = first else { break };
        kept.retain(|n| *n != out);
    }
    let mut widths: Vec<Option<u16>> = vec![None; columns.len()];
    kept.iter().for_each(|n| widths[*n] = Some(least(*n)));
    let mut left = room.saturating_sub(needed(&kept));
    // Those who want least first, so that what they leave goes to the others.
    let mut wanting: Vec<usize> = kept.into_iter().filter(|n| columns[*n].wraps).collect();
    wanting.sort_by_key(|n| content[*n]);
    while let Some(n) = (!wanting.is_empty()).then(|| wanting.remove(0)) {
        let more = (content[n] - least(n)).min(left / (wanting.len() as u16 + 1));
        widths[n] = Some(least(n) + more);
        left -= more;
    }
    widths
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const ID: &str = "3f0c2a9e-1111-4222-8333-444455556666";

    fn check(width: Option<u16>, expected: Expect) {
        let columns = [
            Column::word("user"),
            Column::word("state"),
            Column::word("news").spare(2),
            Column::word("attempts").spare(1),
            Column::text("why"),
        ];
        let mut grid = Grid::new(&columns, width);
        grid.add_row([ID, "parked", "3h", "12", "refused: the user name is taken by somebody else"]);
        grid.add_row([ID, "due", "10m", "0", ""]);
        let text = grid.lines();
        if let Some(width) = width {
            assert!(text.lines().all(|line| line.chars().count() <= width as usize), "{width}:\n{text}");
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn off_a_terminal_everything_is_on_one_line() {
        check(
            None,
            expect![[r#"
            USER                                  STATE   NEWS  ATTEMPTS  WHY
            3f0c2a9e-1111-4222-8333-444455556666  parked  3h    12        refused: the user name is taken by somebody else
            3f0c2a9e-1111-4222-8333-444455556666  due     10m   0
        "#]],
        );
    }

    #[test]
    fn texts_are_wrapped_and_ids_are_not() {
        check(
            Some(100),
            expect![[r#"
            USER                                  STATE   NEWS  ATTEMPTS  WHY
            3f0c2a9e-1111-4222-8333-444455556666  parked  3h    12        refused: the user name is taken by
                                                                          somebody else
            3f0c2a9e-1111-4222-8333-444455556666  due     10m   0
        "#]],
        );
    }

    #[test]
    fn what_matters_least_goes_first_and_is_named() {
        check(
            Some(72),
            expect![[r#"
            USER                                  STATE   NEWS  ATTEMPTS  WHY
            3f0c2a9e-1111-4222-8333-444455556666  parked  3h    12        refused:
                                                                          the user
                                                                          name is
                                                                          taken by
                                                                          somebody
                                                                          else
            3f0c2a9e-1111-4222-8333-444455556666  due     10m   0
        "#]],
        );
        check(
            Some(60),
            expect![[r#"
                USER                                  STATE   WHY
                3f0c2a9e-1111-4222-8333-444455556666  parked  refused: the
                                                              user name is
                                                              taken by
                                                              somebody else
                3f0c2a9e-1111-4222-8333-444455556666  due
                (left out: news, attempts)
            "#]],
        );
    }

    #[test]
    fn room_is_shared_among_the_texts_that_want_it() {
        let columns = [Column::text("a"), Column::text("b"), Column::word("c")];
        assert_eq!(fit(&columns, &[5, 100, 3], 50), [Some(5), Some(38), Some(3)]);
        assert_eq!(fit(&columns, &[60, 100, 4], 50), [Some(21), Some(21), Some(4)]);
        assert_eq!(fit(&columns, &[5, 6, 3], 50), [Some(5), Some(6), Some(3)]);
    }

    #[test]
    fn what_cannot_be_left_out_stays_however_narrow_it_is() {
        let columns = [Column::word("user"), Column::text("why"), Column::word("more").spare(1)];
        assert_eq!(fit(&columns, &[36, 40, 4], 20), [Some(36), Some(10), None]);
    }
}
