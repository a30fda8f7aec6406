//! Search queries and the comparison of texts.

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizer;

const MAX_QUERY: usize = 100;
/// The lower case of `İ` is `i` with this dot.
const DOT_ABOVE: char = '\u{307}';
/// Words from this length on match anywhere in a text, shorter words only where a word begins.
const MIN_SUBSTRING: usize = 3;
/// Precedes each word in [`with_markers`]. Neither products nor queries may contain this control character. Marker and
/// first letter are three characters, so that a trigram index has an entry for every word.
const WORD_MARKER: &str = "\u{1}\u{1}";

/// Folded words, sorted and distinct. A query without words matches everything.
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

    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Whether this [`folded`] text has all words, in any order. Stores implement this rule by [`Self::phrases`].
    pub fn matches(&self, text: &str) -> bool {
        self.0.iter().all(|word| {
            if matches_inside_words(word) {
                return text.contains(word.as_str());
            }
            let mut starts = text.char_indices().filter(|(start, _)| is_word_start(text, *start));
            starts.any(|(start, _)| text[start..].starts_with(word.as_str()))
        })
    }

    /// A text has all words if and only if its [`with_markers`] contains all phrases, of at least three characters each.
    pub fn phrases(&self) -> Vec<String> {
        let phrase = |word: &String| {
            let marked = with_markers(word);
            if matches_inside_words(word) {
                marked.trim_start_matches(WORD_MARKER).to_owned()
            } else {
                marked
            }
        };
        self.0.iter().map(phrase).collect()
    }
}

/// A [`folded`] text with a marker before each word.
pub fn with_markers(text: &str) -> String {
    let mut marked = String::with_capacity(text.len() * 3 / 2);
    for (index, letter) in text.char_indices() {
        if is_word_start(text, index) {
            marked.push_str(WORD_MARKER);
        }
        marked.push(letter);
    }
    marked
}

fn matches_inside_words(word: &str) -> bool {
    word.chars().nth(MIN_SUBSTRING - 1).is_some()
}

/// Whether a word begins at this index. Each sign is a word, so `can` begins a word in "noise-cancelling".
fn is_word_start(text: &str, index: usize) -> bool {
    let Some(letter) = text[index..].chars().next() else {
        return false;
    };
    if letter.is_whitespace() {
        return false;
    }
    let is_inside_word = letter.is_alphanumeric() && text[..index].ends_with(char::is_alphanumeric);
    !is_inside_word || is_unspaced_script(letter)
}

/// Letters of scripts without blanks between words, where any letter may begin a word: Thai, Lao, Burmese, Khmer,
/// Chinese and Japanese. Korean syllables are included.
const fn is_unspaced_script(letter: char) -> bool {
    matches!(
        letter,
        '\u{e00}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{2e80}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7af}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

/// The form in which texts are compared. Case, composition, width and ligatures make no difference: Unicode's
/// compatibility caseless match (chapter 3.13, D146) on top of lower case. `İ`, `I`, `ı` and `i` are one letter as
/// well, because the language of a query is unknown.
///
/// Stores keep folded texts [`with_markers`]. A release that changes the result of either needs a migration that
/// empties `search_marked`.
pub fn folded(text: &str) -> String {
    let (fold, nfkc) = (CaseMapper::new(), ComposingNormalizer::new_nfkc());
    let once = |text: &str| nfkc.normalize(&fold.fold_string(&nfkc.normalize(text))).into_owned();
    // The fold of some letters can be folded again.
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
    fn the_words_of_a_query_are_sorted_and_distinct() {
        let words = |text| Query::new(text).unwrap().words().to_vec();
        assert_eq!(words("  Desk\u{a0}lamp  desk\u{3000}"), ["desk", "lamp"]);
        assert_eq!(words(" "), Vec::<String>::new());
    }

    #[test]
    fn spellings_of_one_word_fold_to_the_same_text() {
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

    #[test]
    fn a_word_of_one_or_two_letters_matches_where_a_word_begins() {
        let text = folded("Noise-cancelling 4K TV, 100% wool\n携帯電話 L'été");
        for found in [
            "n",
            "no",
            "c",
            "ca",
            "4",
            "4k",
            "tv",
            "1",
            "10",
            "%",
            ",",
            "w",
            "携",
            "電話",
            "話",
            "'",
            "été",
            "é",
            "l'",
            "-c",
            "ise-",
            "oise-canc",
            "ool",
        ] {
            assert!(Query::new(found).unwrap().matches(&text), "{found}");
        }
        for not_found in ["o", "se", "k", "v", "00", "0%", "ol", "té", "c-", "x"] {
            assert!(!Query::new(not_found).unwrap().matches(&text), "{not_found}");
        }
    }

    #[test]
    fn phrases_have_three_characters_or_more() {
        for query in ["a", "ab", "abc", "é", "电", "%", "a-", "--", "ﷺ"] {
            for phrase in Query::new(query).unwrap().phrases() {
                assert!(phrase.chars().count() >= 3, "{query} {phrase:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn phrases_and_words_match_the_same_texts(
            text in "([abAßİ é%'\"-]|電|話|ﬁ|\\PC){0,12}",
            query in "([abAßİ é%'\"-]|電|話|ﬁ|\\PC){0,4}",
        ) {
            let (text, query) = (folded(&text), Query::new(&query).unwrap());
            let marked = with_markers(&text);
            let all = query.phrases().iter().all(|phrase| marked.contains(phrase.as_str()));
            prop_assert_eq!(all, query.matches(&text), "{:?} {:?}", text, query);
        }

        #[test]
        fn folding_is_idempotent(text in "\\PC{0,20}") {
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
