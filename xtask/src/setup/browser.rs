//! A browser, in which the HTML report is tried: the system's, or one unpacked under the cache folder.

use super::Bring;
use super::program::{self, Program, Wanted};
use super::store::Set;
use crate::project::Project;
use anyhow::Result;

/// Not the script that a desktop starts, which looks for the program in the system's own folders.
const UNPACKED: &str = "usr/lib/chromium/chromium";

pub(super) const BROWSER: Wanted = Wanted {
    // Programs that speak Chromium's DevTools protocol.
    names: &["chromium", "chromium-browser", "google-chrome"],
    missing: "chromium",
    title: "chromium",
    purpose: "in which the HTML report is tried",
    routes: &["your system's package manager (its Chromium)"],
    set: Set {
        name: "chromium",
        purpose: "the browser that the HTML report is tried in, with the libraries that the system lacks",
        packages: &["chromium"],
        closure: true,
        family: Some("chromium"),
        only: None,
        at_least: None,
        checked: &[UNPACKED],
    },
    unpacked: UNPACKED,
    add: |_, _| {},
};

/// Finds a browser, or brings it.
pub fn need(project: &Project, bring: Bring) -> Result<Program> {
    program::need(project, bring, &BROWSER)
}
