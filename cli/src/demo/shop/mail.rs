//! `mail`: tells shoppers about their orders, some time after.

use std::time::Duration;

use opentelemetry::{KeyValue, trace::SpanKind};

use super::{
    database::work,
    queue::Consumer,
    telemetry::{self, Telemetry, set},
};

/// A mail to be written.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) order: String,
    pub(crate) cents: i64,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Mailer {
    pub(crate) telemetry: Telemetry,
    pub(crate) mails: Consumer<Mail>,
}

impl Mailer {
    /// Writes mails until there will be no more.
    pub(crate) async fn run(mut self) {
        while let Some(batch) = self.mails.receive().await {
            for message in &batch.messages {
                let context = self.mails.processing(message, batch.received());
                telemetry::run(context, self.write(&message.body)).await;
            }
        }
    }

    async fn write(&self, mail: &Mail) {
        set("shop.order.id", mail.order.clone());
        set("shop.order.cents", mail.cents);
        let template = KeyValue::new("shop.template", "order-confirmation");
        let render = telemetry::span("render template", SpanKind::Internal, [template]);
        self.telemetry.within(render, work(Duration::from_millis(3))).await;
        let server = [
            KeyValue::new("server.address", "smtp.shop.internal"),
            KeyValue::new("server.port", 587),
            KeyValue::new("network.protocol.name", "smtp"),
            KeyValue::new("user.id", mail.to.clone()),
        ];
        let send = telemetry::span("send mail", SpanKind::Client, server);
        self.telemetry.within(send, work(Duration::from_millis(30))).await;
    }
}
