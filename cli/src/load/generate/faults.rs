//! What goes wrong: exception types, messages and stack traces as the languages' SDKs report them.

use super::{
    encode::Text,
    model::Sort,
    names::{Language, Listed},
    random::Random,
};

/// An exception as an event tells it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) message: Text,
}

/// What can fail in an operation of this sort.
pub(crate) fn fault(language: Language, sort: Sort, call: u64) -> Fault {
    let id = call % 1_000_000;
    let text = Text::new();
    let message = match sort {
        Sort::Sql => text.text("deadlock detected while updating tuple (").number(id).text(",14)"),
        Sort::Cache => text.text("command timed out after ").number(250 + id % 750).text(" ms"),
        Sort::HttpClient | Sort::RpcClient => {
            text.text("upstream did not answer within ").number(id % 9_000).text(" ms")
        }
        Sort::Produce | Sort::Consume => text.text("record ").number(id).text(" could not be decoded: unknown schema"),
        Sort::HttpServer | Sort::RpcServer | Sort::Step => text.text("no rule matches item ").number(id),
    };
    let kinds = match language {
        Language::Java => [
            "org.postgresql.util.PSQLException",
            "java.util.concurrent.TimeoutException",
            "org.apache.kafka.common.errors.SerializationException",
            "java.lang.IllegalStateException",
        ],
        Language::Go => ["*pq.Error", "context.deadlineExceededError", "*serde.SchemaError", "*errors.errorString"],
        Language::Python => {
            ["psycopg.errors.DeadlockDetected", "asyncio.exceptions.TimeoutError", "ValueError", "KeyError"]
        }
        Language::Node => ["MongoServerError", "TimeoutError", "SyntaxError", "TypeError"],
        Language::DotNet => [
            "Microsoft.Data.SqlClient.SqlException",
            "System.TimeoutException",
            "Confluent.Kafka.ConsumeException",
            "System.InvalidOperationException",
        ],
        Language::Rust => ["sqlx::Error::Database", "tokio::time::error::Elapsed", "serde_json::Error", "shop::Error"],
    };
    let kind = match sort {
        Sort::Sql => kinds[0],
        Sort::Cache | Sort::HttpClient | Sort::RpcClient => kinds[1],
        Sort::Produce | Sort::Consume => kinds[2],
        Sort::HttpServer | Sort::RpcServer | Sort::Step => kinds[3],
    };
    Fault { kind, message }
}

/// Writes a stack trace of five to eleven frames, as the language prints it.
pub(crate) fn stack_trace(out: &mut Vec<u8>, of: &Listed, fault: &Fault, random: &mut Random) {
    const FRAMES: [&str; 8] =
        ["handle", "dispatch", "execute", "loadAll", "withRetry", "applyRules", "invoke", "runInTransaction"];
    let frames = 5 + random.below(7);
    let message = fault.message.as_ref();
    match of.language {
        Language::Go => {
            push(out, &[b"goroutine ", Text::new().number(random.bits() % 90_000).as_ref(), b" [running]:\n"])
        }
        Language::Python => push(out, &[b"Traceback (most recent call last):\n"]),
        _ => push(out, &[fault.kind.as_bytes(), b": ", message, b"\n"]),
    }
    for frame in 0..frames {
        let name = random.pick(&FRAMES).as_bytes();
        let line = Text::new().number(10 + random.bits() % 600);
        let (line, namespace, entity) = (line.as_ref(), of.namespace.as_bytes(), of.entity.as_bytes());
        let module = [entity, b"repository", b"http", b"client"][frame % 4];
        match of.language {
            Language::Java => {
                push(out, &[b"\tat com.example.shop.", namespace, b".", module, b".", name, b"(", entity]);
                push(out, &[b".java:", line, b")\n"]);
            }
            Language::Go => {
                push(out, &[b"shop/internal/", namespace, b"/", module, b".(*Server).", name, b"(0xc000"]);
                push(out, &[Text::new().hex(random.bits(), 6).as_ref(), b")\n\t/src/internal/", module]);
                push(out, &[b"/", entity, b".go:", line, b" +0x", Text::new().hex(random.bits(), 3).as_ref(), b"\n"]);
            }
            Language::Python => {
                push(out, &[b"  File \"/app/", namespace, b"/", module, b".py\", line ", line, b", in "]);
                push(out, &[name, b"\n    return await self.", name, b"(", entity, b")\n"]);
            }
            Language::Node => {
                push(out, &[b"    at async ", name, b" (/app/dist/", namespace, b"/", module, b".js:", line]);
                push(out, &[b":17)\n"]);
            }
            Language::DotNet => {
                push(out, &[b"   at Shop.", namespace, b".", module, b".", name, b"() in /src/", module]);
                push(out, &[b".cs:line ", line, b"\n"]);
            }
            Language::Rust => {
                push(out, &[b"  ", Text::new().number(frame as u64).as_ref(), b": shop::", namespace, b"::", module]);
                push(out, &[b"::", name, b"\n             at ./src/", module, b".rs:", line, b":9\n"]);
            }
        }
    }
    if of.language == Language::Python {
        push(out, &[fault.kind.as_bytes(), b": ", message, b"\n"]);
    }
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
