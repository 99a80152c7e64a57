//! Paths of nodes.

use alloc::format;
use alloc::string::String;

use paravane_abi::errno::Errno;
use paravane_abi::io::xenstore::{XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX};

use crate::addr::DomainId;

/// A path from the root, in the one form that it has: `/`, or names each behind a slash. Xen's two names for events that
/// are no node's (`@introduceDomain`, `@releaseDomain`) are paths too, which only watches take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(String);

impl Path {
    /// A path as a domain gives it: from the root, or from the domain's own folder.
    ///
    /// # Errors
    /// EINVAL, as Xen's: too long, empty, with an empty name in it, a slash at its end, or a byte that no name has.
    pub fn parse(text: &[u8], domain: DomainId) -> Result<Self, Errno> {
        let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let absolute = text.starts_with('/');
        let (names, most) =
            if absolute { (&text[1..], XENSTORE_ABS_PATH_MAX) } else { (text, XENSTORE_REL_PATH_MAX) };
        let fits = !text.is_empty() && text.len() <= most;
        if !fits || !(text == "/" || names.split('/').all(is_name)) {
            return Err(Errno::EINVAL);
        }
        Ok(if absolute { Self(text.into()) } else { Self(format!("{}/{text}", Self::home(domain).0)) })
    }

    /// As [`Self::parse`], of what is to be watched.
    pub fn parse_watched(text: &[u8], domain: DomainId) -> Result<Self, Errno> {
        match text {
            b"@introduceDomain" => Ok(Self("@introduceDomain".into())),
            b"@releaseDomain" => Ok(Self("@releaseDomain".into())),
            _ if text.starts_with(b"@") => Err(Errno::EINVAL),
            _ => Self::parse(text, domain),
        }
    }

    /// The root.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// A domain's folder.
    pub fn home(domain: DomainId) -> Self {
        Self(format!("/local/domain/{}", domain.0))
    }

    /// The node of a name below this one.
    pub fn join(&self, name: &str) -> Self {
        if self.0 == "/" { Self(format!("/{name}")) } else { Self(format!("{}/{name}", self.0)) }
    }

    /// The names on the way from the root.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The node above and this one's name there; none for the root.
    pub fn parent(&self) -> Option<(Self, &str)> {
        let (above, name) = self.0.rsplit_once('/')?;
        if name.is_empty() {
            return None;
        }
        Some((Self(if above.is_empty() { "/".into() } else { above.into() }), name))
    }

    /// Whether it is `other` or lies below it.
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        match self.0.strip_prefix(other.0.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || other.0 == "/",
            None => false,
        }
    }

    /// The text from the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as a domain sees it that speaks of its own folder's nodes by short names.
    pub fn relative_to(&self, domain: DomainId) -> &str {
        let home = Self::home(domain);
        self.0.strip_prefix(home.0.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&self.0)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: DomainId = DomainId(7);

    fn path(text: &str) -> Path {
        Path::parse(text.as_bytes(), D).unwrap()
    }

    #[test]
    fn paths_are_from_the_root_or_from_home() {
        assert_eq!(path("/").as_str(), "/");
        assert_eq!(path("/local/domain/0").as_str(), "/local/domain/0");
        assert_eq!(path("memory/target").as_str(), "/local/domain/7/memory/target");
        assert_eq!(path("memory").relative_to(D), "memory");
        assert_eq!(path("/local/domain/70/a").relative_to(D), "/local/domain/70/a");
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "//", "/a/", "a/", "a//b", "/a b", "a\u{e9}", "a|b", ".", "@releaseDomain/x"] {
            let result = Path::parse(bad.as_bytes(), D);
            assert_eq!(result.is_err(), bad != "@releaseDomain/x", "{bad:?}");
        }
        assert_eq!(Path::parse(b"a\xff", D), Err(Errno::EINVAL));
        let long = "a".repeat(XENSTORE_REL_PATH_MAX + 1);
        assert_eq!(Path::parse(long.as_bytes(), D), Err(Errno::EINVAL));
        assert!(Path::parse(&long.as_bytes()[1..], D).is_ok());
        assert!(Path::parse(format!("/{long}").as_bytes(), D).is_ok());
        assert_eq!(
            Path::parse(format!("/{}", "a".repeat(XENSTORE_ABS_PATH_MAX)).as_bytes(), D),
            Err(Errno::EINVAL)
        );
    }

    #[test]
    fn two_names_can_be_watched_that_are_no_nodes() {
        assert!(Path::parse_watched(b"@introduceDomain", D).is_ok());
        assert!(Path::parse_watched(b"@releaseDomain", D).is_ok());
        assert_eq!(Path::parse_watched(b"@other", D), Err(Errno::EINVAL));
        assert_eq!(Path::parse_watched(b"a", D).unwrap(), path("a"));
    }

    #[test]
    fn a_node_lies_below_those_above_it() {
        assert!(path("/a/b").is_at_or_below(&path("/a")) && path("/a").is_at_or_below(&path("/a")));
        assert!(path("/a").is_at_or_below(&path("/")) && path("/").is_at_or_below(&path("/")));
        assert!(!path("/ab").is_at_or_below(&path("/a")) && !path("/a").is_at_or_below(&path("/a/b")));
        assert_eq!(path("/a/b").parent(), Some((path("/a"), "b")));
        assert_eq!(path("/a").parent(), Some((path("/"), "a")));
        assert_eq!(path("/").parent(), None);
        assert_eq!(path("/").join("a").join("b"), path("/a/b"));
    }
}
