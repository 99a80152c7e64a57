//! The copy of the tree that faults are planted in, and its builds.

use super::source::{self, Edit, Planted};
use crate::build::{self, IMAGES};
use crate::project::Project;
use crate::run;
use crate::setup::toolchain::Toolchain;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the hypervisor's image has at the place of the chosen fault's number: the number stands behind it.
const MARK: &[u8; 16] = b"paravane-planted";

/// What says which fault is chosen. It is written by the image's bytes alone, so the compiler must not look.
const MODULE: &str = r#"//! Which fault is chosen.
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};

#[repr(C)]
struct Choice {
    mark: [u8; 16],
    number: AtomicU32,
}

#[used]
static CHOICE: Choice = Choice { mark: *b"paravane-planted", number: AtomicU32::new(0) };

/// Whether it is this one.
#[inline]
pub fn is(number: u32) -> bool {
    black_box(&CHOICE).number.load(Ordering::Relaxed) == number
}
"#;

/// The crates that faults are planted in, and the path of the module in each.
const CRATES: [(&str, &str); 2] =
    [("hypervisor/core/", "crate::planted"), ("hypervisor/machine/", "paravane_core::planted")];

/// The crate that has the module.
const HOME: &str = "hypervisor/core/src";

/// Folders of the copy that are copies; all else is a link.
const COPIED: [&str; 2] = ["abi", "hypervisor"];
/// What is not in the copy at all.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// How the hypervisor is built here: quickly.
const QUICK: [&str; 5] = ["lto=false", "codegen-units=16", "opt-level=1", "debug=0", "incremental=true"];

/// The copy.
pub struct Tree<'a> {
    toolchain: &'a Toolchain,
    original: PathBuf,
    project: Project,
    /// Files as they are without a fault, by their paths.
    sources: BTreeMap<String, String>,
}

/// What became of a build.
enum Build {
    /// The hypervisor.
    Done(PathBuf),
    /// Errors: file, place, text.
    Failed(Vec<(String, Range<usize>, String)>),
}

/// What was planted together.
pub struct Together {
    /// The image, which has no fault until one is chosen.
    pub image: Image,
    /// Faults that are in it.
    pub inside: BTreeSet<u32>,
}

impl<'a> Tree<'a> {
    /// Makes the copy, or brings it up to date.
    pub fn new(project: &Project, toolchain: &'a Toolchain) -> Result<Self> {
        let home = project.target.join("faults");
        let root = home.join("tree");
        let original = project.root.clone();
        let project = Project { root, target: home.join("build"), cache: project.cache.clone() };
        fs::create_dir_all(&project.root)?;
        let mut tree = Self { toolchain, original, project, sources: BTreeMap::new() };
        for entry in fs::read_dir(&tree.original)? {
            let entry = entry?;
            let name = entry.file_name();
            let text = name.to_string_lossy().into_owned();
            let place = tree.project.root.join(&name);
            if COPIED.contains(&text.as_str()) {
                tree.copy(&entry.path())?;
            } else if LEFT_OUT.contains(&text.as_str()) {
            } else if entry.file_type()?.is_file() {
                write(&place, &fs::read(entry.path())?)?;
            } else if !place.exists() {
                std::os::unix::fs::symlink(entry.path(), &place)
                    .with_context(|| format!("linking {}", place.display()))?;
            }
        }
        tree.add_module()?;
        Ok(tree)
    }

    fn copy(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.copy(&path)?;
                continue;
            }
            let name = path.strip_prefix(&self.original)?.to_string_lossy().into_owned();
            match fs::read_to_string(&path) {
                Ok(text) if name.ends_with(".rs") => drop(self.sources.insert(name, text)),
                _ => write(&self.project.root.join(&name), &fs::read(&path)?)?,
            }
        }
        Ok(())
    }

    fn add_module(&mut self) -> Result<()> {
        let library = self.sources.get_mut(&format!("{HOME}/lib.rs")).context("the crate has no lib.rs")?;
        library.push_str("\n/// Faults that are planted.\npub mod planted;\n");
        self.sources.insert(format!("{HOME}/planted.rs"), MODULE.to_owned());
        Ok(())
    }

    /// Plants as many of these faults together as can be.
    pub fn together(&self, edits: &[&Edit]) -> Result<Together> {
        let mut apart: BTreeSet<u32> = BTreeSet::new();
        loop {
            let chosen: Vec<&Edit> =
                edits.iter().copied().filter(|edit| !apart.contains(&edit.number)).collect();
            let planted = self.plant(&chosen)?;
            apart.extend(planted.values().flat_map(|file| file.apart.iter().copied()));
            let texts = planted.iter().map(|(name, file)| (name.as_str(), file.text.as_str()));
            match self.build(&texts.collect())? {
                Build::Done(image) => {
                    let all = edits.iter().map(|edit| edit.number);
                    let inside = all.filter(|number| !apart.contains(number)).collect();
                    return Ok(Together { image: Image::read(&image)?, inside });
                }
                Build::Failed(errors) => {
                    let before = apart.len();
                    for (file, place, _) in &errors {
                        let guilty = planted.get(file).map(|file| file.faults_at(place));
                        apart.extend(guilty.unwrap_or_default());
                    }
                    if apart.len() == before {
                        let texts: Vec<&str> = errors.iter().map(|(_, _, text)| text.as_str()).collect();
                        bail!("the hypervisor does not compile with faults planted:\n{}", texts.join("\n"));
                    }
                    run::say(format_args!("  {} faults are not planted together", apart.len()));
                }
            }
        }
    }

    fn plant(&self, edits: &[&Edit]) -> Result<BTreeMap<String, Planted>> {
        let mut by_file: BTreeMap<&str, Vec<&Edit>> = BTreeMap::new();
        for edit in edits {
            by_file.entry(&edit.file).or_default().push(edit);
        }
        let mut planted = BTreeMap::new();
        for (file, edits) in by_file {
            let module = CRATES.iter().find(|(folder, _)| file.starts_with(folder));
            let (_, module) = module.with_context(|| format!("{file} is in no crate that faults go into"))?;
            let source = self.source(file)?;
            let made =
                source::plant(source, &edits, module).with_context(|| format!("planting in {file}"))?;
            planted.insert(file.to_owned(), made);
        }
        Ok(planted)
    }

    fn source(&self, file: &str) -> Result<&str> {
        self.sources.get(file).map(String::as_str).with_context(|| format!("there is no {file}"))
    }

    /// Builds the hypervisor with one fault; `None` when that does not compile.
    pub fn alone(&self, edit: &Edit) -> Result<Option<Image>> {
        let text = edit.apply(self.source(&edit.file)?);
        match self.build(&BTreeMap::from([(edit.file.as_str(), text.as_str())]))? {
            Build::Done(image) => Image::read(&image).map(Some),
            Build::Failed(_) => Ok(None),
        }
    }

    /// Builds the hypervisor with these files changed.
    fn build(&self, changed: &BTreeMap<&str, &str>) -> Result<Build> {
        for (name, text) in &self.sources {
            let text = changed.get(name.as_str()).copied().unwrap_or(text);
            write(&self.project.root.join(name), text.as_bytes())?;
        }
        let mut command = self.command();
        let done = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", run::shown(&command)))?;
        let text = String::from_utf8_lossy(&done.stdout);
        if done.status.success() {
            let made = build::executables(&text)?;
            let path = made.get(IMAGES[0].package).context("cargo built no hypervisor")?;
            return Ok(Build::Done(path.clone()));
        }
        let errors = errors(&text);
        ensure!(!errors.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(Build::Failed(errors))
    }

    fn command(&self) -> Command {
        let mut command = build::cargo(&self.project, self.toolchain, &IMAGES[0], "build");
        for setting in QUICK {
            command.arg("--config").arg(format!("profile.kernel.{setting}"));
        }
        command.args(["--quiet", "--message-format=json"]);
        command
    }
}

/// Writes a file unless it says the same already: what is not touched is not compiled again.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// The compiler's errors that have a place: file, place, text.
fn errors(messages: &str) -> Vec<(String, Range<usize>, String)> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let message = &message["message"];
        if message["level"].as_str() != Some("error") {
            continue;
        }
        let text = message["rendered"].as_str().unwrap_or_default();
        for span in message["spans"].as_array().into_iter().flatten() {
            let file = span["file_name"].as_str().unwrap_or_default();
            let file = file.find("hypervisor/").map_or(file, |at| &file[at..]);
            let at = |name: &str| span[name].as_u64().unwrap_or_default() as usize;
            if span["is_primary"].as_bool() == Some(true) {
                found.push((file.to_owned(), at("byte_start")..at("byte_end"), text.to_owned()));
            }
        }
    }
    found
}

/// A hypervisor's image.
#[derive(Clone, Debug)]
pub struct Image {
    bytes: Vec<u8>,
    number_at: usize,
}

impl Image {
    fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let mut found = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| window == MARK);
        let (at, _) = found.next().context("the image has no place for a fault's number")?;
        ensure!(found.next().is_none(), "the image has two places for a fault's number");
        Ok(Self { number_at: at + MARK.len(), bytes })
    }

    /// The image with a fault chosen; 0 is none.
    pub fn with(&self, number: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[self.number_at..self.number_at + 4].copy_from_slice(&number.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_where_they_are() {
        let span = |file: &str, primary: bool| serde_json::json!({"file_name": file, "byte_start": 5, "byte_end": 9, "is_primary": primary});
        let message = |level: &str, spans: Vec<serde_json::Value>| {
            let inner = serde_json::json!({"level": level, "spans": spans, "rendered": "no"});
            serde_json::json!({"reason": "compiler-message", "message": inner}).to_string()
        };
        let text = [
            message("warning", vec![span("hypervisor/core/src/a.rs", true)]),
            message("error", vec![span("/paravane/hypervisor/core/src/b.rs", true), span("c.rs", false)]),
            message("error", Vec::new()),
            "plain".into(),
        ];
        assert_eq!(errors(&text.join("\n")), [("hypervisor/core/src/b.rs".into(), 5..9, "no".into())]);
    }

    #[test]
    fn a_fault_is_chosen_by_its_number_in_the_image() {
        let folder = std::env::temp_dir().join(format!("planted-{}", std::process::id()));
        let image = |bytes: &[u8]| {
            fs::write(&folder, bytes).unwrap();
            Image::read(&folder)
        };
        let good = [b"head".as_slice(), MARK, &[0; 4], b"tail"].concat();
        let chosen = image(&good).unwrap().with(0x0102);
        assert_eq!(chosen, [b"head".as_slice(), MARK, &[2, 1, 0, 0], b"tail"].concat());
        assert!(image(b"nothing").is_err());
        assert!(image(&[good.clone(), good].concat()).is_err());
        fs::remove_file(&folder).unwrap();
    }

    #[test]
    fn the_module_has_the_mark() {
        assert!(MODULE.contains(std::str::from_utf8(MARK).unwrap()));
        syn::parse_file(MODULE).expect("the module is a source file");
    }
}
