//! Bytes of a store that flip, one here and one there: whatever is asked then is answered as before, or the answer says that something
//! may be missing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clew_integration_tests::{Agent, Collector, files, program};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;

use crate::{
    folders::copy,
    support::{SOON, agent_door, collector_door, grpc, spans, starting},
};

const FLAGS: [&str; 2] = ["--flush-age-s=1", "--sweep-delay-s=1"];
const TRACES: usize = 40;
const SPANS: usize = 50;
/// The seconds around the spans.
const RANGE: &str = "start=1794999000&end=1795001000";

/// Spans whose operations say the same of them again and again: a block of them has shapes.
fn traffic(trace: [u8; 16]) -> Vec<Span> {
    let span = |number: usize| {
        let operation = number % 20;
        let constant =
            (0..12).map(|key| spans::text(format!("constant.{key}"), format!("{key} of {operation} ").repeat(5)));
        let own = [spans::text("tier", ["gold", "tin"][number % 2]), spans::text("own", format!("{number}"))];
        Span {
            name: format!("operation {operation}"),
            start_time_unix_nano: 1_795_000_000_000_000_000 + 1_000_000 * number as u64,
            attributes: constant.chain(own).collect(),
            ..spans::span(trace)
        }
    };
    (0..SPANS).map(span).collect()
}

/// Asks a collector in every way that there is.
struct Questions {
    client: reqwest::Client,
    /// What is asked, by name: a port, a path, and the body of a POST.
    all: BTreeMap<String, (Port, String, Option<&'static str>)>,
}

#[derive(Clone, Copy)]
enum Port {
    Tempo,
    Web,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    status: u16,
    /// It says that something may be missing.
    is_partial: bool,
    body: String,
}

const SQL: &str = "SELECT name, service_name, kind, \"span.tier\", count(*), sum(duration), min(start_time), \
                   count(DISTINCT span_id), max(\"span.constant.3\") FROM spans GROUP BY 1, 2, 3, 4 ORDER BY 1, 4";

impl Questions {
    /// About these traces.
    fn new(traces: &[[u8; 16]]) -> Self {
        let query = |q: &str| format!("{RANGE}&q={}", q.replace(' ', "%20").replace('"', "%22").replace('&', "%26"));
        let mut all = BTreeMap::new();
        let mut ask = |name: String, port, path: String, body| all.insert(name, (port, path, body));
        for trace in traces {
            let id = hex::encode(trace);
            ask(format!("lookup {id}"), Port::Tempo, format!("/api/traces/{id}"), None);
            ask(format!("lookup v2 {id}"), Port::Tempo, format!("/api/v2/traces/{id}"), None);
            ask(format!("jaeger {id}"), Port::Web, format!("/api/traces/{id}"), None);
        }
        let search = query(r#"{ span.tier = "gold" && span.constant.7 != "" }"#);
        ask("search".into(), Port::Tempo, format!("/api/search?{search}&limit=1000&spss=100"), None);
        let rate = query("{ } | count_over_time() by (name, span.tier)");
        ask("metrics".into(), Port::Tempo, format!("/api/metrics/query_range?{rate}&step=60s"), None);
        ask("values".into(), Port::Tempo, format!("/api/v2/search/tag/span.own/values?{RANGE}&limit=1000"), None);
        ask("sql".into(), Port::Web, "/sql".into(), Some(SQL));
        let found = "/api/traces?service=hostile&start=1794999000000000&end=1795001000000000&limit=1000";
        ask("jaeger search".into(), Port::Web, found.into(), None);
        ask("jaeger operations".into(), Port::Web, "/api/services/hostile/operations".into(), None);
        Self { client: reqwest::Client::new(), all }
    }

    async fn ask(&self, collector: &Collector) -> Result<BTreeMap<&str, Answer>> {
        let mut answers = BTreeMap::new();
        for (name, (port, path, body)) in &self.all {
            let address = match port {
                Port::Tempo => collector.tempo,
                Port::Web => collector.web,
            };
            let url = format!("http://{address}{path}");
            let request = match body {
                Some(body) => self.client.post(url).body(*body),
                None => self.client.get(url),
            };
            let answer = request.send().await.with_context(|| name.clone())?;
            let (status, is_partial) = (answer.status().as_u16(), answer.headers().contains_key("x-clew-partial"));
            // An answer that fails after its first bytes breaks off.
            let Ok(text) = answer.text().await else {
                answers.insert(&**name, Answer { status: 0, is_partial: false, body: String::new() });
                continue;
            };
            let mut json: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            // Jaeger's own API says it in the body.
            let is_partial = is_partial || json["errors"].as_array().is_some_and(|errors| !errors.is_empty());
            // How much was read.
            if let Some(object) = json.as_object_mut() {
                object.remove("metrics");
            }
            answers.insert(&**name, Answer { status, is_partial, body: json.to_string() });
        }
        Ok(answers)
    }
}

fn verify(data: &Path) -> Result<(Option<i32>, String)> {
    let output = Command::new(program("clew")?).arg("verify").arg("--data").arg(data).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

/// Flips a bit of some of a file's bytes.
fn flip(path: &Path, places: impl Iterator<Item = usize>) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    for place in places {
        *bytes.get_mut(place).context("a place in the file")? ^= 0x04;
    }
    Ok(std::fs::write(path, bytes)?)
}

/// A store with two blocks; the first one's folder, and what is answered when all is well.
struct Store {
    data: PathBuf,
    block: PathBuf,
    questions: Questions,
    of_first: String,
    of_second: String,
    whole: BTreeMap<String, Answer>,
}

impl Store {
    async fn fill(dir: &Path) -> Result<Self> {
        let data = dir.join("whole");
        let mut collector = starting(|| Collector::start(&data, &FLAGS))?;
        let traces: Vec<_> = (0..TRACES).map(|_| spans::id()).collect();
        for some in [&traces[..TRACES - 5], &traces[TRACES - 5..]] {
            let request = spans::request(some.iter().flat_map(|trace| traffic(*trace)));
            grpc::export(collector.grpc, &request).await?.accepted()?;
            collector.settle()?;
        }
        let (first, second) = (traces[0], traces[TRACES - 1]);
        let questions = Questions::new(&[first, second]);
        let answers = questions.ask(&collector).await?;
        for (name, answer) in &answers {
            ensure!(answer.status == 200 && !answer.is_partial && answer.body.len() > 50, "{name}: {answer:?}");
        }
        let whole = answers.into_iter().map(|(name, answer)| (name.to_owned(), answer)).collect();
        ensure!(collector.process.stop(SOON)?);
        let shapes = files(&data.join("blocks"), "shapes.parquet")?;
        let block = shapes.first().and_then(|path| path.parent()).context("no block has shapes")?;
        let block = block.strip_prefix(&data)?.to_owned();
        Ok(Self { data, block, questions, of_first: hex::encode(first), of_second: hex::encode(second), whole })
    }

    /// Harms a copy of the store, and asks it everything. Gives the names of the questions whose answers say that something may be
    /// missing, or that have none.
    async fn harmed(&self, dir: &Path, label: &str, harm: impl Fn(&Path) -> Result<()>) -> Result<Vec<String>> {
        let data = dir.join("harmed");
        copy(&self.data, &data)?;
        harm(&data)?;
        let (code, said) = verify(&data)?;
        ensure!(code == Some(1) && said.contains("damaged: "), "{label}: {code:?} {said}");
        let mut collector = starting(|| Collector::start(&data, &FLAGS)).context(label.to_owned())?;
        let mut told = Vec::new();
        let id = self.block.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (name, answer) in self.questions.ask(&collector).await? {
            let before = &self.whole[name];
            let is_refused = answer.status == 0 || answer.status >= 500;
            if answer.is_partial || is_refused {
                ensure!(
                    answer.status == 0 || answer.is_partial || answer.body.contains(&id),
                    "{label}: {name}: {answer:?}"
                );
                told.push(name.to_owned());
            } else {
                ensure!(answer == *before, "{label}: {name}: it says {answer:?}, and without a word of damage");
            }
            // What lies in the other block is all there.
            if name.contains(&self.of_second) && !is_refused {
                ensure!(answer.body.contains("operation 7"), "{label}: {name}: {answer:?}");
            }
        }
        collector_door(&collector).ready()?;
        ensure!(collector.process.stop(SOON)?, "{label}: it did not stop in good order");
        std::fs::remove_dir_all(&data)?;
        Ok(told)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_byte_of_a_block_flips_no_answer_is_wrong_without_saying_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::fill(dir.path()).await?;
    for (name, places) in
        [("spans.parquet", 9), ("shapes.parquet", 5), ("resources.parquet", 3), ("filter.bin", 3), ("meta.json", 3)]
    {
        let path = store.block.join(name);
        let size = std::fs::metadata(store.data.join(&path))?.len() as usize;
        for place in (0..places).map(|part| 4 + (size - 9) * part / (places - 1)) {
            let label = format!("{name}, byte {place} of {size}");
            let told = store.harmed(dir.path(), &label, |data| flip(&data.join(&path), [place].into_iter())).await?;
            // Without its meta or its filter a block is not opened: all answers say so.
            if matches!(name, "filter.bin" | "meta.json") {
                ensure!(told.len() == store.whole.len(), "{label}: only {told:?} say so");
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_pages_of_a_block_are_damaged_every_question_about_it_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::fill(dir.path()).await?;
    let path = store.block.join("spans.parquet");
    let harm = |data: &Path| {
        let path = data.join(&path);
        let bytes = std::fs::read(&path)?;
        let footer = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into()?) as usize;
        // Page indexes lie before the footer; pages are shorter than this where there are so few rows.
        let end = (bytes.len() - 8 - footer) / 2;
        flip(&path, (4..end).step_by(64))
    };
    let told = store.harmed(dir.path(), "all pages", harm).await?;
    for name in [
        "search",
        "metrics",
        "sql",
        "jaeger search",
        &format!("lookup {}", store.of_first),
        &format!("jaeger {}", store.of_first),
    ] {
        ensure!(told.iter().any(|told| told == name), "{name} says nothing: {told:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_lies_is_named_and_not_believed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut collector = starting(|| Collector::start(&dir.path().join("collector"), &FLAGS))?;
    let agent = starting(|| Agent::start(&dir.path().join("agent"), &[collector.url()], &[]))?;
    let mut traces = Vec::new();
    for _ in 0..3 {
        traces.push(spans::id());
        let request = spans::request([spans::span(traces[traces.len() - 1])]);
        grpc::export(agent.grpc, &request).await?.accepted()?;
        agent.wait_sent(SOON)?;
    }
    collector.settle()?;
    ensure!(collector.process.stop(SOON)?);
    let checkpoint = collector.data.join("checkpoint");
    let text = std::fs::read_to_string(&checkpoint)?;
    // [[1,4]] becomes [[1,9]]: batches are said to be durable that never came.
    let ranges = text.find("\"durable\":[[").context("durable ranges")?;
    let place = ranges + text[ranges..].find("]").context("the end of a range")? - 1;
    let mut bytes = text.into_bytes();
    bytes[place] = b'9';
    serde_json::from_slice::<Value>(&bytes)?;
    std::fs::write(&checkpoint, bytes)?;

    let (code, said) = verify(&collector.data)?;
    ensure!(code == Some(1) && said.contains("checkpoint: it is damaged"), "{code:?} {said}");
    collector.restart()?;
    ensure!(
        checkpoint.with_extension("damaged").exists()
            && collector.process.log_text().contains("the checkpoint is damaged")
    );
    for _ in 0..6 {
        traces.push(spans::id());
        let request = spans::request([spans::span(traces[traces.len() - 1])]);
        grpc::export(agent.grpc, &request).await?.accepted()?;
    }
    agent.wait_sent(SOON)?;
    collector.settle()?;
    for trace in &traces {
        let found = crate::support::find(collector.tempo, *trace, 1).await?;
        ensure!(found.len() == 1, "a span is found {} times", found.len());
    }
    agent_door(&agent).ready()?;
    // It is whole again.
    let (code, said) = verify(&collector.data)?;
    ensure!(code == Some(0), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_verify_cannot_look_at_is_no_damage_and_no_whole_store() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::fill(dir.path()).await?;
    let (code, said) = verify(&store.data)?;
    ensure!(code == Some(0), "{said}");
    // A block, and an identity, of programs to come.
    let meta = store.data.join(&store.block).join("meta.json");
    let newer = br#"{"version":1000}"#;
    let sealed = format!(r#"{{"crc32c":"{:08x}","meta":{}}}"#, crc32c::crc32c(newer), String::from_utf8_lossy(newer));
    std::fs::write(&meta, sealed)?;
    std::fs::write(store.data.join("identity"), newer)?;
    let (code, said) = verify(&store.data)?;
    for place in ["meta.json", "identity"] {
        let told =
            said.lines().any(|line| line.starts_with("not seen: ") && line.contains(place) && line.contains("1000"));
        ensure!(told, "{place}: {said}");
    }
    ensure!(code == Some(2) && !said.contains("damaged: "), "{code:?} {said}");
    Ok(())
}
