//! Files of cases: read, compared, and rewritten when told to.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// The folder with the cases.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traceql")
}

/// Runs all cases of a folder and shows which ones come out otherwise. `answer` gets the query and returns lines that begin
/// with one of `marks`. Returns how many there were.
pub fn run(name: &str, marks: &[&str], mut answer: impl FnMut(&str) -> String) -> usize {
    let rewrite = std::env::var_os("CLEW_UPDATE_CASES").is_some();
    let mut files: Vec<_> = fs::read_dir(folder().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut cases, mut wrong) = (0, String::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut rewritten = Vec::new();
        for paragraph in text.split("\n\n") {
            let is_comment = |line: &&str| line.starts_with('#');
            let is_expected = |line: &&str| marks.iter().any(|mark| line.starts_with(mark));
            let comments: Vec<_> = paragraph.lines().filter(is_comment).collect();
            let query: Vec<_> = paragraph.lines().filter(|line| !is_comment(line) && !is_expected(line)).collect();
            let expected: Vec<_> = paragraph.lines().filter(is_expected).collect();
            let (query, expected) = (query.join("\n"), expected.join("\n"));
            let mut lines: Vec<_> = comments.into_iter().map(str::to_owned).collect();
            if !query.trim().is_empty() {
                cases += 1;
                let found = answer(query.trim_matches('\n')).trim_end().to_owned();
                if found != expected {
                    let name = file.file_name().unwrap().to_string_lossy();
                    write!(wrong, "\n{name}: {query}\n  expected {expected}\n  found    {found}\n").unwrap();
                }
                lines.extend([query.trim_matches('\n').to_owned(), found]);
            }
            rewritten.push(lines.join("\n"));
        }
        if rewrite {
            fs::write(&file, rewritten.join("\n\n").trim_end().to_owned() + "\n").unwrap();
        }
    }
    assert!(wrong.is_empty() || rewrite, "{wrong}");
    cases
}

/// Visits the queries of all cases of a folder.
pub fn queries(name: &str, mut visit: impl FnMut(&str)) {
    for entry in fs::read_dir(folder().join(name)).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for paragraph in text.split("\n\n") {
            let is_query = |line: &&str| !line.starts_with('#') && !line.starts_with("-> ");
            let query: Vec<_> = paragraph.lines().filter(is_query).collect();
            if !query.concat().trim().is_empty() {
                visit(query.join("\n").trim_matches('\n'));
            }
        }
    }
}
