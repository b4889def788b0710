//! A prompt for queries.

use std::{borrow::Cow, env, fs, future::Future, io, path::PathBuf, process::ExitCode};

use rustyline::{
    Context, Editor, Helper, Highlighter, Hinter,
    completion::{Completer, Pair},
    error::ReadlineError,
    history::DefaultHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use tokio::runtime::Runtime;

use super::{Format, client::Client, show};
use crate::output;

const HELP: &str = "\
A query ends with a semicolon and may have several lines. Tab completes tables, columns and keywords.
  .tables            what can be asked
  .columns TABLE     the columns of a table
  .help              this
  .quit              or Ctrl-D: leave";

const KEYWORDS: [&str; 40] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "OFFSET",
    "HAVING",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "USING",
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "ILIKE",
    "BETWEEN",
    "IS NULL",
    "IS NOT NULL",
    "AS",
    "DISTINCT",
    "UNION ALL",
    "WITH",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "ASC",
    "DESC",
    "NULLS LAST",
    "EXPLAIN",
    "DESCRIBE",
    "INTERVAL",
    "FILTER",
    "OVER",
    "PARTITION BY",
    "approx_percentile_cont",
];

/// Completes words.
#[derive(Helper, Hinter, Highlighter)]
struct Words {
    /// Keywords, tables, columns; those that need quotes have them.
    words: Vec<String>,
    /// What may come after FROM and JOIN.
    tables: Vec<String>,
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(self.completions(&line[..at]))
    }
}

impl Words {
    /// Where the last word begins, and what it may become.
    fn completions(&self, before: &str) -> (usize, Vec<Pair>) {
        let quoted = before.matches('"').count() % 2 == 1;
        let begin = if quoted { before.rfind('"') } else { None };
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let begin = begin.unwrap_or_else(|| before.trim_end_matches(is_word).len());
        let word = before[begin..].to_lowercase();
        if word.is_empty() {
            return (begin, Vec::new());
        }
        let bare = word.trim_start_matches('"');
        let fits = |known: &&String| {
            let known = known.to_lowercase();
            known.starts_with(&word)
                || !bare.is_empty() && known.strip_prefix('"').is_some_and(|known| known.starts_with(bare))
        };
        let words_before = before[..begin].split_whitespace();
        let of_tables =
            words_before.last().is_some_and(|last| ["from", "join"].contains(&last.to_lowercase().as_str()));
        let words = if of_tables { &self.tables } else { &self.words };
        let pair = |known: &String| Pair { display: known.clone(), replacement: known.clone() };
        (begin, words.iter().filter(fits).map(pair).collect())
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let text = context.input().trim();
        let whole = text.is_empty() || text.starts_with('.') || text.ends_with(';');
        Ok(if whole { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

/// Reads queries and answers them, until there are no more.
pub(super) fn run(
    runtime: &Runtime,
    client: &mut Client,
    format: Format,
    most: usize,
    history: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let tables = runtime.block_on(client.tables())?;
    let columns = tables.iter().flat_map(|(_, schema)| schema.fields().iter().map(|field| identifier(field.name())));
    let names: Vec<String> = tables.iter().map(|(name, _)| name.clone()).collect();
    let mut words: Vec<String> = columns.chain(names.iter().cloned()).chain(KEYWORDS.map(str::to_owned)).collect();
    words.sort_unstable();
    words.dedup();
    let mut editor: Editor<Words, DefaultHistory> = Editor::new()?;
    editor.set_helper(Some(Words { words, tables: names }));
    let history = history.or_else(state_file);
    if let Some(file) = &history {
        // Without one nothing is lost.
        let _ = file.parent().map(fs::create_dir_all);
        let _ = editor.load_history(file);
    }
    writeln(&mut output::stdout(), "Ask in SQL; .help says more.")?;
    loop {
        let line = match editor.readline("sql> ") {
            Ok(line) => line,
            // What was begun is dropped.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        let text = line.trim().trim_end_matches(';').trim();
        if text.is_empty() {
            continue;
        }
        editor.add_history_entry(line.trim())?;
        if let Some(file) = &history {
            // At once: whatever ends this, what was asked is kept.
            let _ = editor.append_history(file);
        }
        let mut out = output::stdout();
        let result = match text.split_whitespace().collect::<Vec<_>>()[..] {
            [".quit" | ".exit"] => break,
            [".help"] => writeln(&mut out, HELP),
            [".tables"] => tables.iter().try_for_each(|(name, _)| writeln(&mut out, name)),
            [".columns", table] => match tables.iter().find(|(name, _)| name == table) {
                Some((_, schema)) => schema.fields().iter().try_for_each(|field| {
                    writeln(&mut out, &format!("{:40} {}", identifier(field.name()), field.data_type()))
                }),
                None => Err(anyhow::anyhow!("there is no table {table}; .tables lists them")),
            },
            _ if text.starts_with('.') => Err(anyhow::anyhow!("{text} is unknown; .help says what there is")),
            _ => runtime.block_on(unless_interrupted(show::answer(client, text, format, most, &mut out))),
        };
        io::Write::flush(&mut out)?;
        drop(out);
        if let Err(error) = result {
            eprintln!("{error}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C ends a query, at the collector too, and not the prompt: there it is a key, and no signal.
async fn unless_interrupted(answer: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        biased;
        answer = answer => answer,
        interrupt = tokio::signal::ctrl_c() => {
            interrupt?;
            anyhow::bail!("interrupted")
        }
    }
}

fn writeln(out: &mut impl io::Write, line: &str) -> anyhow::Result<()> {
    Ok(writeln!(out, "{line}")?)
}

/// A name as SQL takes it.
fn identifier(name: &str) -> String {
    let is_bare = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let quoted: Cow<'_, str> = if is_bare { name.into() } else { format!("\"{}\"", name.replace('"', "\"\"")).into() };
    quoted.into_owned()
}

/// Where users' programs keep what they remember.
fn state_file() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let folder =
        env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute()).or_else(home)?;
    Some(folder.join("clew/sql_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_in_quotes_and_without() {
        let words = ["SELECT", "service_name", "spans", "\"span.http.route\"", "\"span.http.status\""];
        let words = Words { words: words.map(str::to_owned).to_vec(), tables: vec!["spans".to_owned()] };
        let found = |before: &str| {
            let (at, pairs) = words.completions(before);
            (at, pairs.into_iter().map(|pair| pair.replacement).collect::<Vec<_>>())
        };
        assert_eq!(found("sel"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(found("SELECT serv"), (7, vec!["service_name".to_owned()]));
        assert_eq!(found("SELECT span.http.r"), (7, vec!["\"span.http.route\"".to_owned()]));
        assert_eq!(found("SELECT \"span.http").1.len(), 2);
        assert_eq!(found("SELECT \"a\", \"span.http.s"), (12, vec!["\"span.http.status\"".to_owned()]));
        assert_eq!(found("SELECT s").1.len(), 5);
        assert_eq!(found("SELECT * FROM s"), (14, vec!["spans".to_owned()]));
        assert_eq!(found("... JOIN\ns"), (9, vec!["spans".to_owned()]));
        assert_eq!(found("SELECT "), (7, vec![]));
        assert_eq!(found(""), (0, vec![]));
    }

    #[test]
    fn names_are_quoted_where_sql_needs_it() {
        assert_eq!(identifier("span_id"), "span_id");
        assert_eq!(identifier("span.http.route"), "\"span.http.route\"");
        assert_eq!(identifier("span.say \"hi\""), "\"span.say \"\"hi\"\"\"");
    }
}
