//! What a browser makes of a report: everything is pressed, and nothing may go wrong.

use super::browser::Browser;
use anyhow::{Result, ensure};
use serde_json::Value;

const CHECK: &str = include_str!("check.js");

/// Presses everything in the page that is open. Gives what was seen, in words.
pub fn all(browser: &mut Browser) -> Result<String> {
    let result = browser.run(CHECK);
    let mut faults = told(&browser.events());
    let mut sums = String::new();
    match result {
        Ok(seen) => {
            faults.extend(
                seen["faults"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned),
            );
            let count = |what: &str| seen[what].as_u64().unwrap_or_default();
            sums = format!(
                "{} tabs, {} charts, {} timelines with {} stretches; {} presses; no console error, nothing fetched",
                count("tabs"),
                count("charts"),
                count("timelines"),
                count("stretches"),
                count("presses")
            );
            ensure!(count("charts") > 0 && count("presses") > 0, "nothing was pressed: {sums}");
        }
        Err(error) => faults.push(format!("{error:#}")),
    }
    ensure!(faults.is_empty(), "{} faults in the report:\n{}", faults.len(), some(&faults));
    Ok(sums)
}

/// As many as a reader needs.
fn some(faults: &[String]) -> String {
    let mut lines: Vec<String> = faults.iter().take(20).cloned().collect();
    if faults.len() > lines.len() {
        lines.push(format!("and {} more", faults.len() - lines.len()));
    }
    lines.join("\n")
}

/// What is wrong among a browser's events: errors and warnings of the console, exceptions, requests for anything but the file
/// itself.
pub fn told(events: &[Value]) -> Vec<String> {
    let fault = |event: &Value| {
        let of = &event["params"];
        match event["method"].as_str()? {
            "Runtime.exceptionThrown" => {
                let thrown = &of["exceptionDetails"];
                let text = thrown["exception"]["description"].as_str().or(thrown["text"].as_str());
                Some(format!("exception: {}", text.unwrap_or("of no text")))
            }
            "Runtime.consoleAPICalled" if ["error", "warning", "assert"].contains(&of["type"].as_str()?) => {
                Some(format!("console {}: {}", of["type"], of["args"]))
            }
            "Log.entryAdded" if ["error", "warning"].contains(&of["entry"]["level"].as_str()?) => {
                Some(format!("log: {}", of["entry"]["text"]))
            }
            "Network.loadingFailed" => Some(format!("a request failed: {}", of["errorText"])),
            "Network.requestWillBeSent" => {
                let address = of["request"]["url"].as_str()?;
                let own = ["file:", "data:", "about:"].iter().any(|kind| address.starts_with(kind));
                (!own).then(|| format!("a request for {address}"))
            }
            _ => None,
        }
    };
    events.iter().filter_map(fault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_goes_wrong_is_told() {
        let event = |method: &str, of: Value| json!({"method": method, "params": of});
        let bad = [
            event(
                "Runtime.exceptionThrown",
                json!({"exceptionDetails": {"text": "Uncaught", "exception": {"description": "TypeError: x"}}}),
            ),
            event("Runtime.consoleAPICalled", json!({"type": "error", "args": [{"value": "bad"}]})),
            event("Log.entryAdded", json!({"entry": {"level": "error", "text": "refused"}})),
            event("Network.requestWillBeSent", json!({"request": {"url": "http://example.org/"}})),
            event("Network.loadingFailed", json!({"errorText": "net::ERR_FAILED"})),
        ];
        let told = told(&bad);
        assert_eq!(told.len(), bad.len(), "{told:?}");
        assert_eq!(told[0], "exception: TypeError: x");
        let good = [
            event("Runtime.consoleAPICalled", json!({"type": "log", "args": []})),
            event("Network.requestWillBeSent", json!({"request": {"url": "file:///report.html"}})),
            event("Page.loadEventFired", json!({})),
            json!({"id": 3}),
        ];
        assert_eq!(super::told(&good), [""; 0]);
    }

    #[test]
    fn a_flood_of_faults_is_cut() {
        let faults: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert!(some(&faults).ends_with("19\nand 30 more"));
    }
}
