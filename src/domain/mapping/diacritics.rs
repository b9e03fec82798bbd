//! Letters without their marks: `Zoë` → `Zoe`, `Müller` → `Muller`, `Łukasz` → `Lukasz`.

use icu_normalizer::DecomposingNormalizerBorrowed;

/// Takes the marks off Latin letters and spells out those that are letters of their own in Entra's
/// table. Other scripts stay as they are: in `й` or `が` the mark makes another letter.
pub(super) fn without(text: &str) -> String {
    let decomposing = DecomposingNormalizerBorrowed::new_nfd();
    let mut plain = String::with_capacity(text.len());
    let mut after_latin = false;
    for c in text.chars() {
        let base = decomposing.normalize_iter(std::iter::once(c)).next().unwrap_or(c);
        if let Some(spelled) = latin(base) {
            plain.push_str(spelled);
            after_latin = true;
        } else if base.is_ascii_alphabetic() {
            plain.push(base);
            after_latin = true;
        } else if !(after_latin && is_mark(c)) {
            plain.push(c);
            after_latin = false;
        }
    }
    plain
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}')
}

fn latin(c: char) -> Option<&'static str> {
    Some(match c {
        'æ' => "ae",
        'Æ' => "AE",
        'ø' | 'œ' => "oe",
        'Ø' | 'Œ' => "OE",
        'ß' => "ss",
        'ł' => "l",
        'Ł' => "L",
        'ı' => "i",
        _ => return None,
    })
}
