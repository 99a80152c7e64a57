//! Reads what apt prints: which files a set of packages is, with their digests. Pure; no program is run here.

use anyhow::{Context, Result, bail};

/// A package at one version, as apt names it on its command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its version, with epoch.
    pub version: String,
}

impl Package {
    /// `name=version`, which pins the version in apt's commands.
    pub fn pinned(&self) -> String {
        format!("{}={}", self.name, self.version)
    }
}

/// One file of Debian's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The package in it.
    pub package: Package,
    /// The name that apt gives the file: the version's epoch is escaped in it.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 from the signed index, where apt printed one.
    pub sha256: Option<String>,
}

/// Reads the lines of `apt-get --print-uris`: `'URI' FILE SIZE [KIND:DIGEST]`.
pub fn archives(text: &str) -> Result<Vec<Archive>> {
    text.lines().filter(|line| line.starts_with('\'')).map(archive).collect()
}

fn archive(line: &str) -> Result<Archive> {
    let bad = || format!("apt printed a line that is not a file's: {line}");
    let (_uri, rest) = line.get(1..).and_then(|rest| rest.split_once("' ")).with_context(bad)?;
    let mut words = rest.split_ascii_whitespace();
    let file = words.next().with_context(bad)?.to_owned();
    let size = words.next().with_context(bad)?.parse().with_context(bad)?;
    let sha256 = words.next().and_then(|digest| digest.strip_prefix("SHA256:")).map(str::to_owned);
    if sha256.as_ref().is_some_and(|digest| digest.len() != 64) {
        bail!("apt printed a digest of the wrong length: {line}");
    }
    Ok(Archive { package: package_of(&file).with_context(bad)?, file, size, sha256 })
}

/// `NAME_VERSION_ARCH.deb`, with `%3a` for the colon of an epoch.
fn package_of(file: &str) -> Option<Package> {
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (name, version, _arch) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || name.is_empty() || version.is_empty() {
        return None;
    }
    Some(Package { name: name.to_owned(), version: version.replace("%3a", ":") })
}

/// The first numbers of a version text, for comparing releases: `1.96.0+dfsg1-1~deb12u2` is `[1, 96, 0]`.
pub fn numbers(version: &str) -> Vec<u32> {
    let upstream = version.rsplit(':').next().unwrap_or(version);
    let end = upstream.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(upstream.len());
    upstream[..end].split('.').filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "3d3fdbe91d4660c873e14b092c213fe81c1da6362daa236eb25d0171eb108744";

    #[test]
    fn reads_the_lines_of_apt() {
        let text = format!(
            "Reading package lists...\n\
             'http://mirror/busybox-static_1.35.0-4%2bdeb12u1_amd64.deb' \
             busybox-static_1%3a1.35.0-4+deb12u1+b1_amd64.deb 928188 SHA256:{DIGEST}\n\
             'http://mirror/x.deb' libz3-4_4.8.12-3.1_amd64.deb 7216172 MD5Sum:123966ad623a77005410e09e6ba6746b\n\
             'http://mirror/y.deb' libllvm22_1%3a22.1.8-1~deb12u1_amd64.deb 29378692 \n"
        );
        let files = archives(&text).unwrap();
        assert_eq!(files.len(), 3);
        assert_eq!(files[0].package.pinned(), "busybox-static=1:1.35.0-4+deb12u1+b1");
        assert_eq!(files[0].size, 928_188);
        assert_eq!(files[0].sha256.as_deref(), Some(DIGEST));
        assert_eq!(files[1].sha256, None);
        assert_eq!(files[2].package.version, "1:22.1.8-1~deb12u1");
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for bad in [
            "'http://mirror/x.deb",
            "'http://mirror/x.deb' x.deb 12",
            "'http://mirror/x.deb' x_1_amd64.deb twelve",
            "'http://mirror/x.deb' x_1_amd64.deb 12 SHA256:abc",
            "'http://mirror/x.deb' x_1_2_amd64.deb 12",
            "'http://mirror/x.deb' x_1_amd64.rpm 12",
        ] {
            assert!(archives(bad).is_err(), "{bad}");
        }
        assert_eq!(archives("").unwrap(), []);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(numbers("1.96.0+dfsg1-1~deb12u2"), [1, 96, 0]);
        assert_eq!(numbers("1:7.2+dfsg-7+deb12u18"), [7, 2]);
        assert!(numbers("1.96.0") > numbers("1.95"));
        assert!(numbers("1.9.0") < numbers("1.85.0"));
        assert_eq!(numbers("unknown"), Vec::<u32>::new());
    }
}
