//! What is looked for, and how texts are compared for that.

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizer;

const MAX_QUERY: usize = 100;
/// What lower case leaves of the dot of an `İ`.
const DOT_ABOVE: char = '\u{307}';
/// From this many letters on, a word is found wherever it stands in a text; a shorter one only where a word begins.
const LONG: usize = 3;
/// Stands before each beginning of a word in a [`marked`] text. No product and no query has it, because it is a control
/// character; two of them and one letter are three characters, so that an index of pieces of three has one for every word.
const MARK: &str = "\u{1}\u{1}";

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

    /// Whether this text, which is [`folded`], has all words. That is the rule, which stores follow by way of
    /// [`Self::phrases`].
    pub fn finds(&self, text: &str) -> bool {
        self.0.iter().all(|word| {
            if is_long(word) {
                return text.contains(word.as_str());
            }
            let mut starts = text.char_indices().filter(|(place, _)| begins_word(text, *place));
            starts.any(|(place, _)| text[place..].starts_with(word.as_str()))
        })
    }

    /// A text has all words if and only if each of these is in that text [`marked`]. They are three characters or longer.
    pub fn phrases(&self) -> Vec<String> {
        let phrase = |word: &String| {
            let marked = marked(word);
            if is_long(word) {
                marked.trim_start_matches(MARK).to_owned()
            } else {
                marked
            }
        };
        self.0.iter().map(phrase).collect()
    }
}

/// A [`folded`] text with two marks before each place where a word begins.
pub fn marked(text: &str) -> String {
    let mut marked = String::with_capacity(text.len() * 3 / 2);
    for (place, letter) in text.char_indices() {
        if begins_word(text, place) {
            marked.push_str(MARK);
        }
        marked.push(letter);
    }
    marked
}

fn is_long(word: &str) -> bool {
    word.chars().nth(LONG - 1).is_some()
}

/// Whether a word begins at this place. Signs are words of their own, so that `can` begins one in "noise-cancelling".
fn begins_word(text: &str, place: usize) -> bool {
    let Some(letter) = text[place..].chars().next() else {
        return false;
    };
    if letter.is_whitespace() {
        return false;
    }
    let goes_on = letter.is_alphanumeric() && text[..place].ends_with(char::is_alphanumeric);
    !goes_on || is_written_without_blanks(letter)
}

/// Letters of writings that put no blanks between words, so that a word may begin with any of them: Thai, Lao, Burmese, Khmer,
/// Chinese and Japanese. Korean words are found by their syllables, too.
const fn is_written_without_blanks(letter: char) -> bool {
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

/// The form in which texts are compared: letters that differ in case only, or in how they are written down (composed or not,
/// full-width, ligatures), are the same in it. That is Unicode's compatibility caseless match (chapter 3.13, D146) on top of
/// lower case. Beyond that, `İ`, `I`, `ı` and `i` are one letter, because nobody knows in which language a query is.
///
/// Texts are stored folded and [`marked`]. A release whose libraries or rules do either in another way empties `search_marked` by
/// a migration.
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

    #[test]
    fn a_word_of_one_or_two_letters_is_found_where_a_word_begins() {
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
            assert!(Query::new(found).unwrap().finds(&text), "{found}");
        }
        for not_found in ["o", "se", "k", "v", "00", "0%", "ol", "té", "c-", "x"] {
            assert!(!Query::new(not_found).unwrap().finds(&text), "{not_found}");
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
        fn phrases_are_in_marked_texts_where_words_are_in_texts(
            text in "([abAßİ é%'\"-]|電|話|ﬁ|\\PC){0,12}",
            query in "([abAßİ é%'\"-]|電|話|ﬁ|\\PC){0,4}",
        ) {
            let (text, query) = (folded(&text), Query::new(&query).unwrap());
            let marked = marked(&text);
            let all = query.phrases().iter().all(|phrase| marked.contains(phrase.as_str()));
            prop_assert_eq!(all, query.finds(&text), "{:?} {:?}", text, query);
        }

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
