//! OTLP JSON: whatever comes is refused, or becomes a request whose framing is good.
#![no_main]

use clew_common::otlp::{
    json::{self, Ids},
    walk::{self, Flaw, Reason},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = json::to_protobuf(bytes) else { return };
    if let Ok(checked) = walk::check(&request, |_| ()) {
        for bad in checked.bad {
            if let Reason::Span(flaw) | Reason::Scope(flaw) | Reason::Resource(flaw) = bad.reason {
                assert_eq!(flaw, Flaw::TooDeep);
            }
        }
    }
    for ids in [Ids::Hex, Ids::Base64] {
        let text = json::from_protobuf(&request, ids);
        let back = json::to_protobuf(text.as_bytes());
        // Ids of a wrong size are not all that base64 can be told from hex by.
        if ids == Ids::Hex {
            assert_eq!(text, json::from_protobuf(&back.expect("JSON that is read back"), ids));
        }
    }
});
