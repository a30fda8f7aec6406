//! The names in the documents: each exists in the sources, and the lines are short.

use std::collections::HashSet;

use super::{
    assert_none,
    documents::quoted,
    source::{File, files},
};

/// The ends of the paths of sources; the second line are scripts of `deployments/`.
const SOURCES: &str = ".rs .proto .sql .toml .py .sh .yaml .js .xml .ci/run /Dockerfile \
    /check /make-secrets /up /down /env /engine engines/kafka engines/postgresql";

/// Names that are in no source, with the reason.
const EXCEPTIONS: [(&str, &str); 5] = [
    ("UNAUTHENTICATED PERMISSION_DENIED UNIMPLEMENTED", "codes of gRPC"),
    ("DEADLINE_EXCEEDED RESOURCE_EXHAUSTED", "codes of gRPC"),
    ("FULL", "a value of SQLite's `synchronous`"),
    ("log_statement log_line_prefix", "settings of PostgreSQL"),
    ("RATE_LIMIT_RPS", "a setting that this version does not have"),
];

const COLUMNS: usize = 120;

fn documents() -> impl Iterator<Item = File> {
    files(&[".md"]).into_iter().filter(|file| file.path != "CHANGELOG.md")
}

fn is_part_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The words of a text, with where they begin.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let pieces = text.split_inclusive(|c| !is_part_of_a_word(c)).scan(0, |end, piece| {
        let begin = *end;
        *end += piece.len();
        Some((begin, piece.trim_end_matches(|c| !is_part_of_a_word(c))))
    });
    pieces.filter(|(_, word)| !word.is_empty())
}

/// Whether a word is a name in the sources: `snake_case`, `TwoHumps`, `UPPER_CASE`, a part of `a::path`, or `called()`.
fn is_name(before: &str, word: &str, after: &str) -> bool {
    if !word.starts_with(|c: char| c.is_ascii_alphabetic()) || word.ends_with('_') {
        return false;
    }
    let mut pairs = word.chars().zip(word.chars().skip(1));
    let has_humps = word.starts_with(|c: char| c.is_ascii_uppercase())
        && pairs.any(|(a, b)| !a.is_ascii_uppercase() && b.is_ascii_uppercase());
    let is_upper = word.len() > 1 && !word.contains(|c: char| c.is_ascii_lowercase());
    let is_path = before.ends_with("::") || after.starts_with("::");
    word.contains('_') || has_humps || is_upper || is_path || after.starts_with('(')
}

/// The names in a quote. A `<placeholder>` in it is none.
fn names(quote: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for part in quote.split('<') {
        let part = part.split_once('>').map_or(part, |(_, rest)| rest);
        let found = words(part).filter(|(at, word)| is_name(&part[..*at], word, &part[at + word.len()..]));
        names.extend(found.map(|(_, word)| word));
    }
    names
}

#[test]
fn every_name_in_a_document_exists() {
    let sources: Vec<_> = SOURCES.split_whitespace().collect();
    let sources = files(&sources)
        .into_iter()
        .filter(|file| !file.path.ends_with("tidy/names.rs"));
    let texts: Vec<_> = sources.map(|file| file.text).collect();
    let known: HashSet<&str> = texts
        .iter()
        .flat_map(|text| words(text))
        .map(|(_, word)| word)
        .collect();
    let exceptions: HashSet<&str> = EXCEPTIONS.iter().flat_map(|(names, _)| names.split(' ')).collect();
    let (mut findings, mut used) = (Vec::new(), HashSet::new());
    for document in documents() {
        let is_broken = |line: &str| line.matches('`').count() % 2 == 1 && !line.starts_with("```");
        let broken = document.lines().filter(|(_, line)| is_broken(line));
        findings.extend(broken.map(|(number, _)| format!("{}:{number}: a quote goes over two lines", document.path)));
        for (number, quote) in quoted(&document) {
            for name in names(quote) {
                if exceptions.contains(name) {
                    used.insert(name.to_owned());
                } else if !known.contains(name) {
                    findings.push(format!("{}:{number}: {name} is in no source", document.path));
                }
            }
        }
    }
    let unused = exceptions
        .iter()
        .filter(|name| known.contains(*name) || !used.contains(**name));
    findings.extend(unused.map(|name| format!("{name}: needs no exception; take it off the list")));
    assert_none(&findings, "a document that names something names what is there");
}

#[test]
fn lines_of_documents_are_short() {
    let mut findings = Vec::new();
    for document in documents() {
        let long = document.lines().filter(|(_, line)| line.chars().count() > COLUMNS);
        findings.extend(long.map(|(number, _)| format!("{}:{number}: has more than {COLUMNS} columns", document.path)));
    }
    assert_none(
        &findings,
        "lines that wrap by themselves are hard to read and to compare",
    );
}
