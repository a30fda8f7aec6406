//! The source tree as these checks read it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A text file of the repository.
pub(crate) struct File {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

pub(crate) fn read(path: &str) -> File {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    File {
        path: path.to_owned(),
        text,
    }
}

/// All files with one of these endings, in order of their paths. What was built or is somebody's data is left out.
pub(crate) fn files(endings: &[&str]) -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            let hidden = relative.starts_with('.') && !relative.starts_with(".ci");
            if path.is_dir() {
                // Cargo marks what it builds into with this tag, wherever that is.
                let built = path.join("CACHEDIR.TAG").exists();
                if !(hidden || built || relative == "target" || relative == "data") {
                    folders.push(path);
                }
            } else if !hidden && endings.iter().any(|ending| relative.ends_with(ending)) {
                found.push(read(&relative));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        !found.is_empty(),
        "no files end with {endings:?}: is the tree looked for in the right place?"
    );
    found
}

impl File {
    /// Whether all of it is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// Its lines with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The number of the line on which its unit tests begin; behind the last one if it has none.
    pub(crate) fn tests_begin(&self) -> usize {
        let lines: Vec<_> = self.text.lines().collect();
        let marks = (1..).zip(lines.windows(2));
        let is_mark = |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].trim().starts_with("mod tests");
        marks
            .into_iter()
            .find(|(_, pair)| is_mark(pair))
            .map_or(lines.len() + 1, |(number, _)| number)
    }

    /// The lines of its code, numbered: comments and what is in strings are blank.
    pub(crate) fn code(&self) -> Vec<(usize, String)> {
        (1..).zip(blank(&self.text).lines().map(str::to_owned)).collect()
    }

    /// The same without unit tests.
    pub(crate) fn code_without_tests(&self) -> Vec<(usize, String)> {
        let begin = self.tests_begin();
        self.code().into_iter().filter(|(number, _)| *number < begin).collect()
    }
}

/// Rust source with comments and the insides of strings and characters replaced by nothing; lines stay lines.
fn blank(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            string(rest)
        } else if first == 'r' && !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            raw_string(rest)
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of the string at the start of `rest`.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// The length of the raw string at the start of `rest`; 0 if there is none.
fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = hashes + 2;
    rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
}

/// The length of the character at the start of `rest`; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut inside = rest.chars().skip(1);
    match (inside.next(), inside.next()) {
        (Some('\\'), _) => rest[3..].find('\'').map_or(0, |at| at + 4),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

#[test]
fn what_is_said_is_told_apart_from_what_is_done() {
    let source = "a(\"sleep(\"); // sleep(\nr#\"one\n\"two\"\"#; '\"'; let b: &'a str = \"\\\"\"; /* x\n */ c";
    assert_eq!(blank(source), "a(); \n\n; ; let b: &'a str = ; \n c");
}
