use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::catalogue::{Function, Kind, REFUSED};
use super::dates::{Format, Interval};
use super::replace::{Form, Pattern};
use super::syntax::{Call, Operator, Prepared, Word};
use super::*;

const DOCS: &str = include_str!("../../../docs/mapping.md");

fn properties(json: &str) -> BTreeMap<String, Value> {
    serde_json::from_str(json).unwrap()
}

fn evaluate(text: &str, json: &str) -> Result<Option<Value>, EvaluationError> {
    Expression::parse(text).unwrap_or_else(|error| panic!("{error}")).evaluate(&properties(json))
}

/// Rows of the tables whose header is `| expression | properties | result |`.
fn examples() -> Vec<[&'static str; 3]> {
    let rows = DOCS.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let code = |cell: &'static str| cell.strip_prefix('`')?.strip_suffix('`');
        match cells.as_slice() {
            [expression, properties, result] if properties.starts_with("`{") => {
                Some([code(expression)?, code(properties)?, code(result)?])
            }
            _ => None,
        }
    });
    rows.collect()
}

#[test]
fn every_documented_example_gives_what_it_says() {
    let mut wrong = String::new();
    for [expression, given, result] in examples() {
        let found = match evaluate(expression, given) {
            Err(_) => "error".to_owned(),
            Ok(value) => serde_json::to_string(&value).unwrap(),
        };
        let wanted = match result {
            "error" => result.to_owned(),
            json => serde_json::from_str::<serde_json::Value>(json).unwrap().to_string(),
        };
        if found != wanted {
            wrong += &format!("{expression}\n  over {given}\n  says {wanted}\n  gives {found}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_function_is_documented_with_an_example() {
    let examples = examples();
    assert!(examples.len() > 100, "only {} examples were found", examples.len());
    for signature in signatures() {
        let rows = DOCS.lines().filter(|line| line.starts_with(&format!("| `{signature}` | "))).count();
        assert_eq!(rows, 1, "docs/mapping.md has one row for {signature}");
        let name = signature.split_once('(').unwrap().0;
        assert!(
            examples.iter().any(|[expression, ..]| expression.contains(&format!("{name}("))),
            "docs/mapping.md has an example of {name}"
        );
    }
    let refused = DOCS.split("## What is refused").nth(1).unwrap();
    for (name, _) in REFUSED {
        assert!(refused.contains(&format!("`{name}`")), "docs/mapping.md says why {name} is refused");
    }
}

#[test]
fn every_documented_signature_exists() {
    for line in DOCS.lines().filter(|line| line.ends_with(" |") && line.starts_with("| `")) {
        let first = line.split('`').nth(1).unwrap();
        let is_signature = line.split(" | ").count() == 3 && !line.contains("`{") && first.contains('(');
        if is_signature && first != "Name(a, b)" {
            assert!(signatures().any(|signature| signature == first), "{first}");
        }
    }
}

#[test]
fn the_documented_error_is_the_one_shown() {
    let error = Expression::parse("Coalese([mail], [userPrincipalName])").unwrap_err();
    assert!(DOCS.contains(&format!("```text\n{error}\n```")), "{error}");
}

fn refuses(text: &str, expected: Expect) {
    expected.assert_eq(&Expression::parse(text).unwrap_err().to_string());
}

#[test]
fn what_is_wrong_is_shown_where_it_is() {
    refuses("", expect!["the expression is empty"]);
    refuses(" \n", expect!["the expression is empty"]);
    refuses(
        "Coalese([mail], [userPrincipalName])",
        expect![[r#"
        there is no function Coalese; did you mean Coalesce?
          Coalese([mail], [userPrincipalName])
          ^"#]],
    );
    refuses(
        "Frobnicate([mail])",
        expect![[r#"
        there is no function Frobnicate; docs/mapping.md lists those there are
          Frobnicate([mail])
          ^"#]],
    );
    refuses(
        "Coalesce([mail], Now())",
        expect![[r#"
        Now is not supported: it gives something else each time it is asked, so the user would never be in sync; a mapping may only depend on the user's properties
          Coalesce([mail], Now())
                           ^"#]],
    );
    refuses(
        "SingleAppRoleAssignment([appRoleAssignments])",
        expect![[r#"
        SingleAppRoleAssignment is not supported: app role assignments are not read; write a [[roles]] entry that says which group has which role
          SingleAppRoleAssignment([appRoleAssignments])
          ^"#]],
    );
    refuses(
        "Append([mail])",
        expect![[r#"
        Append(source, suffix) needs 2 arguments, here is 1
          Append([mail])
          ^"#]],
    );
    refuses(
        "Mid([mail])",
        expect![[r#"
        Mid(source, start, length?) needs 2 to 3 arguments, here is 1
          Mid([mail])
          ^"#]],
    );
    refuses(
        "Coalesce()",
        expect![[r#"
        Coalesce(source, …) needs at least 1 argument, here are 0
          Coalesce()
          ^"#]],
    );
    refuses(
        r#"Join("é", Left([ünïcode], 1, 2))"#,
        expect![[r#"
        Left(source, numChars) needs 2 arguments, here are 3
          Join("é", Left([ünïcode], 1, 2))
                    ^"#]],
    );
    refuses(
        r#"Switch([a], "x", "key")"#,
        expect![[r#"
        Switch(source, defaultValue?, key, value, …) needs 4, 6, 8 … arguments, here are 3
          Switch([a], "x", "key")
          ^"#]],
    );
    refuses(
        r#"Switch([a], "x", "key", "value", "key")"#,
        expect![[r#"
        Switch(source, defaultValue?, key, value, …) needs 4, 6, 8 … arguments, here are 5
          Switch([a], "x", "key", "value", "key")
          ^"#]],
    );
    refuses(
        r#"Switch(IsPresent([a]), [a], "True", "x")"#,
        expect![[r#"
        Switch cannot tell null by IsPresent; give "" as a key, or use Coalesce or IIF
          Switch(IsPresent([a]), [a], "True", "x")
                 ^"#]],
    );
    refuses(
        r#"Append(, ".test")"#,
        expect![[r#"
        source of Append is missing
          Append(, ".test")
                 ^"#]],
    );
    refuses(
        r#"Append([mail], ".test""#,
        expect![[r#"
        the ) that ends Append is missing
          Append([mail], ".test"
                                ^"#]],
    );
    refuses(
        r#"Append([mail], ".test)"#,
        expect![[r#"
        the " that ends this string is missing
          Append([mail], ".test)
                         ^"#]],
    );
    refuses(
        "Trim([mail)",
        expect![[r#"
        the ] that ends this attribute is missing
          Trim([mail)
               ^"#]],
    );
    refuses(
        "Trim([])",
        expect![[r#"
        the name of the attribute is missing
          Trim([])
               ^"#]],
    );
    refuses(
        r#"Trim("a\d")"#,
        expect![[r#"
        in a string a backslash is written \\ and a quotation mark \"
          Trim("a\d")
                 ^"#]],
    );
    refuses(
        "Trim(mail)",
        expect![[r#"
        write [mail] for the attribute or "mail" for the text
          Trim(mail)
               ^"#]],
    );
    refuses(
        "Trim(“mail”)",
        expect![[r#"
        this is a typographic quotation mark; strings stand between plain ones: "
          Trim(“mail”)
               ^"#]],
    );
    refuses(
        "Trim('mail')",
        expect![[r#"
        strings stand between double quotation marks
          Trim('mail')
               ^"#]],
    );
    refuses(
        r#"[a] & "x""#,
        expect![[r#"
        texts are put together with Append(…) or Join(…)
          [a] & "x"
              ^"#]],
    );
    refuses(
        r#"[a] = "x" and [b] = "y""#,
        expect![[r#"
        conditions are combined with And(…) and Or(…)
          [a] = "x" and [b] = "y"
                    ^"#]],
    );
    refuses(
        r#"[a] = "x" = "y""#,
        expect![[r#"
        a comparison cannot be compared again; combine conditions with And(…) and Or(…)
          [a] = "x" = "y"
                    ^"#]],
    );
    refuses(
        r#"([a] = "x")"#,
        expect![[r#"
        parentheses cannot group; combine conditions with And(…) and Or(…)
          ([a] = "x")
          ^"#]],
    );
    refuses(
        "[mail] [mail]",
        expect![[r#"
        '[' stands where the end of the expression is expected
          [mail] [mail]
                 ^"#]],
    );
    refuses(
        "Left([mail], 1.5)",
        expect![[r#"
        this is not a whole number of at most 64 bits
          Left([mail], 1.5)
                       ^"#]],
    );
    refuses(
        "Left([mail], 99999999999999999999)",
        expect![[r#"
        this is not a whole number of at most 64 bits
          Left([mail], 99999999999999999999)
                       ^"#]],
    );
    refuses(
        r#"InStr([a], "b", 1, loose)"#,
        expect![[r#"
        write vbTextCompare or vbBinaryCompare here
          InStr([a], "b", 1, loose)
                             ^"#]],
    );
    refuses(
        r#"DateAdd("w", 1, [a])"#,
        expect![[r#"
        the interval is yyyy (years), m (months), d, ww (weeks), h, n (minutes) or s
          DateAdd("w", 1, [a])
                  ^"#]],
    );
    refuses(
        r#"DateAdd([a], 1, [a])"#,
        expect![[r#"
        interval of DateAdd has to be a string constant
          DateAdd([a], 1, [a])
                  ^"#]],
    );
    refuses(
        r#"FormatDateTime([a], , "HH:mm", "HH")"#,
        expect![[r#"
        the inputFormat has no year (yyyy); the current one is not known here
          FormatDateTime([a], , "HH:mm", "HH")
                                ^"#]],
    );
    refuses(
        r#"FormatDateTime([a], , "MM/dd/yy", "yyyy")"#,
        expect![[r#"
        the inputFormat needs years of four digits: the century of two cannot be told
          FormatDateTime([a], , "MM/dd/yy", "yyyy")
                                ^"#]],
    );
    refuses(
        r#"FormatDateTime([a], "AssumeLocal", "yyyy-MM-dd", "yyyy")"#,
        expect![[r#"
        dateTimeStyles can be None, AllowLeadingWhite, AllowTrailingWhite, AllowInnerWhite, AllowWhiteSpaces, AdjustToUniversal, AssumeUniversal, RoundtripKind; times are always UTC here
          FormatDateTime([a], "AssumeLocal", "yyyy-MM-dd", "yyyy")
                              ^"#]],
    );
    refuses(
        r#"ToUpper([a], "tr-TR")"#,
        expect![[r#"
        the casing rules of the culture tr are not supported
          ToUpper([a], "tr-TR")
                       ^"#]],
    );
    refuses(
        r#"Replace([a], "b", "c")"#,
        expect![[r#"
        Replace(source, oldValue?, regexPattern?, regexGroupName?, replacementValue?, replacementAttributeName?, template?) needs 7 arguments, here are 3
          Replace([a], "b", "c")
          ^"#]],
    );
    refuses(
        r#"Replace([a], "b", , , , , )"#,
        expect![[r#"
        Replace needs, besides source, one of: oldValue and replacementValue; oldValue and template; regexPattern and replacementValue; regexPattern, regexGroupName and replacementValue; regexPattern, regexGroupName and replacementAttributeName
          Replace([a], "b", , , , , )
          ^"#]],
    );
    refuses(
        r#"Replace([a], , "(?=b)", , "c", , )"#,
        expect![[r#"
        the regular expression cannot be used: look-around, including look-ahead and look-behind, is not supported
          Replace([a], , "(?=b)", , "c", , )
                         ^"#]],
    );
    refuses(
        r#"Replace([a], , "(b", , "c", , )"#,
        expect![[r#"
        the regular expression cannot be used: unclosed group
          Replace([a], , "(b", , "c", , )
                         ^"#]],
    );
    refuses(
        r#"Replace([a], , "[a-z-[b]]", , "c", , )"#,
        expect![[r#"
        write \\[ for a bracket inside a character class
          Replace([a], , "[a-z-[b]]", , "c", , )
                         ^"#]],
    );
    refuses(
        r#"Replace([a], , "(?<b>c)", "d", "e", , )"#,
        expect![[r#"
        Replace: the regular expression has no group named "d"
          Replace([a], , "(?<b>c)", "d", "e", , )
          ^"#]],
    );
    refuses(
        r#"Replace([a], , [b], , "c", , )"#,
        expect![[r#"
        regexPattern of Replace has to be a string constant
          Replace([a], , [b], , "c", , )
                         ^"#]],
    );
    refuses(
        r#"Replace([a], , "\\w{1000}{1000}", , "c", , )"#,
        expect![[r#"
        the regular expression cannot be used: Compiled regex exceeds size limit of 262144 bytes.
          Replace([a], , "\\w{1000}{1000}", , "c", , )
                         ^"#]],
    );
}

#[test]
fn of_many_lines_the_one_concerned_is_shown() {
    refuses(
        "IIF(\n\t[country] = \"PT\",\n\tUpper([x]),\n\t[y])",
        expect![[r#"
        there is no function Upper; did you mean ToUpper? (line 3)
          	Upper([x]),
          	^"#]],
    );
    let long = format!("Join(\"\", {}Nope(), {})", "[a], ".repeat(40), "[b], ".repeat(40));
    refuses(
        &long,
        expect![[r#"
        there is no function Nope; docs/mapping.md lists those there are
          …[a], [a], [a], [a], [a], [a], [a], [a], [a], [a], [a], [a], Nope(), [b], [b], [b], [b], [b], [b], [b], [b], [b], [b], [b…
                                                                       ^"#]],
    );
    let error = Expression::parse("IIF([a],\r\n  ?, [b])").unwrap_err();
    assert_eq!((error.line, error.column), (2, 3));
}

#[test]
fn names_of_functions_are_read_in_any_case_and_written_in_one() {
    let check = |text: &str, canonical: &str| {
        let expression = Expression::parse(text).unwrap();
        assert_eq!(expression.to_string(), canonical);
        assert_eq!(Expression::parse(canonical).unwrap(), expression);
    };
    check("mail", "[mail]");
    check("  mail\n", "[mail]");
    check("[ mail ]", "[mail]");
    check("true", "True");
    check("[true]", "[true]");
    check("coalesce([mail],[UPN])", "Coalesce([mail], [UPN])");
    check("LCASE ( [mail] )", "ToLower([mail])");
    check("Length([mail])", "Len([mail])");
    check("&hff", "255");
    check(r#"InStr([a],"b",,VBTEXTCOMPARE)"#, r#"InStr([a], "b", , vbTextCompare)"#);
    check(r#"Replace([a],"b","","","c","","")"#, r#"Replace([a], "b", , , "c", "", "")"#);
    check(r#"IIF([a]<>"b",NULL,"\\\"")"#, r#"IIF([a] <> "b", NULL, "\\\"")"#);
}

#[test]
fn the_properties_read_are_known() {
    let expression = Expression::parse(
        r#"IIF([country] = "PT", Coalesce([mail], Replace([mobile], , "x(?<y>.)", "y", , [Fax], )), "[no]")"#,
    )
    .unwrap();
    assert_eq!(Vec::from_iter(expression.properties()), ["Fax", "country", "mail", "mobile"]);
    assert_eq!(Vec::from_iter(Expression::parse("mail").unwrap().properties()), ["mail"]);
}

#[test]
fn only_truth_holds() {
    let check = |text: &str, json: &str, expected: Result<bool, &str>| {
        let held = Expression::parse(text).unwrap().holds(&properties(json));
        let held = held.as_ref().map(|held| *held).map_err(|error| error.message.as_str());
        assert_eq!(held, expected, "{text} over {json}");
    };
    check("[a]", r#"{"a": true}"#, Ok(true));
    check("[a]", r#"{"a": false}"#, Ok(false));
    check("[a]", r#"{"a": "tRUE"}"#, Ok(true));
    check("[a]", r#"{"a": "False"}"#, Ok(false));
    check("[a]", r#"{"a": ["True"]}"#, Ok(true));
    check("[a]", r#"{"a": ""}"#, Ok(false));
    check("[a]", "{}", Ok(false));
    check(
        "[a]",
        r#"{"a": "yes"}"#,
        Err("the rule is not a condition: it gave a text, neither True nor False"),
    );
    check("1", "{}", Err("the rule is not a condition: it gave a number, neither True nor False"));
    check(
        "[a]",
        r#"{"a": ["True", "False"]}"#,
        Err("the rule is not a condition: it gave a list, neither True nor False"),
    );
}

#[test]
fn arguments_that_are_not_needed_are_not_looked_at() {
    let broken = r#"CDate("soon")"#;
    for text in [
        format!(r#"IIF(True, "x", {broken})"#),
        format!(r#"IIF(False, {broken}, "x")"#),
        format!(r#"Coalesce(NULL, "x", {broken})"#),
        format!(r#"Switch("a", {broken}, "a", "x", {broken}, {broken})"#),
        format!(r#"IIF(Or(True, {broken}), "x", "y")"#),
        format!(r#"IIF(And(False, {broken}), "y", "x")"#),
    ] {
        assert_eq!(evaluate(&text, "{}"), Ok(Some(Value::text("x"))), "{text}");
    }
}

#[test]
fn comparisons_are_by_kind() {
    let check = |text: &str, json: &str, expected: Option<bool>| {
        let found = evaluate(text, json).ok().flatten();
        assert_eq!(found, expected.map(Value::Flag), "{text} over {json}");
    };
    check(r#""10" < "9""#, "{}", Some(true));
    check(r#"10 < "9""#, "{}", Some(false));
    check("10 >= 10", "{}", Some(true));
    check("10 <= 9", "{}", Some(false));
    check(r#"10 = "ten""#, "{}", Some(false));
    check(r#"10 <> "ten""#, "{}", Some(true));
    check(r#"10 < "ten""#, "{}", None);
    check("[a] = NULL", "{}", Some(true));
    check(r#"[a] = """#, "{}", Some(true));
    check("[a] <> [b]", "{}", Some(false));
    check("[a] > [b]", r#"{"b": "x"}"#, Some(false));
    check("[a] <= [b]", r#"{"b": "x"}"#, Some(false));
    check("[a] = False", r#"{"a": "fALSE"}"#, Some(true));
    check("[a] = False", "{}", Some(false));
    check("[a] < True", r#"{"a": false}"#, None);
    check(r#"CDate("2/1/2024") > CDate("10/1/2023")"#, "{}", Some(true));
    check(r#"CDate("2/1/2024") = "2024-02-01""#, "{}", Some(true));
    check(r#"[a] = "x""#, r#"{"a": ["x"]}"#, Some(true));
    check(r#"[a] = "x""#, r#"{"a": ["x", "y"]}"#, None);
}

#[test]
fn every_letter_of_entras_table_loses_its_marks() {
    let text = |text: &str| evaluate("NormalizeDiacritics([a])", &format!(r#"{{"a": "{text}"}}"#)).unwrap();
    for (marked, plain) in [
        ("äàâãåáąăāā́ā̀ā̂ā̃ǟā̈ǡa̱å̄", "a".repeat(18)),
        ("ÄÀÂÃÅÁĄĂĀǞǠ", "A".repeat(11)),
        ("æǣ", "aeae".into()),
        ("ÆǢ", "AEAE".into()),
        ("çčćc̄c̱ďd̄ḏ", "cccccddd".into()),
        ("ëèéêęěėēḗḕē̂ē̃ê̄e̱ë̄e̊̄", "e".repeat(16)),
        ("ğḡg̱ïîìíıī", "gggiiiiii".into()),
        ("İ", "I".into()),
        ("ľłl̄ḹḻŁ", "lllllL".into()),
        ("ñńňn̄ṉ", "nnnnn".into()),
        ("öòőõôóōṓṑō̂ō̃ȫō̈ǭȭȱo̱", "o".repeat(17)),
        ("øø̄œ̄ØŒ̄", "oeoeoeOEOE".into()),
        ("řr̄ṟṝßšśșşs̄s̱", "rrrrssssssss".into()),
        ("ťțt̄ṯüùûúůűūṻṳ̄", "ttttuuuuuuuuu".into()),
        ("ÿýȳȳ́źžżz̄ẕ", "yyyyzzzzz".into()),
        // Marks of other scripts make other letters.
        ("Андрей が 김 ñ", "Андрей が 김 n".into()),
    ] {
        assert_eq!(text(marked), Some(Value::Text(plain)), "{marked}");
    }
}

#[test]
fn replacements_name_groups_as_dotnet_does() {
    let check = |pattern: &str, replacement: &str, expected: &str| {
        let text = format!(r#"Replace("2024-05", , "{pattern}", , "{replacement}", , )"#);
        assert_eq!(evaluate(&text, "{}"), Ok(Some(Value::text(expected))), "{text}");
    };
    check(r"(\\d+)-(\\d+)", "$2/$1", "05/2024");
    check(r"(\\d+)-(\\d+)", "$2x$1", "05x2024");
    // Unnamed groups are numbered first.
    check(r"(?<year>\\d+)-(\\d+)", "$1 $2 ${year}", "05 2024 2024");
    check(r"-", "[$&$$]", "2024[-$]05");
    check(r"-", "$ $9 ${no} $x ${", "2024$ $9 ${no} $x ${05");
    check(r"5$", "$0$0", "2024-055");
}

#[test]
fn dates_are_read_and_written_as_dotnet_does() {
    let check = |date: &str, input: &str, output: &str, expected: &str| {
        let text = format!(r#"FormatDateTime("{date}", , "{input}", "{output}")"#);
        assert_eq!(evaluate(&text, "{}"), Ok(Some(Value::text(expected))), "{text}");
    };
    check("2024-05-01 12", "yyyy-MM-dd hh", "%H", "0");
    check("2024-05-01 12 PM", "yyyy-MM-dd hh tt", "HH", "12");
    check("2024-05-01 P12", "yyyy-MM-dd thh", "HH", "12");
    check("1 Feb 2024", "d MMM yyyy", "ddd, dd.MM.yy", "Thu, 01.02.24");
    check("Thursday, February 1, 2024", "dddd, MMMM d, yyyy", "M/d", "2/1");
    check("2024-02-01T23:30:00-02:00", "yyyy-MM-ddTHH:mm:ssK", "yyyy-MM-dd HH:mmK", "2024-02-02 01:30Z");
    check("20240201.1234567", "yyyyMMdd.fffffff", "s.fff s.FFFFFFF", "0.123 0.1234567");
    check("20240201.10", "yyyyMMdd.FFFF", "ss.FFF", "00.1");
    check("2024", "yyyy", "yyyy-MM-dd h:mm t", "2024-01-01 12:00 A");
    check("y2024", "'y'yyyy", "\\\\d%dzzz", "d1+00:00");
}

#[test]
fn dates_out_of_range_are_errors() {
    for text in [
        r#"DateAdd("yyyy", 9000, "2024-01-01")"#,
        r#"DateAdd("m", 9223372036854775807, "2024-01-01")"#,
        r#"DateAdd("ww", 9223372036854775807, "2024-01-01")"#,
        r#"DateAdd("s", -9223372036854775807, "2024-01-01")"#,
        "DateFromNum(9223372036854775807)",
        "DateFromNum(-9223372036854775807)",
        r#"CDate("2023-02-29")"#,
        r#"CDate("2023-02-28 24:00")"#,
        r#"CDate("2023-02-28 13:00 PM")"#,
        r#"CDate("0001-01-01+08:00")"#,
        r#"CDate("2023-02-28T")"#,
        r#"CDate("23-02-28")"#,
        r#"CDate("2023-02-28 x")"#,
        r#"CDate("2023-02-28+99:00")"#,
        r#"FormatDateTime("2024-05-01 13", , "yyyy-MM-dd hh", "HH")"#,
    ] {
        assert!(evaluate(text, "{}").is_err(), "{text}");
    }
}

#[test]
fn values_of_a_user_are_in_no_message() {
    let json = r#"{"a": "Ana Silva", "b": ["ana@example.com", "as@example.com"]}"#;
    for text in [
        "CDate([a])",
        "CInt([a])",
        "CGuid([a])",
        "CBool([a])",
        "Not([a])",
        "IIF([a], 1, 2)",
        "Left([b], 1)",
        "[b] = [a]",
        "1 < [a]",
        "Item([b], 3)",
        "DateAdd(\"d\", [a], [a])",
        "FormatDateTime([a], , \"yyyy-MM-dd\", \"yyyy\")",
        "PadLeft([a], 3, [a])",
        "Switch([b], , [a], [a])",
    ] {
        let message = evaluate(text, json).unwrap_err().to_string();
        assert!(!message.contains("Ana") && !message.contains("example"), "{message}");
    }
}

#[test]
fn nothing_grows_without_bound() {
    let long = "x".repeat(40_000);
    let given = BTreeMap::from([
        ("long".to_owned(), Value::text(&long)),
        ("longer".to_owned(), Value::text(long.repeat(2))),
        ("dense".to_owned(), Value::text("x".repeat(4000))),
        ("sparse".to_owned(), Value::text("x".repeat(40) + &"y".repeat(4000))),
        ("many".to_owned(), Value::List(vec!["a".to_owned(); 30_000])),
    ]);
    let doubling = |inner: &str, depth: usize| {
        (0..depth).fold(inner.to_owned(), |inner, _| format!(r#"Replace({inner}, "a", , , "aa", , )"#))
    };
    for text in [
        "Append([long], [long])",
        "Join([long], [long], [long])",
        "Join([long], [many])",
        r#"Replace([long], "x", , , "xx", , )"#,
        r#"Replace([long], "x", , , [long], , )"#,
        "Append([many], [long])",
        "[longer]",
        "ConvertToUTF8Hex([long])",
        r#"PadLeft("a", 9223372036854775807, "b")"#,
        r#"PadRight("a", 65537, "b")"#,
        r#"Replace([long], , "x", , "", , )"#,
        r#"Replace([dense], , "x", , "", , )"#,
        r#"Replace([dense], , "(?<g>x)", "g", "", , )"#,
        r#"Replace([sparse], , "x", , [sparse], , )"#,
        &doubling("\"a\"", 20),
        &format!("Join(\"\"{})", ", [long]".repeat(30)),
        &format!("And(True{})", ", IsPresent([long])".repeat(30)),
    ] {
        assert!(Expression::parse(text).unwrap().evaluate(&given).is_err(), "{text}");
    }
    assert!(evaluate(&doubling("\"a\"", 16), "{}").is_ok());
    let sparse = Expression::parse(r#"Replace([sparse], , "x", , "", , )"#).unwrap();
    assert_eq!(sparse.evaluate(&given), Ok(Some(Value::text("y".repeat(4000)))));

    assert!(Expression::parse(&"Trim(".repeat(65)).unwrap_err().message.contains("64 deep"));
    let nested = |depth: usize| format!("{}[a]{}", "Trim(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(64)).is_ok());
    assert!(Expression::parse(&nested(65)).is_err());
    assert!(Expression::parse(&format!("\"{}\"", "é".repeat(4095))).is_ok());
    assert!(Expression::parse(&format!("\"{}\"", "é".repeat(4096))).is_err());
    // Side by side is not nested.
    assert!(Expression::parse(&format!("Join(\"\"{})", ", Trim([a])".repeat(200))).is_ok());
}

/// Trees as the parser could have made them.
fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        "[a-zA-Z_é][a-zA-Z0-9_. é]{0,8}[a-z]".prop_map(Node::Attribute),
        "\\PC{0,8}".prop_map(Node::Text),
        ".{0,4}[\"\\\\\n]{0,2}".prop_map(Node::Text),
        any::<i64>().prop_map(Node::Number),
        any::<bool>().prop_map(Node::Flag),
        Just(Node::Null),
    ];
    leaf.prop_recursive(5, 48, 8, |inner| {
        let call = (
            proptest::sample::select(Function::ALL.to_vec()),
            0..4_usize,
            proptest::collection::vec((inner.clone(), any::<u8>()), 12),
        )
            .prop_filter_map("Switch on IsPresent is refused", |(function, surplus, values)| {
                call(function, surplus, values)
            });
        let operator = proptest::sample::select(Operator::ALL.to_vec());
        let side = inner
            .clone()
            .prop_filter("a side is not a comparison", |node| !matches!(node, Node::Compare(..)));
        prop_oneof![
            4 => call,
            1 => (operator, side.clone(), side)
                .prop_map(|(operator, left, right)| Node::Compare(operator, Box::new((left, right)))),
        ]
    })
}

fn call(function: Function, surplus: usize, values: Vec<(Node, u8)>) -> Option<Node> {
    let signature = function.signature();
    let count = (signature.least..=12).filter(|count| signature.accepts(*count)).nth(surplus);
    let count = count.unwrap_or(signature.least);
    let mut arguments: Vec<Option<Node>> = Vec::new();
    for (index, (value, choice)) in values.into_iter().take(count).enumerate() {
        let parameter = signature.parameter(index)?;
        let choice = usize::from(choice);
        let prepared = match parameter.kind {
            _ if parameter.optional && choice % 3 == 0 => {
                arguments.push(None);
                continue;
            }
            Kind::Value => {
                arguments.push(Some(value));
                continue;
            }
            Kind::Pattern => Prepared::Pattern(Pattern::compile("(?<name>a+)\"?").unwrap()),
            Kind::Group => Prepared::Checked("name".to_owned()),
            Kind::Format => Prepared::Format(Format::compile("yyyy-MM-dd\\T'HH:'mm").unwrap()),
            Kind::Styles => Prepared::Checked("None".to_owned()),
            Kind::Interval => Prepared::Interval(Interval::ALL[choice % 7]),
            Kind::Culture => Prepared::Checked("pt-PT".to_owned()),
            Kind::Compare => Prepared::Word([Word::VbTextCompare, Word::VbBinaryCompare][choice % 2]),
            Kind::Case => Prepared::Word([Word::CaseInsensitive, Word::CaseSensitive][choice % 2]),
        };
        arguments.push(Some(Node::Prepared(prepared)));
    }
    let mut form = None;
    if function == Function::Replace {
        let keep: &[usize] = match surplus {
            0 => &[0, 1, 4],
            1 => &[0, 2, 4],
            2 => &[0, 2, 3, 4],
            _ => &[0, 2, 3, 5],
        };
        for (index, argument) in arguments.iter_mut().enumerate() {
            match (keep.contains(&index), index) {
                (false, _) => *argument = None,
                (true, 2) => {
                    *argument =
                        Some(Node::Prepared(Prepared::Pattern(Pattern::compile("(?<name>a+)").unwrap())));
                }
                (true, 3) => *argument = Some(Node::Prepared(Prepared::Checked("name".to_owned()))),
                (true, 0) => {}
                (true, _) => *argument = Some(Node::Attribute("other".to_owned())),
            }
        }
        form = Some(Form::of(&arguments).unwrap());
    }
    if function == Function::Switch
        && let Some(Some(Node::Call(source))) = arguments.first()
        && source.function.signature().name.starts_with("Is")
    {
        return None;
    }
    Some(Node::Call(Call { function, arguments, form }))
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        3 => "\\PC{0,12}",
        1 => "[0-9]{1,4}(-[0-9]{1,2}){2}",
        1 => "-?[0-9]{1,20}",
        1 => Just("True".to_owned()),
        1 => "[a-z]{3000}",
    ];
    prop_oneof![
        any::<bool>().prop_map(Value::Flag),
        text.clone().prop_map(Value::Text),
        proptest::collection::vec(text, 0..4).prop_map(Value::List),
    ]
}

fn some_properties() -> impl Strategy<Value = BTreeMap<String, Value>> {
    proptest::collection::btree_map("[abé]|mail|other", value(), 0..5)
}

/// Fragments that go together more often than random letters would.
fn scrap() -> impl Strategy<Value = String> {
    let words = vec![
        "[a]",
        "[mail]",
        "[",
        "]",
        "(",
        ")",
        ",",
        ", ",
        "\"",
        "\\",
        "\"x\"",
        "12",
        "-",
        "&H",
        "=",
        "<>",
        "<=",
        ">",
        " ",
        "\n",
        "é",
        "🙂",
        "True",
        "NULL",
        "mail",
        "vbTextCompare",
    ];
    let names: Vec<&str> = Function::ALL.iter().map(|function| function.signature().name).collect();
    let piece = prop_oneof![
        3 => proptest::sample::select(words).prop_map(str::to_owned),
        2 => proptest::sample::select(names).prop_map(|name| format!("{name}(")),
        1 => "\\PC{0,3}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn size(value: &Value) -> usize {
    match value {
        Value::Flag(_) => 0,
        Value::Text(text) => text.len(),
        Value::List(items) => items.iter().map(String::len).sum(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(root in node()) {
        let expression = Expression { root };
        let text = expression.to_string();
        prop_assume!(text.len() <= MAX_EXPRESSION_BYTES);
        match Expression::parse(&text) {
            Ok(again) => prop_assert_eq!(again, expression),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn evaluation_ends_within_its_bounds(root in node(), given in some_properties()) {
        let expression = Expression { root };
        if let Ok(Some(value)) = expression.evaluate(&given) {
            prop_assert!(size(&value) <= MAX_VALUE_BYTES);
            prop_assert!(size(&value) > 0 || matches!(value, Value::Flag(_)), "empty is None");
        }
        let _ = expression.holds(&given);
        prop_assert_eq!(expression.evaluate(&given), expression.evaluate(&given));
    }

    #[test]
    fn no_text_breaks_it(text in prop_oneof![scrap(), "\\PC{0,40}", "(?s).{0,40}"], given in some_properties()) {
        match Expression::parse(&text) {
            Ok(expression) => {
                let _ = expression.evaluate(&given);
                prop_assert_eq!(Expression::parse(&expression.to_string()), Ok(expression));
            }
            Err(error) => {
                prop_assert!(!error.message.contains('\n'));
                prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1);
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    #[test]
    fn no_property_breaks_a_function(choice in any::<prop::sample::Index>(), values in proptest::collection::vec(value(), 12), seed in any::<u8>()) {
        let function = *choice.get(&Function::ALL);
        let nodes = (0..12).map(|index| (Node::Attribute(index.to_string()), seed)).collect();
        if let Some(root) = call(function, 0, nodes) {
            let given = values.into_iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect();
            let _ = Expression { root }.evaluate(&given);
        }
    }
}
