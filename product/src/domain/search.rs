//! What is looked for, and how texts are compared for that.

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizer;

const MAX_QUERY: usize = 100;
/// What lower case leaves of the dot of an `İ`.
const DOT_ABOVE: char = '\u{307}';

/// The words that are looked for in names and descriptions, folded. None finds everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<String>);

/// A query over 100 characters, or with control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidQuery;

impl Query {
    pub fn new(text: &str) -> Result<Self, InvalidQuery> {
        if super::is_longer(text, MAX_QUERY) || text.contains(char::is_control) {
            return Err(InvalidQuery);
        }
        let mut words: Vec<_> = folded(text).split_whitespace().map(str::to_owned).collect();
        words.sort_unstable();
        words.dedup();
        Ok(Self(words))
    }

    /// Each of them has to be in the text, in any order.
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

/// The form in which texts are compared: letters that differ in case only, or in how they are written down (composed or not,
/// full-width, ligatures), are the same in it. That is Unicode's compatibility caseless match (chapter 3.13, D146) on top of
/// lower case. Beyond that, `İ`, `I`, `ı` and `i` are one letter, because nobody knows in which language a query is.
///
/// Folded texts are stored. A release whose libraries or rules fold in another way empties `search_folded` by a migration.
pub fn folded(text: &str) -> String {
    let (fold, nfkc) = (CaseMapper::new(), ComposingNormalizer::new_nfkc());
    let once = |text: &str| nfkc.normalize(&fold.fold_string(&nfkc.normalize(text))).into_owned();
    // What one round makes of some letters has a fold of its own.
    let text = once(&once(&text.to_lowercase()));
    if text.contains(['ı', DOT_ABOVE]) {
        let dotless = text
            .replace('ı', "i")
            .replace(&['i', DOT_ABOVE].iter().collect::<String>(), "i");
        return nfkc.normalize(&dotless).into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_has_at_most_a_hundred_printable_characters() {
        assert!(Query::new(&"ü".repeat(100)).is_ok());
        for wrong in ["a\nb", "\0", &"q".repeat(101)] {
            assert_eq!(Query::new(wrong), Err(InvalidQuery), "{wrong:?}");
        }
    }

    #[test]
    fn the_words_of_a_query_have_no_order_and_no_blanks() {
        let words = |text| Query::new(text).unwrap().words().to_vec();
        assert_eq!(words("  Desk\u{a0}lamp  desk\u{3000}"), ["desk", "lamp"]);
        assert_eq!(words(" "), Vec::<String>::new());
    }

    #[test]
    fn writings_of_one_word_are_one() {
        for (one, other) in [
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("ΣΣ", "σς"),
            ("caf\u{e9}", "CAFE\u{301}"),
            ("STRASSE", "straße"),
            ("GROẞ", "gross"),
            ("İstanbul", "istanbul"),
            ("ISTANBUL", "ıstanbul"),
            ("Ｗｉｄｅ　１", "wide 1"),
            ("ﬁne", "FINE"),
            ("①", "1"),
            ("ﾊﾞ", "バ"),
            ("가", "\u{1100}\u{1161}"),
            ("ᾳ", "αι"),
        ] {
            assert_eq!(folded(one), folded(other), "{one} {other}");
        }
        assert_ne!(folded("cafe"), folded("café"));
    }

    proptest! {
        #[test]
        fn a_folded_text_is_its_own_fold(text in "\\PC{0,20}") {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }

        #[test]
        fn case_makes_no_difference(text in "[a-zA-ZäöüßÄÖÜéÉςσΣ ıİ]{0,20}") {
            prop_assert_eq!(folded(&text.to_uppercase()), folded(&text));
            prop_assert_eq!(folded(&text.to_lowercase()), folded(&text));
        }
    }
}
