//! The validation handshake: Graph posts `?validationToken=…` and wants the decoded token back,
//! byte for byte, within 10 seconds.
//!
//! It may come at any time: while our own `POST /subscriptions` is still waiting for its answer, on
//! a renewal, for the notification URL and once more for the lifecycle URL. Anybody may send one, so
//! the token is only echoed when it cannot be anything but plain text.

use percent_encoding::percent_decode;

/// Longest token we echo, decoded. Observed ones have about 110 bytes.
const LONGEST_TOKEN_BYTES: usize = 4 << 10;

/// What a query string asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Handshake {
    /// No handshake.
    None,
    /// To be answered with exactly this.
    Echo(String),
    /// A handshake that must not be answered.
    Refused,
}

/// Reads the query as a form (`+` is a space, `%XX` a byte). Graph writes lower-case escapes and
/// `+`: `Validation%3a+Testing+client+application+…`.
pub fn read(query: Option<&str>) -> Handshake {
    let mut found = Handshake::None;
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if form_decoded(name).as_deref() != Some("validationToken") {
            continue;
        }
        if found != Handshake::None {
            return Handshake::Refused;
        }
        found = match form_decoded(value) {
            Some(token) if is_plain(&token) => Handshake::Echo(token),
            _ => Handshake::Refused,
        };
    }
    found
}

/// Graph "never sends any value containing HTML or JavaScript"; escaping would break the match.
fn is_plain(token: &str) -> bool {
    let evil = |c: char| c.is_control() || c == '<' || c == '>';
    !token.is_empty() && token.len() <= LONGEST_TOKEN_BYTES && !token.contains(evil)
}

/// `None` for a broken escape or what is not UTF-8.
fn form_decoded(text: &str) -> Option<String> {
    let whole =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(whole) {
        return None;
    }
    let spaced = text.replace('+', " ");
    String::from_utf8(percent_decode(spaced.as_bytes()).collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(query: &str) -> Handshake {
        read(Some(query))
    }

    #[test]
    fn the_token_comes_back_decoded_and_otherwise_untouched() {
        for (sent, expected) in [
            (
                "Validation%3a+Testing+client+application+reachability+for+subscription+Request-Id%3a+25460109-0e8b-4521-8090-dd691b407ed8",
                "Validation: Testing client application reachability for subscription Request-Id: 25460109-0e8b-4521-8090-dd691b407ed8",
            ),
            ("a%2Bb%2bc", "a+b+c"),
            ("a%20b+c", "a b c"),
            ("%26%3D%25%2F%3f%23", "&=%/?#"),
            ("a=b", "a=b"),
            ("%2525", "%25"),
            ("%E2%82%ac", "€"),
            ("plain", "plain"),
            (" \"quoted\"'", " \"quoted\"'"),
        ] {
            assert_eq!(
                echo(&format!("validationToken={sent}")),
                Handshake::Echo(expected.to_owned()),
                "{sent}"
            );
        }
    }

    #[test]
    fn it_is_found_among_other_parameters() {
        assert_eq!(echo("a=1&validationToken=x&b"), Handshake::Echo("x".to_owned()));
        assert_eq!(echo("validation%54oken=x"), Handshake::Echo("x".to_owned()));
        for none in ["", "a=1", "token=x", "validationtoken=x", "=validationToken", "xvalidationToken=x"] {
            assert_eq!(echo(none), Handshake::None, "{none}");
        }
        assert_eq!(read(None), Handshake::None);
    }

    #[test]
    fn what_could_be_more_than_text_is_refused() {
        for evil in [
            "<script>",
            "%3Cscript%3E",
            "%3e",
            "a%0d%0aSet-Cookie:a=b",
            "%00",
            "%09",
            "%7f",
            "%C2%85",
            // Overlong, cut short, not UTF-8 at all.
            "%C0%BC",
            "%E2%82",
            "%ff",
            // Broken escapes.
            "%",
            "%4",
            "%zz",
            "%+1",
            "",
        ] {
            assert_eq!(echo(&format!("validationToken={evil}")), Handshake::Refused, "{evil}");
        }
        assert_eq!(echo("validationToken"), Handshake::Refused);
    }

    #[test]
    fn a_token_is_given_once() {
        assert_eq!(echo("validationToken=a&validationToken=a"), Handshake::Refused);
        assert_eq!(echo("validationToken=a&x=1&validation%54oken=b"), Handshake::Refused);
    }

    #[test]
    fn a_token_has_at_most_four_kibibytes() {
        let longest = "a".repeat(4096);
        assert_eq!(echo(&format!("validationToken={longest}")), Handshake::Echo(longest.clone()));
        assert_eq!(echo(&format!("validationToken={longest}a")), Handshake::Refused);
        // Counted after decoding.
        assert_eq!(echo(&format!("validationToken={}", "%61".repeat(4096))), Handshake::Echo(longest));
    }
}
