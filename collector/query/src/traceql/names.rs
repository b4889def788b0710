//! The names of what every span has.

use super::ast::Intrinsic;

/// All of them. Each has one name under which answers show it; the parser knows more of them by their old spelling too.
pub const INTRINSICS: [Intrinsic; 22] = [
    Intrinsic::Duration,
    Intrinsic::Name,
    Intrinsic::Status,
    Intrinsic::StatusMessage,
    Intrinsic::Kind,
    Intrinsic::ChildCount,
    Intrinsic::Parent,
    Intrinsic::SpanId,
    Intrinsic::SpanParentId,
    Intrinsic::TraceId,
    Intrinsic::TraceDuration,
    Intrinsic::RootName,
    Intrinsic::RootService,
    Intrinsic::EventName,
    Intrinsic::EventTimeSinceStart,
    Intrinsic::LinkTraceId,
    Intrinsic::LinkSpanId,
    Intrinsic::InstrumentationName,
    Intrinsic::InstrumentationVersion,
    Intrinsic::NestedSetLeft,
    Intrinsic::NestedSetRight,
    Intrinsic::NestedSetParent,
];

impl Intrinsic {
    /// The name that answers use, in canonical text, labels and selected fields: Tempo's own, which is the old spelling
    /// where there is one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Name => "name",
            Self::Status => "status",
            Self::StatusMessage => "statusMessage",
            Self::Kind => "kind",
            Self::ChildCount => "childCount",
            Self::Parent => "parent",
            Self::SpanId => "span:id",
            Self::SpanParentId => "span:parentID",
            Self::TraceId => "trace:id",
            Self::TraceDuration => "traceDuration",
            Self::RootName => "rootName",
            Self::RootService => "rootServiceName",
            Self::EventName => "event:name",
            Self::EventTimeSinceStart => "event:timeSinceStart",
            Self::LinkTraceId => "link:traceID",
            Self::LinkSpanId => "link:spanID",
            Self::InstrumentationName => "instrumentation:name",
            Self::InstrumentationVersion => "instrumentation:version",
            Self::NestedSetLeft => "nestedSetLeft",
            Self::NestedSetRight => "nestedSetRight",
            Self::NestedSetParent => "nestedSetParent",
        }
    }

    /// The scoped spelling of those that have an old one.
    #[must_use]
    pub fn scoped_name(self) -> &'static str {
        match self {
            Self::Duration => "span:duration",
            Self::Name => "span:name",
            Self::Status => "span:status",
            Self::StatusMessage => "span:statusMessage",
            Self::Kind => "span:kind",
            Self::ChildCount => "span:childCount",
            Self::TraceDuration => "trace:duration",
            Self::RootName => "trace:rootName",
            Self::RootService => "trace:rootService",
            other => other.name(),
        }
    }

    /// The one with this name in either spelling.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        INTRINSICS.into_iter().find(|intrinsic| intrinsic.name() == name || intrinsic.scoped_name() == name)
    }

    /// A text with which this field is compared, as ids are written: in small letters, with the zeros before it that people
    /// leave out. Of other fields the text as it is.
    #[must_use]
    pub fn full_id(self, text: &str) -> String {
        let digits = match self {
            Self::SpanId | Self::SpanParentId | Self::LinkSpanId => 16,
            Self::TraceId | Self::LinkTraceId => 32,
            _ => return text.to_owned(),
        };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return text.to_owned();
        }
        format!("{:0>digits$}", text.to_ascii_lowercase())
    }

    /// The scoped names that begin with `scope:`.
    pub(super) fn names_in(scope: &str) -> Vec<&'static str> {
        let names = INTRINSICS.into_iter().map(Self::scoped_name);
        names.filter(|name| name.split_once(':').is_some_and(|(of, _)| of == scope)).collect()
    }
}
