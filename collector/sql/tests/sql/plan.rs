//! What comes before rows, and what ends them.

use std::{sync::Arc, time::Duration};

use clew_query::exec::{Budget, Cache, Spans};
use clew_sql::{ParamValues, Session, SqlError};
use datafusion::common::ScalarValue;
use futures_util::TryStreamExt;

use super::{
    ask::{LIMITS, session},
    shop::shop,
    store,
};

#[test]
fn a_spent_budget_ends_a_query() {
    store::ask(&shop(), 1, |snapshot| {
        let (budget, client) = Budget::new(Duration::from_secs(60));
        let spans = Arc::new(Spans::open(snapshot, &Cache::new(1 << 20), &budget).unwrap());
        let session = Session::open(spans, budget, LIMITS).unwrap();
        drop(client);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(async {
            let rows = session.plan("SELECT name FROM spans", None).await?.run().await?;
            rows.try_collect::<Vec<_>>().await.map_err(SqlError::from)
        });
        assert!(matches!(answer, Err(SqlError::Stopped(_))), "{answer:?}");
    });
}

#[test]
fn parameters_stand_for_numbers_and_for_question_marks() {
    let values = |query: &'static str, values: Vec<ScalarValue>| {
        store::ask(&shop(), 1, move |snapshot| {
            let session = session(snapshot, LIMITS);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let planned = session.plan(query, None).await?;
                let names: Vec<_> = planned.parameters()?.fields().iter().map(|field| field.name().clone()).collect();
                let planned = session.plan(query, Some(ParamValues::from(values.clone()))).await?;
                let batches: Vec<_> = planned.run().await?.try_collect().await?;
                let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
                Ok::<_, SqlError>((names, rows))
            })
        })
    };
    let (web, long) = (ScalarValue::from("web"), ScalarValue::from(2_000_000_i64));
    let two = |names: [&str; 2], rows| Ok((names.map(str::to_owned).to_vec(), rows));
    let both = vec![web.clone(), long.clone()];
    assert_eq!(
        values("SELECT '?' FROM spans WHERE service_name = $1 AND duration > $2", both.clone()),
        two(["$1", "$2"], 1)
    );
    assert_eq!(values("SELECT '?' FROM spans WHERE duration > $2 AND service_name = $1", both), two(["$1", "$2"], 1));
    let query = "SELECT '?', \"name\" /* ? */ FROM spans WHERE service_name = ? AND duration > ? -- ?";
    assert_eq!(values(query, vec![web.clone(), long]), two(["$1", "$2"], 1));
    assert!(matches!(values(query, vec![web.clone()]), Err(SqlError::Invalid(_))));
    assert!(matches!(values("SELECT $1", vec![web.clone(), web]), Err(SqlError::Invalid(_))));
}
