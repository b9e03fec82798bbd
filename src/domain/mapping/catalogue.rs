//! The functions there are, with their parameters, and those there are not, with the reason.

use std::fmt;

/// What may stand in a parameter's place. All but `Value` are settled when the expression is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any expression.
    Value,
    /// A regular expression, as a string constant.
    Pattern,
    /// The name of a group in the pattern, as a string constant.
    Group,
    /// A .NET custom date format, as a string constant.
    Format,
    /// Names of .NET `DateTimeStyles`, as a string constant.
    Styles,
    /// The unit of a date function, as a string constant.
    Interval,
    /// The name of a culture, as a string constant.
    Culture,
    /// `vbTextCompare` or `vbBinaryCompare`.
    Compare,
    /// `CaseInsensitive` or `CaseSensitive`.
    Case,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    /// Its place may stay empty.
    pub optional: bool,
}

const fn needed(name: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Value, optional: false }
}

const fn optional(name: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Value, optional: true }
}

impl Parameter {
    const fn of(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Signature {
    pub name: &'static str,
    pub parameters: &'static [Parameter],
    /// How many arguments must be written, empty ones included.
    pub least: usize,
    /// The last so many parameters may be given again and again.
    pub repeats: usize,
}

impl Signature {
    pub fn accepts(&self, n_arguments: usize) -> bool {
        let surplus = n_arguments.saturating_sub(self.parameters.len());
        let repeated = match self.repeats {
            0 => surplus == 0,
            period => surplus.is_multiple_of(period),
        };
        n_arguments >= self.least && repeated
    }

    pub fn parameter(&self, index: usize) -> Option<&'static Parameter> {
        let n_parameters = self.parameters.len();
        let index = match self.repeats {
            0 => index,
            _ if index < n_parameters => index,
            period => n_parameters - period + (index - n_parameters) % period,
        };
        self.parameters.get(index)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (index, parameter) in self.parameters.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let mark = if parameter.optional { "?" } else { "" };
            write!(f, "{comma}{}{mark}", parameter.name)?;
        }
        f.write_str(if self.repeats > 0 { ", …)" } else { ")" })
    }
}

macro_rules! functions {
    ($($name:ident ($($parameter:expr),*) least $least:literal $(repeats $repeats:literal)?;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(clippy::upper_case_acronyms, reason = "they are spelled as Entra spells them")]
        pub(super) enum Function { $($name),* }

        impl Function {
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];

            pub fn signature(self) -> &'static Signature {
                match self {
                    $(Self::$name => const { &Signature {
                        name: stringify!($name),
                        parameters: &[$($parameter),*],
                        least: $least,
                        repeats: 0 $(+ $repeats)?,
                    } }),*
                }
            }
        }
    };
}

functions! {
    And(needed("condition"), needed("condition")) least 2 repeats 1;
    Append(needed("source"), needed("suffix")) least 2;
    BitAnd(needed("value1"), needed("value2")) least 2;
    CBool(needed("expression")) least 1;
    CDate(needed("expression")) least 1;
    CGuid(needed("value")) least 1;
    CInt(needed("value")) least 1;
    CStr(needed("value")) least 1;
    Coalesce(needed("source")) least 1 repeats 1;
    Contains(needed("attribute"), needed("search"), optional("caseType").of(Kind::Case)) least 2;
    ConvertToBase64(needed("source")) least 1;
    ConvertToUTF8Hex(needed("source")) least 1;
    Count(needed("attribute")) least 1;
    DateAdd(needed("interval").of(Kind::Interval), needed("value"), needed("dateTime")) least 3;
    DateDiff(needed("interval").of(Kind::Interval), needed("date1"), needed("date2")) least 3;
    DateFromNum(needed("value")) least 1;
    FormatDateTime(
        needed("source"),
        optional("dateTimeStyles").of(Kind::Styles),
        needed("inputFormat").of(Kind::Format),
        needed("outputFormat").of(Kind::Format)
    ) least 4;
    IIF(needed("condition"), needed("valueIfTrue"), needed("valueIfFalse")) least 3;
    InStr(
        needed("value1"),
        needed("value2"),
        optional("start"),
        optional("compareType").of(Kind::Compare)
    ) least 2;
    IsDate(needed("expression")) least 1;
    IsGuid(needed("expression")) least 1;
    IsNull(needed("expression")) least 1;
    IsNullOrEmpty(needed("expression")) least 1;
    IsNumeric(needed("expression")) least 1;
    IsPresent(needed("expression")) least 1;
    IsString(needed("expression")) least 1;
    Item(needed("attribute"), needed("index")) least 2;
    ItemOrNull(needed("attribute"), needed("index")) least 2;
    Join(needed("separator"), needed("source")) least 2 repeats 1;
    LTrim(needed("source")) least 1;
    Left(needed("source"), needed("numChars")) least 2;
    Len(needed("source")) least 1;
    Mid(needed("source"), needed("start"), optional("length")) least 2;
    NormalizeDiacritics(needed("source")) least 1;
    Not(needed("source")) least 1;
    NumFromDate(needed("value")) least 1;
    Or(needed("condition"), needed("condition")) least 2 repeats 1;
    PCase(needed("source"), optional("wordSeparators")) least 1;
    PadLeft(needed("source"), needed("length"), needed("padCharacter")) least 3;
    PadRight(needed("source"), needed("length"), needed("padCharacter")) least 3;
    RTrim(needed("source")) least 1;
    Redact(needed("value")) least 1;
    RemoveDuplicates(needed("attribute")) least 1;
    Replace(
        needed("source"),
        optional("oldValue"),
        optional("regexPattern").of(Kind::Pattern),
        optional("regexGroupName").of(Kind::Group),
        optional("replacementValue"),
        optional("replacementAttributeName"),
        optional("template")
    ) least 7;
    Right(needed("source"), needed("numChars")) least 2;
    Split(needed("source"), needed("delimiter")) least 2;
    StripSpaces(needed("source")) least 1;
    Switch(needed("source"), optional("defaultValue"), needed("key"), needed("value")) least 4 repeats 2;
    ToLower(needed("source"), optional("culture").of(Kind::Culture)) least 1;
    ToUpper(needed("source"), optional("culture").of(Kind::Culture)) least 1;
    Trim(needed("source")) least 1;
    Word(needed("source"), needed("wordNumber"), needed("delimiters")) least 3;
}

/// Names under which some of them are known elsewhere in Entra.
const ALIASES: [(&str, Function); 4] = [
    ("CNum", Function::CInt),
    ("LCase", Function::ToLower),
    ("Length", Function::Len),
    ("UCase", Function::ToUpper),
];

const CHANGES_BY_ITSELF: &str = "it gives something else each time it is asked, so the user would never be in sync; \
     a mapping may only depend on the user's properties";
const NO_ROLE_ASSIGNMENTS: &str =
    "app role assignments are not read; write a [[roles]] entry that says which group has which role";

/// What Entra has and we have not, on purpose.
pub(super) const REFUSED: [(&str, &str); 13] = [
    ("AppRoleAssignmentsComplex", NO_ROLE_ASSIGNMENTS),
    ("AssertiveAppRoleAssignmentsComplex", NO_ROLE_ASSIGNMENTS),
    (
        "Error",
        "a user must not be stopped by a mapping; leave the value null, and a required one parks the user",
    ),
    ("Guid", CHANGES_BY_ITSELF),
    (
        "IgnoreFlowIfNullOrEmpty",
        "here a null value clears the attribute in the target; \
         give a value for that case with Coalesce, or set owner = \"cxone\" or create_only = true",
    ),
    ("Now", CHANGES_BY_ITSELF),
    ("RandomNum", CHANGES_BY_ITSELF),
    ("RandomString", CHANGES_BY_ITSELF),
    ("Select", "variables are not supported"),
    ("SelectUniqueValue", "whether a value is taken in the target is not known when it is computed"),
    ("SingleAppRoleAssignment", NO_ROLE_ASSIGNMENTS),
    ("Where", "variables are not supported"),
    ("With", "variables are not supported"),
];

/// A function by its name, in any case; or why there is none, as a message.
pub(super) fn find(name: &str) -> Result<Function, String> {
    let named = |function: &Function| function.signature().name.eq_ignore_ascii_case(name);
    if let Some(function) = Function::ALL.into_iter().find(named) {
        return Ok(function);
    }
    if let Some((_, function)) = ALIASES.into_iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)) {
        return Ok(function);
    }
    if let Some((refused, reason)) = REFUSED.iter().find(|(refused, _)| refused.eq_ignore_ascii_case(name)) {
        return Err(format!("{refused} is not supported: {reason}"));
    }
    let wanted = name.to_lowercase();
    let known = Function::ALL.into_iter().map(|function| function.signature().name);
    let nearest = known
        .chain(ALIASES.iter().map(|(alias, _)| *alias))
        .map(|known| (strsim::jaro_winkler(&known.to_lowercase(), &wanted), known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((likeness, known)) if likeness >= 0.8 => format!("; did you mean {known}?"),
        _ => "; docs/mapping.md lists those there are".to_owned(),
    };
    let shown: String = name.chars().take(40).collect();
    Err(format!("there is no function {shown}{hint}"))
}
