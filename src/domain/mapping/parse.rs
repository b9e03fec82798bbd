//! From the text of an expression to its tree. Everything that can be checked without a user is
//! checked here.

use super::catalogue::{self, Function, Kind, Signature};
use super::dates::{self, Format, Interval};
use super::replace::{Form, Pattern};
use super::syntax::{Call, Node, Operator, Prepared, Word};
use super::{MAX_EXPRESSION_BYTES, MAX_NESTING, ParseError};

type Parsed<T> = Result<T, ParseError>;

pub(super) fn parse(text: &str) -> Parsed<Node> {
    if text.len() > MAX_EXPRESSION_BYTES {
        let message =
            format!("the expression is {} bytes long; at most {MAX_EXPRESSION_BYTES} are read", text.len());
        return Err(ParseError::new(message, text, 0));
    }
    let mut parser = Parser { text, chars: text.chars().collect(), at: 0, nesting: 0 };
    parser.whole()
}

struct Parser<'a> {
    text: &'a str,
    chars: Vec<char>,
    /// How many characters have been read.
    at: usize,
    nesting: usize,
}

impl Parser<'_> {
    fn whole(&mut self) -> Parsed<Node> {
        self.skip_space();
        if self.peek().is_none() {
            return Err(self.error_at(0, "the expression is empty"));
        }
        if let Some(name) = self.lone_word() {
            return Ok(Node::Attribute(name));
        }
        let node = self.expression()?;
        match self.peek() {
            None => Ok(node),
            Some(_) => Err(self.unexpected("the end of the expression")),
        }
    }

    /// A direct mapping: the whole text is the bare name of an attribute.
    fn lone_word(&self) -> Option<String> {
        let word: String = self.chars[self.at..].iter().collect();
        let word = word.trim();
        let starts = word.starts_with(|c: char| c.is_alphabetic() || c == '_');
        (starts && word.chars().all(is_word) && constant(word).is_none()).then(|| word.to_owned())
    }

    /// An operand, or two of them compared; and the space behind.
    fn expression(&mut self) -> Parsed<Node> {
        let left = self.operand()?;
        let Some(operator) = self.operator() else { return Ok(left) };
        self.skip_space();
        let right = self.operand()?;
        let here = self.at;
        if self.operator().is_some() {
            return Err(self.error_at(
                here,
                "a comparison cannot be compared again; combine conditions with And(…) and Or(…)",
            ));
        }
        Ok(Node::Compare(operator, Box::new((left, right))))
    }

    fn operand(&mut self) -> Parsed<Node> {
        let start = self.at;
        let node = match self.peek() {
            Some('[') => self.attribute()?,
            Some('"') => Node::Text(self.string()?),
            Some(c) if c.is_ascii_digit() || c == '-' || (c == '&' && self.is_hexadecimal()) => {
                Node::Number(self.number()?)
            }
            Some(c) if c.is_alphabetic() || c == '_' => {
                let word = self.word();
                if self.peek() == Some('(') {
                    self.call(&word, start)?
                } else if let Some(constant) = constant(&word) {
                    constant
                } else {
                    let shown: String = word.chars().take(40).collect();
                    return Err(self.error_at(
                        start,
                        format!("write [{shown}] for the attribute or \"{shown}\" for the text"),
                    ));
                }
            }
            _ => {
                return Err(
                    self.unexpected("an attribute in [brackets], a \"string\", a number or a function")
                );
            }
        };
        self.skip_space();
        Ok(node)
    }

    fn attribute(&mut self) -> Parsed<Node> {
        let start = self.at;
        self.at += 1;
        let mut name = String::new();
        loop {
            match self.next() {
                Some(']') => break,
                Some(c) if c == '[' || c == '"' || c.is_control() => {
                    return Err(self.error_at(self.at - 1, "this cannot be part of the name of an attribute"));
                }
                Some(c) => name.push(c),
                None => return Err(self.error_at(start, "the ] that ends this attribute is missing")),
            }
        }
        let name = name.trim();
        if name.is_empty() {
            return Err(self.error_at(start, "the name of the attribute is missing"));
        }
        Ok(Node::Attribute(name.to_owned()))
    }

    fn string(&mut self) -> Parsed<String> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => match self.next() {
                    Some(c @ ('"' | '\\')) => text.push(c),
                    None => return Err(self.error_at(start, "the \" that ends this string is missing")),
                    Some(_) => {
                        return Err(self.error_at(
                            self.at - 2,
                            r#"in a string a backslash is written \\ and a quotation mark \""#,
                        ));
                    }
                },
                Some(c) => text.push(c),
                None => return Err(self.error_at(start, "the \" that ends this string is missing")),
            }
        }
    }

    fn is_hexadecimal(&self) -> bool {
        matches!(self.chars.get(self.at + 1), Some('h' | 'H'))
    }

    /// A whole number, or a hexadecimal one as `&HF`.
    fn number(&mut self) -> Parsed<i64> {
        let start = self.at;
        let (radix, skipped) = if self.peek() == Some('&') { (16, 2) } else { (10, 0) };
        self.at += skipped;
        let mut digits = String::new();
        if radix == 10 && self.peek() == Some('-') {
            digits.extend(self.next());
        }
        while let Some(c) = self.peek().filter(|&c| is_word(c)) {
            digits.push(c);
            self.at += 1;
        }
        // `from_str_radix` would take a sign after `&H` as well, but no sign is a word character.
        i64::from_str_radix(&digits, radix)
            .map_err(|_| self.error_at(start, "this is not a whole number of at most 64 bits"))
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.peek().filter(|&c| is_word(c)) {
            word.push(c);
            self.at += 1;
        }
        self.skip_space();
        word
    }

    fn operator(&mut self) -> Option<Operator> {
        let rest = &self.chars[self.at..];
        let operator = Operator::ALL
            .into_iter()
            .find(|operator| operator.sign().chars().eq(rest.iter().take(operator.sign().len()).copied()))?;
        self.at += operator.sign().len();
        Some(operator)
    }

    fn call(&mut self, name: &str, start: usize) -> Parsed<Node> {
        let function = catalogue::find(name).map_err(|message| self.error_at(start, message))?;
        let signature = function.signature();
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            let message = format!("functions stand inside one another more than {MAX_NESTING} deep");
            return Err(self.error_at(start, message));
        }
        self.at += 1;
        self.skip_space();
        let mut arguments = Vec::new();
        let mut places = Vec::new();
        if self.peek() == Some(')') {
            self.at += 1;
        } else {
            loop {
                self.skip_space();
                places.push(self.at);
                arguments.push(match self.peek() {
                    Some(',' | ')') => None,
                    _ => self.argument(signature, arguments.len())?,
                });
                match self.peek() {
                    Some(',') => self.at += 1,
                    Some(')') => {
                        self.at += 1;
                        break;
                    }
                    None => {
                        let message = format!("the ) that ends {} is missing", signature.name);
                        return Err(self.error_at(self.at, message));
                    }
                    Some(_) => return Err(self.unexpected("a comma or )")),
                }
            }
        }
        self.nesting -= 1;
        self.check(function, arguments, &places, start)
    }

    fn argument(&mut self, signature: &Signature, index: usize) -> Parsed<Option<Node>> {
        let start = self.at;
        // Too many arguments are reported once it is known how many.
        let kind = signature.parameter(index).map_or(Kind::Value, |parameter| parameter.kind);
        let words: &[Word] = match kind {
            Kind::Compare => &[Word::VbTextCompare, Word::VbBinaryCompare],
            Kind::Case => &[Word::CaseInsensitive, Word::CaseSensitive],
            _ => &[],
        };
        if let [one, other] = words {
            let quoted = self.peek() == Some('"');
            let given = if quoted { self.string()? } else { self.word() };
            self.skip_space();
            return match words.iter().find(|word| word.name().eq_ignore_ascii_case(&given)) {
                Some(word) => Ok(Some(Node::Prepared(Prepared::Word(*word)))),
                None => Err(self.error_at(start, format!("write {} or {} here", one.name(), other.name()))),
            };
        }
        let node = self.expression()?;
        if kind == Kind::Value {
            return Ok(Some(node));
        }
        let Node::Text(text) = node else {
            let name = signature.parameter(index).map_or("this", |parameter| parameter.name);
            let message = format!("{name} of {} has to be a string constant", signature.name);
            return Err(self.error_at(start, message));
        };
        prepare(kind, text).map_err(|message| self.error_at(start, message))
    }

    fn check(
        &self,
        function: Function,
        arguments: Vec<Option<Node>>,
        places: &[usize],
        start: usize,
    ) -> Parsed<Node> {
        let signature = function.signature();
        if !signature.accepts(arguments.len()) {
            return Err(self.error_at(start, wrong_count(signature, arguments.len())));
        }
        for (index, (argument, place)) in arguments.iter().zip(places).enumerate() {
            if argument.is_none()
                && let Some(parameter) = signature.parameter(index)
                && !parameter.optional
            {
                let message = format!("{} of {} is missing", parameter.name, signature.name);
                return Err(self.error_at(*place, message));
            }
        }
        if function == Function::Switch
            && let Some(Some(Node::Call(source))) = arguments.first()
            && matches!(source.function, Function::IsNull | Function::IsNullOrEmpty | Function::IsPresent)
        {
            let message = format!(
                "Switch cannot tell null by {}; give \"\" as a key, or use Coalesce or IIF",
                source.function.signature().name
            );
            return Err(self.error_at(places[0], message));
        }
        let form = match function {
            Function::Replace => Some(Form::of(&arguments).map_err(|message| self.error_at(start, message))?),
            _ => None,
        };
        if let (Function::FormatDateTime, Some(Some(Node::Prepared(Prepared::Format(input))))) =
            (function, arguments.get(2))
        {
            input.check_readable().map_err(|message| self.error_at(places[2], message))?;
        }
        Ok(Node::Call(Call { function, arguments, form }))
    }

    fn unexpected(&self, expected: &str) -> ParseError {
        let rest: String = self.chars[self.at..].iter().take(4).collect::<String>().to_lowercase();
        let joins = rest.starts_with("and") || rest.starts_with("or");
        let message = match self.peek() {
            None => format!("the expression ends where {expected} is expected"),
            Some('&' | '+') => "texts are put together with Append(…) or Join(…)".to_owned(),
            Some('“' | '”' | '„' | '«' | '»') => {
                "this is a typographic quotation mark; strings stand between plain ones: \"".to_owned()
            }
            Some('\'') => "strings stand between double quotation marks".to_owned(),
            Some('(') => "parentheses cannot group; combine conditions with And(…) and Or(…)".to_owned(),
            Some(_) if joins => "conditions are combined with And(…) and Or(…)".to_owned(),
            Some(c) => format!("{c:?} stands where {expected} is expected"),
        };
        self.error_at(self.at, message)
    }

    fn error_at(&self, at: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(message, self.text, at)
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

fn constant(word: &str) -> Option<Node> {
    match word.to_ascii_lowercase().as_str() {
        "true" => Some(Node::Flag(true)),
        "false" => Some(Node::Flag(false)),
        "null" => Some(Node::Null),
        _ => None,
    }
}

/// A string constant made ready for its parameter. An empty one is as good as none where the
/// parameter is optional: Entra's portal writes both.
fn prepare(kind: Kind, text: String) -> Result<Option<Node>, String> {
    if text.is_empty() && matches!(kind, Kind::Pattern | Kind::Group | Kind::Styles | Kind::Culture) {
        return Ok(None);
    }
    let prepared = match kind {
        Kind::Pattern => Prepared::Pattern(Pattern::compile(&text)?),
        Kind::Format => Prepared::Format(Format::compile(&text)?),
        Kind::Interval => Prepared::Interval(Interval::by_name(&text)?),
        Kind::Styles => {
            dates::check_styles(&text)?;
            Prepared::Checked(text)
        }
        Kind::Culture => {
            // All others change the case of letters as the invariant culture does.
            let language = text.split(['-', '_']).next().unwrap_or_default().to_lowercase();
            if ["tr", "az", "lt"].contains(&language.as_str()) {
                return Err(format!("the casing rules of the culture {language} are not supported"));
            }
            Prepared::Checked(text)
        }
        Kind::Group | Kind::Value | Kind::Compare | Kind::Case => Prepared::Checked(text),
    };
    Ok(Some(Node::Prepared(prepared)))
}

fn wrong_count(signature: &Signature, given: usize) -> String {
    let (least, most) = (signature.least, signature.parameters.len());
    let wanted = match signature.repeats {
        0 if least == most => least.to_string(),
        0 => format!("{least} to {most}"),
        1 => format!("at least {least}"),
        period => format!("{least}, {}, {} …", least + period, least + 2 * period),
    };
    let plural = if wanted.ends_with('1') { "argument" } else { "arguments" };
    let are = if given == 1 { "is" } else { "are" };
    format!("{signature} needs {wanted} {plural}, here {are} {given}")
}
