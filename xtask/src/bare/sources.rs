//! The host's package sources, cut down to Debian's own for one release: a machine's additions (a vendor's
//! repository, say) are no part of a bare Debian. Pure.

/// The suites of a release that a machine follows: the release, its updates, its security fixes.
fn belongs(suite: &str, release: &str) -> bool {
    suite.strip_prefix(release).is_some_and(|rest| matches!(rest, "" | "-updates" | "-security" | "/updates"))
}

/// Reads a file in either of apt's two formats and keeps what belongs to the release, in the same format.
pub fn of_release(text: &str, deb822: bool, release: &str) -> String {
    if deb822 { stanzas(text, release) } else { lines(text, release) }
}

fn lines(text: &str, release: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("deb") {
            continue;
        }
        // `deb [options] URI SUITE COMPONENT...`; options may hold spaces within their brackets.
        let mut in_options = false;
        let mut words = words.filter(|word| {
            let skip = in_options || word.starts_with('[');
            if skip {
                in_options = !word.ends_with(']');
            }
            !skip
        });
        if words.nth(1).is_some_and(|suite| belongs(suite, release)) {
            kept.push_str(line.trim());
            kept.push('\n');
        }
    }
    kept
}

fn stanzas(text: &str, release: &str) -> String {
    let mut kept = String::new();
    for stanza in text.split("\n\n") {
        let suites = stanza.lines().find_map(|line| line.strip_prefix("Suites:")).unwrap_or_default();
        let mut suites = suites.split_whitespace().peekable();
        if suites.peek().is_some() && suites.all(|suite| belongs(suite, release)) {
            kept.push_str(stanza.trim());
            kept.push_str("\n\n");
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_releases_own_suites_are_kept() {
        let text = "\
# comment
deb mirror/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] mirror/security bookworm-security main contrib
deb [ arch=amd64 ] vendor/tool tool-bookworm main
deb-src mirror/debian bookworm main
deb mirror/debian bookworm-backports main
";
        assert_eq!(
            of_release(text, false, "bookworm"),
            "deb mirror/debian bookworm main\n\
             deb [arch=amd64 signed-by=/k.gpg] mirror/security bookworm-security main contrib\n"
        );
    }

    #[test]
    fn stanzas_are_kept_whole() {
        let text = "\
Types: deb
URIs: mirror/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: vendor
Suites: nodistro
Components: main
";
        let kept = of_release(text, true, "bookworm");
        assert!(kept.contains("mirror/debian") && !kept.contains("vendor"), "{kept}");
        assert_eq!(of_release("", true, "bookworm"), "");
    }
}
