//! `payment`: takes the money, over gRPC. Asks the bank, again when it is overloaded.

use std::time::Duration;

use axum::Router;
use http::StatusCode;
use opentelemetry::{KeyValue, trace::SpanKind};
use prost::Message;
use tonic::Status;

use super::{
    bank::{self, Authorisation, Question},
    client::{CallError, Client, Peer},
    database::work,
    exception, rpc,
    telemetry::{self, Telemetry, event, set},
};

/// The method's path.
pub(crate) const CHARGE: &str = "/shop.v1.Payment/Charge";

/// How often the bank is asked.
const ATTEMPTS: u32 = 3;

/// Asks for money.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Charge {
    #[prost(string, tag = "1")]
    pub(crate) order: String,
    #[prost(string, tag = "2")]
    pub(crate) card: String,
    #[prost(int64, tag = "3")]
    pub(crate) cents: i64,
}

/// It was paid.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Receipt {
    #[prost(string, tag = "1")]
    pub(crate) authorisation: String,
}

/// Why there is no money.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PaymentError {
    #[error("the bank declined the card")]
    Declined(#[source] CallError),
    #[error("the bank's gateway gave no answer in {ATTEMPTS} attempts")]
    Unreachable(#[source] CallError),
}

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Payments {
    pub(crate) telemetry: Telemetry,
    pub(crate) client: Client,
    pub(crate) bank: Peer,
}

impl Payments {
    /// What it serves.
    pub(crate) fn router(self) -> Router {
        let telemetry = self.telemetry.clone();
        rpc::method(&telemetry, CHARGE, move |charge| {
            let payments = self.clone();
            async move { payments.charge(charge).await }
        })
    }

    async fn charge(&self, charge: Charge) -> Result<Receipt, Status> {
        set("shop.order.id", charge.order.clone());
        set("shop.payment.cents", charge.cents);
        let span = telemetry::span("assess fraud risk", SpanKind::Internal, []);
        self.telemetry
            .within(span, async {
                work(Duration::from_millis(8)).await;
                set("shop.fraud.score", rand::random_range(0.0..0.3));
            })
            .await;
        let paid = self.ask_bank(charge).await;
        paid.map(|Authorisation { code }| Receipt { authorisation: code }).map_err(|error| {
            exception::record(&error);
            match error {
                PaymentError::Declined(_) => Status::failed_precondition(error.to_string()),
                PaymentError::Unreachable(_) => Status::unavailable(error.to_string()),
            }
        })
    }

    async fn ask_bank(&self, charge: Charge) -> Result<Authorisation, PaymentError> {
        let mut question = Question { card: charge.card, cents: charge.cents, attempt: 0 };
        loop {
            let attempt = question.attempt;
            let error = match self.client.post_again(self.bank, bank::PATH, &question, attempt).await {
                Ok(authorisation) => return Ok(authorisation),
                Err(error) => error,
            };
            if error.status() == Some(StatusCode::PAYMENT_REQUIRED) {
                return Err(PaymentError::Declined(error));
            }
            question.attempt += 1;
            if question.attempt == ATTEMPTS {
                return Err(PaymentError::Unreachable(error));
            }
            let pause = Duration::from_millis(40 << attempt);
            event(
                "retry",
                [
                    KeyValue::new("shop.retry.attempt", i64::from(question.attempt)),
                    KeyValue::new("shop.retry.pause_ms", pause.as_millis() as i64),
                    KeyValue::new("shop.retry.reason", error.to_string()),
                ],
            );
            tokio::time::sleep(pause).await;
        }
    }
}
