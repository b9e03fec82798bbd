//! What a command shows: results on standard output, everything else on standard error.

mod columns;
mod progress;

use std::io::{self, BufRead, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, Table};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::Value;

pub use columns::Column;
use columns::Grid;
pub use progress::Spinner;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// As the service answered, for programs.
    Json,
}

/// The option `-o`, for every command that prints something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Output {
    /// How to print the result
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
}

impl Output {
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }
}

/// Both streams of a command, and what may be done on them.
pub struct Screen {
    out: Box<dyn Write + Send>,
    notes: Box<dyn Write + Send>,
    answers: Box<dyn BufRead + Send>,
    /// Somebody is there to answer a question, and to watch a spinner.
    pub interactive: bool,
    pub paint: Paint,
    /// Columns of the terminal; `None` off a terminal, where nothing is wrapped.
    width: Option<u16>,
}

impl Screen {
    pub fn standard() -> Self {
        let (terminal, out) = (io::stdin().is_terminal() && io::stderr().is_terminal(), io::stdout());
        let width = out.is_terminal().then(|| Table::new().width()).flatten();
        Self {
            interactive: terminal,
            paint: Paint { on: out.is_terminal() && colours_wanted(|name| std::env::var_os(name)) },
            width,
            out: Box::new(out),
            notes: Box::new(io::stderr()),
            answers: Box::new(io::BufReader::new(io::stdin())),
        }
    }

    /// Prints a result, on lines of its own. Whoever reads it may have read enough: a closed pipe
    /// is no error, and the command goes on to its exit code.
    pub fn print(&mut self, text: &str) -> io::Result<()> {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let written = write!(self.out, "{text}{end}").and_then(|()| self.out.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// Prints a piece of a result as it is. `false`: nobody reads any more.
    pub fn print_piece(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn print_json(&mut self, value: &Value) -> io::Result<()> {
        self.print(&serde_json::to_string_pretty(value).expect("a JSON value can be written"))
    }

    /// Says something that is not the result.
    pub fn note(&mut self, text: &str) {
        // Without standard error there is nobody to tell.
        writeln!(self.notes, "{text}").ok();
    }

    /// Asks a question that only `y` or `yes` answers with yes.
    pub fn ask(&mut self, question: &str) -> io::Result<bool> {
        write!(self.notes, "{question} [y/N] ")?;
        self.notes.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for a line, without the blanks around it; `None`: there is nobody any more.
    pub fn ask_line(&mut self, question: &str) -> io::Result<Option<String>> {
        write!(self.notes, "{question}")?;
        self.notes.flush()?;
        let mut answer = String::new();
        let n_bytes = self.answers.read_line(&mut answer)?;
        Ok((n_bytes > 0).then(|| answer.trim().to_owned()))
    }

    /// As [`Screen::ask_line`], while the terminal does not show what is typed.
    pub fn ask_secret(&mut self, question: &str) -> io::Result<Option<String>> {
        let unseen = Unseen::begin();
        let answer = self.ask_line(question);
        if unseen.is_some() {
            // The end of the line was not shown either.
            writeln!(self.notes).ok();
        }
        answer
    }

    /// Shows on a terminal that something is under way, until it is dropped.
    pub fn spinner(&self, message: &str) -> Spinner {
        Spinner::new(message, self.interactive)
    }

    /// An empty table with these columns, as wide as the terminal allows.
    pub fn table(&self, columns: &[Column]) -> Grid {
        Grid::new(columns, self.width)
    }
}

/// The terminal as it was, to be again when this is dropped.
struct Unseen(Termios);

impl Unseen {
    /// `None`: standard input is no terminal, and shows nothing anyway.
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        tcsetattr(io::stdin(), OptionalActions::Now, &self.0).ok();
    }
}

/// A cell for a number.
pub fn number(n: impl ToString) -> Cell {
    Cell::new(n.to_string()).set_alignment(CellAlignment::Right)
}

/// `NO_COLOR` set to anything but nothing turns colours off (<https://no-color.org>).
fn colours_wanted(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty())
        && variable("TERM").is_none_or(|value| value != "dumb")
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paint {
    pub on: bool,
}

impl Paint {
    fn with(self, style: Style, text: &str) -> String {
        if self.on { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    pub fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default(), text)
    }

    pub fn warning(self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    pub fn heading(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    pub fn faint(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }
}

/// "1 user", "2 users".
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A user by the name people know, and the id the other commands take.
pub fn called(name: Option<&String>, id: &str) -> String {
    match name {
        Some(name) => format!("{} ({})", printable(name), printable(id)),
        None => printable(id),
    }
}

/// A value of an attribute for people: `-` when absent, texts without quotes.
pub fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| shown(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    }
}

/// Without control characters: what a directory or a server said must not steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
pub mod testing {
    //! A screen whose streams a test can read.

    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    pub struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The screen, what it prints, and what it notes. `answers` is typed if somebody is there.
    pub fn screen(interactive: bool, answers: &'static str) -> (Screen, Captured, Captured) {
        let (out, notes) = (Captured::default(), Captured::default());
        let screen = Screen {
            out: Box::new(out.clone()),
            notes: Box::new(notes.clone()),
            answers: Box::new(answers.as_bytes()),
            interactive,
            paint: Paint::default(),
            width: None,
        };
        (screen, out, notes)
    }

    /// What is drawn fits terminals of 80 and of 60 columns, and these ids are whole in it. Lines that do
    /// not belong to a table, and begin with two blanks, are the terminal's to wrap.
    pub fn fits(ids: &[&str], draw: impl Fn(&Screen) -> String) {
        for columns in [80, 60] {
            let text = draw(&Screen { width: Some(columns), ..screen(false, "").0 });
            let drawn = text.lines().filter(|line| !line.starts_with("  "));
            let too_wide: Vec<_> = drawn.filter(|line| line.chars().count() > columns.into()).collect();
            assert_eq!(too_wide, [""; 0], "{columns} columns:\n{text}");
            for id in ids {
                assert!(text.contains(id), "{columns} columns, without {id}:\n{text}");
            }
        }
    }

    /// A screen on which nobody reads any more.
    pub fn broken() -> Screen {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        Screen { out: Box::new(Closed), notes: Box::new(Closed), ..screen(false, "").0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_error() {
        let mut screen = testing::broken();
        screen.print("much").unwrap();
        screen.note("more");
    }

    #[test]
    fn no_color_and_dumb_terminals_are_respected() {
        let wanted = |name: &'static str, value: &'static str| {
            colours_wanted(|asked| (asked == name).then(|| value.into()))
        };
        assert!(!wanted("NO_COLOR", "1"));
        assert!(wanted("NO_COLOR", ""));
        assert!(!wanted("TERM", "dumb"));
        assert!(wanted("TERM", "xterm"));
        assert_eq!(Paint { on: true }.bad("no"), "\u{1b}[31mno\u{1b}[0m");
        assert_eq!(Paint { on: false }.bad("no"), "no");
    }

    #[test]
    fn only_yes_is_yes() {
        for (typed, yes) in [("y\n", true), ("YES\n", true), ("\n", false), ("", false), ("yo\n", false)] {
            let (mut screen, _, notes) = testing::screen(true, typed);
            assert_eq!(screen.ask("Go on?").unwrap(), yes, "{typed:?}");
            assert_eq!(notes.text(), "Go on? [y/N] ");
        }
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(shown(Some(&serde_json::json!("a\u{1b}[2Jb"))), "a [2Jb");
        assert_eq!(shown(Some(&serde_json::json!(["a", "b"]))), "a, b");
        assert_eq!(shown(Some(&serde_json::json!([]))), "-");
        assert_eq!(shown(None), "-");
    }
}
