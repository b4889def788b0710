//! Queries and what they give, in `tests/cases`.

use std::{fmt::Write, fs, path::Path};

use super::{
    ask::{LIMITS, ask},
    shop::shop,
    store::{self, Kept},
};

#[test]
fn queries_give_what_the_cases_say_wherever_spans_lie() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let rewrite = std::env::var_os("CLEW_UPDATE_CASES").is_some();
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut cases, mut wrong) = (0, String::new());
    for file in files {
        let mut rewritten = Vec::new();
        for paragraph in fs::read_to_string(&file).unwrap().split("\n\n") {
            let (expected, query): (Vec<_>, Vec<_>) = paragraph.lines().partition(|line| line.starts_with("> "));
            let sql: Vec<_> = query.iter().filter(|line| !line.starts_with("--")).copied().collect();
            let mut lines: Vec<String> = query.iter().map(|line| (*line).to_owned()).collect();
            let ways: [Kept; 4] = [0.into(), 1.into(), 2.into(), Kept::cut(1, 1)];
            for (way, kept) in ways.into_iter().enumerate().filter(|_| !sql.is_empty()) {
                let found = store::ask(&shop(), kept, |snapshot| ask(snapshot, &sql.join("\n"), LIMITS));
                let found = found.unwrap_or_else(|error| error.to_string());
                let found: Vec<String> = found.lines().map(|line| format!("> {line}")).collect();
                if way == 0 {
                    lines.extend(found.clone());
                }
                if found != expected {
                    writeln!(
                        wrong,
                        "{kept:?}: {}\n{}\nexpected\n{}",
                        sql.join("\n"),
                        found.join("\n"),
                        expected.join("\n")
                    )
                    .unwrap();
                }
                cases += 1;
            }
            rewritten.push(lines.join("\n"));
        }
        if rewrite {
            fs::write(&file, rewritten.join("\n\n").trim_end().to_owned() + "\n").unwrap();
        }
    }
    assert!(cases > 60, "{cases}");
    assert!(wrong.is_empty() || rewrite, "{wrong}");
}
