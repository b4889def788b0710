//! What Grafana asks before it asks for traces.

use anyhow::Result;
use clew_integration_tests::{get, shop::Shop};

#[tokio::test(flavor = "multi_thread")]
async fn grafana_finds_what_it_takes_for_a_new_tempo() -> Result<()> {
    let shop = Shop::open(&[])?;
    for (port, prefix) in [(shop.collector.tempo, ""), (shop.collector.web, "/tempo")] {
        assert_eq!(get(port, &format!("{prefix}/api/echo")), Some((200, "echo".to_owned())));
        assert_eq!(get(port, &format!("{prefix}/ready")), Some((200, "ready\n".to_owned())));
        let (status, text) = get(port, &format!("{prefix}/api/status/buildinfo")).unwrap_or_default();
        let info: serde_json::Value = serde_json::from_str(&text)?;
        let version: Vec<u32> = info["version"].as_str().unwrap_or_default().split('.').flat_map(str::parse).collect();
        // From 2.2 on Grafana uses TraceQL and streams, if it is told to.
        assert!(status == 200 && version.len() == 3 && version >= vec![2, 2, 0], "{text}");
        let (status, _) = get(port, &format!("{prefix}/api/nothing")).unwrap_or_default();
        assert_eq!(status, 404);
    }
    Ok(())
}
