//! The book's pictures of the report.

use super::browser::Browser;
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::path::Path;

/// Largest picture, in bytes: the book is read over slow lines too.
const LARGEST: usize = 200_000;

/// Width of the window, and the most that a picture shows of the page's height, in pixels.
const WINDOW: (u32, u32) = (1180, 920);

/// File, place in the report, whether dark.
const SHOTS: [(&str, &str, bool); 7] = [
    ("report-overview.png", "overview", false),
    ("report-operation.png", "operations/null-syscall", false),
    ("report-machine.png", "machines/trap/times%20native/by%20size", false),
    ("report-entries.png", "entries/trap/shares", false),
    ("report-timeline.png", "timelines/null-syscall/pv-ring3", false),
    ("report-timelines-dark.png", "timelines/null-syscall/one%20above%20the%20other", true),
    ("report-walk.png", "walks/1", false),
];

/// Takes all of them into a folder.
pub fn all(browser: &mut Browser, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for (file, place, dark) in SHOTS {
        let picture = one(browser, place, dark).with_context(|| format!("a picture of {place}"))?;
        ensure!(picture.len() < LARGEST, "{file} would have {} bytes", picture.len());
        std::fs::write(folder.join(file), &picture).with_context(|| format!("writing {file}"))?;
        println!("{}: {} bytes", folder.join(file).display(), picture.len());
    }
    Ok(())
}

fn one(browser: &mut Browser, place: &str, dark: bool) -> Result<Vec<u8>> {
    let (width, height) = WINDOW;
    let window = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
    browser.ask("Emulation.setDeviceMetricsOverride", window)?;
    // A timeline shows its first entry chosen, so that one sees what is told of it.
    let code = format!(
        "(async () => {{ paint({dark}); location.hash = '{place}'; await new Promise((done) => setTimeout(done, 300)); \
         for (const next of document.querySelectorAll('[data-do=\"▶\"]')) {{ next.click(); next.click(); }} \
         document.activeElement.blur(); scrollTo(0, 0); await new Promise((done) => setTimeout(done, 100)); \
         return document.body.scrollHeight; }})()"
    );
    let tall = browser.run(&code)?.as_u64().context("no height")?;
    let clip = json!({"x": 0, "y": 0, "width": width, "height": tall.min(u64::from(height)), "scale": 1});
    let answer = browser
        .ask("Page.captureScreenshot", json!({"format": "png", "clip": clip, "optimizeForSpeed": false}))?;
    base64(answer["data"].as_str().context("no picture")?)
}

/// The bytes of a text in base 64 (RFC 4648, section 4).
fn base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("{letter:#x} is no letter of base 64"),
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn base_64_is_read() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(base64("+/8=").unwrap(), [0xfb, 0xff]);
        assert!(base64("Zm9v!").is_err());
    }
}
