//! The report as one file: style, code and data in it, and nothing that is fetched.

use super::data::Data;
use anyhow::{Result, ensure};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPTS: [&str; 6] = [
    include_str!("page/base.js"),
    include_str!("page/rings.js"),
    include_str!("page/charts.js"),
    include_str!("page/timeline.js"),
    include_str!("page/walk.js"),
    include_str!("page/main.js"),
];

/// Most stretches of a timeline that the page has: more than anybody reads, few enough for a file that can be sent around.
const MOST: usize = 6000;

/// The page.
pub fn of(data: &Data) -> Result<String> {
    ensure!(!data.timelines.is_empty(), "nothing was counted: there is nothing to report");
    // No text of the data's can end the element that it stands in.
    let json = data.to_json(MOST).to_string().replace('<', "\\u003c");
    Ok(PAGE
        .replace("/*STYLE*/", STYLE)
        .replace("/*SCRIPT*/", &SCRIPTS.join("\n"))
        .replacen("/*DATA*/", &json, 1))
}

#[cfg(test)]
mod tests {
    use super::super::data::tests::sample;
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_page_needs_nothing_else() {
        let page = of(&sample()).unwrap();
        for outside in ["src=", "@import", "fetch(", "XMLHttpRequest", "https://", "import("] {
            assert!(!page.contains(outside), "{outside}");
        }
        // The one address is the name of a vocabulary, which nobody fetches.
        assert_eq!(page.matches("http://").count(), page.matches("http://www.w3.org/2000/svg").count());
        assert!(page.contains("default-src 'none'"));
        assert!(!page.contains("/*STYLE*/") && !page.contains("/*SCRIPT*/") && !page.contains("/*DATA*/"));
    }

    #[test]
    fn data_cannot_end_its_element() {
        let page = of(&sample()).unwrap();
        assert_eq!(page.matches("</script>").count(), 2, "the data's and the code's");
        assert!(!page.contains("<b>made"));
        let from = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
        let to = from + page[from..].find("</script>").unwrap();
        let data: Value = serde_json::from_str(&page[from..to]).unwrap();
        assert_eq!(data["made"], "</script><b>made by a test</b>");
        assert_eq!(data["rows"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn nothing_is_no_report() {
        assert!(of(&Data::default()).is_err());
    }
}
