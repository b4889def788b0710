//! The words that a corpus is made of: services, libraries, places, callers.

/// What a service is written in; decides its libraries and the look of its stack traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Java,
    Go,
    Python,
    Node,
    DotNet,
    Rust,
}

/// How a service is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

/// A service as it is listed here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed {
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) language: Language,
    pub(crate) protocol: Protocol,
    /// What it keeps and serves; also the name of its table.
    pub(crate) entity: &'static str,
    pub(crate) database: &'static str,
}

const fn listed(
    name: &'static str,
    namespace: &'static str,
    language: Language,
    protocol: Protocol,
    entity: &'static str,
    database: &'static str,
) -> Listed {
    Listed { name, namespace, language, protocol, entity, database }
}

/// How many services at the front of the list take requests from outside.
pub(crate) const ENTRIES: usize = 6;

/// Services call only services further down.
pub(crate) const SERVICES: [Listed; 40] = {
    use Language::{DotNet, Go, Java, Node, Python, Rust};
    use Protocol::{Grpc, Http};
    [
        listed("edge-gateway", "edge", Go, Http, "route", "postgresql"),
        listed("web-frontend", "edge", Node, Http, "page", "mongodb"),
        listed("mobile-bff", "edge", Node, Http, "screen", "mongodb"),
        listed("graphql-api", "edge", Node, Http, "document", "mongodb"),
        listed("partner-api", "edge", Java, Http, "partner", "postgresql"),
        listed("admin-portal", "edge", DotNet, Http, "setting", "microsoft.sql_server"),
        listed("checkout", "sales", Go, Grpc, "checkout", "postgresql"),
        listed("cart", "sales", DotNet, Grpc, "cart", "microsoft.sql_server"),
        listed("catalog", "goods", Java, Http, "product", "postgresql"),
        listed("product-search", "goods", Rust, Grpc, "hit", "postgresql"),
        listed("recommendation", "goods", Python, Grpc, "suggestion", "postgresql"),
        listed("pricing", "sales", Rust, Grpc, "price", "postgresql"),
        listed("promotions", "sales", Python, Http, "promotion", "mysql"),
        listed("orders", "sales", Java, Http, "order", "postgresql"),
        listed("order-history", "sales", Java, Http, "order_event", "cassandra"),
        listed("payment", "money", Java, Grpc, "payment", "oracle.db"),
        listed("wallet", "money", Go, Grpc, "balance", "postgresql"),
        listed("invoicing", "money", DotNet, Http, "invoice", "microsoft.sql_server"),
        listed("tax", "money", Python, Http, "tax_rule", "mysql"),
        listed("fraud-detection", "money", Python, Grpc, "verdict", "postgresql"),
        listed("inventory", "goods", Go, Grpc, "stock_item", "mysql"),
        listed("warehouse", "goods", Java, Http, "pallet", "postgresql"),
        listed("shipping", "parcels", Rust, Http, "shipment", "postgresql"),
        listed("shipping-quotes", "parcels", Go, Http, "quote", "mysql"),
        listed("returns", "parcels", DotNet, Http, "return_case", "microsoft.sql_server"),
        listed("accounts", "people", Java, Grpc, "account", "postgresql"),
        listed("profiles", "people", Node, Http, "profile", "mongodb"),
        listed("loyalty", "people", Python, Http, "membership", "mysql"),
        listed("reviews", "people", Node, Http, "review", "mongodb"),
        listed("wishlist", "people", Go, Http, "wish", "mysql"),
        listed("auth", "platform", Go, Grpc, "token", "postgresql"),
        listed("sessions", "platform", Rust, Grpc, "session", "postgresql"),
        listed("feature-flags", "platform", Go, Grpc, "flag", "postgresql"),
        listed("notifications", "messages", Node, Http, "notice", "mongodb"),
        listed("email", "messages", Python, Http, "letter", "mysql"),
        listed("sms-sender", "messages", Go, Http, "sms", "mysql"),
        listed("media", "assets", Go, Http, "asset", "postgresql"),
        listed("image-resizer", "assets", Rust, Http, "thumbnail", "postgresql"),
        listed("analytics-ingest", "insight", Java, Http, "fact", "cassandra"),
        listed("audit-log", "insight", Java, Grpc, "audit_entry", "cassandra"),
    ]
};

impl Language {
    /// `telemetry.sdk.language`.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Java => "java",
            Self::Go => "go",
            Self::Python => "python",
            Self::Node => "nodejs",
            Self::DotNet => "dotnet",
            Self::Rust => "rust",
        }
    }

    /// Suffix of source files.
    pub(crate) fn source_suffix(self) -> &'static str {
        match self {
            Self::Java => ".java",
            Self::Go => ".go",
            Self::Python => ".py",
            Self::Node => ".ts",
            Self::DotNet => ".cs",
            Self::Rust => ".rs",
        }
    }

    /// Names and version of the instrumentation scopes, by [`super::model::Scope`].
    pub(crate) fn scopes(self) -> ([&'static str; 7], &'static str) {
        match self {
            Self::Java => (
                [
                    "io.opentelemetry.tomcat-10.0",
                    "io.opentelemetry.java-http-client",
                    "io.opentelemetry.grpc-1.6",
                    "io.opentelemetry.jdbc",
                    "io.opentelemetry.lettuce-5.1",
                    "io.opentelemetry.kafka-clients-2.6",
                    "com.example.shop",
                ],
                "2.20.1-alpha",
            ),
            Self::Go => (
                [
                    "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp/server",
                    "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
                    "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc",
                    "github.com/XSAM/otelsql",
                    "github.com/redis/go-redis/extra/redisotel",
                    "github.com/twmb/franz-go/plugin/kotel",
                    "shop/internal",
                ],
                "0.63.0",
            ),
            Self::Python => (
                [
                    "opentelemetry.instrumentation.fastapi",
                    "opentelemetry.instrumentation.httpx",
                    "opentelemetry.instrumentation.grpc",
                    "opentelemetry.instrumentation.psycopg",
                    "opentelemetry.instrumentation.redis",
                    "opentelemetry.instrumentation.aiokafka",
                    "shop.app",
                ],
                "0.58b0",
            ),
            Self::Node => (
                [
                    "@opentelemetry/instrumentation-http",
                    "@opentelemetry/instrumentation-undici",
                    "@opentelemetry/instrumentation-grpc",
                    "@opentelemetry/instrumentation-mongodb",
                    "@opentelemetry/instrumentation-ioredis",
                    "@opentelemetry/instrumentation-kafkajs",
                    "shop-app",
                ],
                "0.205.0",
            ),
            Self::DotNet => (
                [
                    "Microsoft.AspNetCore",
                    "System.Net.Http",
                    "Grpc.Net.Client",
                    "OpenTelemetry.Instrumentation.SqlClient",
                    "OpenTelemetry.Instrumentation.StackExchangeRedis",
                    "Confluent.Kafka.Extensions.Diagnostics",
                    "Shop.App",
                ],
                "9.0.9",
            ),
            Self::Rust => (
                ["axum-tracing-opentelemetry", "reqwest-tracing", "tonic-tracing", "sqlx", "fred", "rdkafka", "shop"],
                "0.31.0",
            ),
        }
    }
}

/// Regions, each with its zones `a` to `c`.
pub(crate) const REGIONS: [&str; 3] = ["eu-central-1", "us-east-1", "ap-southeast-2"];

/// What calls from outside.
pub(crate) const USER_AGENTS: [&str; 9] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
    "ShopApp/8.14.2 (Android 16; Pixel 9)",
    "ShopApp/8.13.0 (iOS 18.6; iPhone16,2)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "python-httpx/0.28.1",
    "Go-http-client/2.0",
    "okhttp/5.1.0",
];

/// Names of steps within a service.
pub(crate) const STEPS: [&str; 8] = [
    "validate request",
    "load configuration",
    "authorize",
    "map result",
    "render template",
    "apply rules",
    "serialize response",
    "compute totals",
];

/// Names of variants in an experiment.
pub(crate) const VARIANTS: [&str; 5] = ["control", "blue-button", "one-page", "fast-lane", "no-upsell"];
