//! Runs the suite on hypervisors with a fault, several machines at a time.

use super::Candidate;
use super::kept::{End, Kept};
use super::tree::{Image, Together, Tree};
use crate::project::Project;
use crate::{build, run};
use anyhow::{Context, Result, anyhow};
use paravane_tests::conformance::Target;
use paravane_tests::conformance::hunt::{Hunter, Notice, Usual};
use paravane_tests::scenario;
use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

/// Hypervisors under test at a time, at most: each machine has two processors.
const WORKERS: usize = 2;

/// Runs of the whole suite without a fault: what is not the same in all of them is not heeded.
const USUAL_RUNS: usize = 2;

/// What all workers share.
pub struct Run<'a> {
    project: &'a Project,
    together: &'a Together,
    kept: &'a Kept,
    /// Without fatal cases: a fault that is missed may be caught otherwise.
    quick: bool,
    /// There is one tree to build in.
    tree: Mutex<&'a Tree<'a>>,
    usual: Usual,
    ring1: Usual,
}

/// A place with images of its own.
struct Place {
    context: scenario::Context,
}

impl Place {
    fn new(project: &Project, number: usize) -> Result<Self> {
        let target = project.target.join("faults").join(format!("machine-{number}"));
        let images = target.join("kernel/images");
        let scratch = target.join("scratch");
        fs::create_dir_all(&images)?;
        fs::create_dir_all(&scratch)?;
        for entry in fs::read_dir(build::images(project))? {
            let entry = entry?;
            let place = images.join(entry.file_name());
            if place.exists() {
                fs::remove_file(&place)?;
            }
            fs::copy(entry.path(), &place).with_context(|| format!("copying to {}", place.display()))?;
        }
        let xtask = std::env::current_exe().context("finding this program")?;
        Ok(Self { context: scenario::Context { xtask, images, scratch } })
    }

    fn hypervisor(&self) -> PathBuf {
        self.context.images.join("paravane.elf")
    }

    fn set(&self, image: &[u8]) -> Result<()> {
        fs::write(self.hypervisor(), image).context("writing the hypervisor")
    }
}

impl<'a> Run<'a> {
    /// Finds out how the suite ends without a fault.
    pub fn new(
        project: &'a Project,
        tree: &'a Tree<'a>,
        together: &'a Together,
        kept: &'a Kept,
        quick: bool,
    ) -> Result<Self> {
        let place = Place::new(project, 0)?;
        place.set(&together.image.with(0))?;
        let observe =
            |target, runs| Usual::observe(&place.context, target, runs, !quick, &|text| run::say(text));
        let usual = observe(Target::PARAVANE, USUAL_RUNS)?;
        let ring1 = observe(Target::RING1, 1)?;
        run::say(format_args!(
            "{} cases are heeded on {}, {} on {}",
            usual.len(),
            Target::PARAVANE,
            ring1.len(),
            Target::RING1
        ));
        Ok(Self { project, together, kept, quick, tree: Mutex::new(tree), usual, ring1 })
    }

    /// Tries all these faults.
    pub fn all(&self, faults: &[&Candidate]) -> Result<()> {
        let queue: Mutex<VecDeque<&Candidate>> = Mutex::new(faults.iter().copied().collect());
        let next =
            || queue.lock().ok().and_then(|mut queue| queue.pop_front().map(|fault| (fault, queue.len())));
        let workers = std::thread::available_parallelism()?.get().min(WORKERS);
        std::thread::scope(|scope| {
            let started: Vec<_> = (1..=workers)
                .map(|number| {
                    scope.spawn(move || -> Result<()> {
                        let place = Place::new(self.project, number)?;
                        while let Some((fault, left)) = next() {
                            let start = Instant::now();
                            let end =
                                self.one(&place, fault).with_context(|| format!("trying {}", fault.name))?;
                            let seconds = start.elapsed().as_secs_f32();
                            run::say(format_args!(
                                "{} ({seconds:.1} s, {left} left)",
                                super::line(fault, &end)
                            ));
                            self.kept.put(&fault.name, end, !self.quick)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            let ends = started
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked"))));
            ends.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// Tries one fault: first on the cases that are likely to notice it, then on all, then on the other machine.
    fn one(&self, place: &Place, fault: &Candidate) -> Result<End> {
        let number = fault.edit.number;
        let alone: Image;
        let image = if self.together.inside.contains(&number) {
            self.together.image.with(number)
        } else {
            let tree = self.tree.lock().map_err(|_| anyhow!("a worker panicked"))?;
            match tree.alone(&fault.edit)? {
                Some(image) => {
                    alone = image;
                    alone.with(0)
                }
                None => return Ok(End::Unviable),
            }
        };
        place.set(&image)?;
        let ring3 = Hunter::new(&place.context, &self.usual)?;
        if !fault.filter.is_empty()
            && let Some(notice) = confirmed(&ring3, &fault.filter)?
        {
            return Ok(End::Caught { by: notice.case, how: notice.how });
        }
        let ring1 = Hunter::new(&place.context, &self.ring1)?;
        for hunter in [ring3, ring1] {
            if let Some(notice) = confirmed(&hunter, "")? {
                return Ok(End::Caught { by: notice.case, how: notice.how });
            }
        }
        Ok(End::Missed)
    }
}

/// Looks for a difference. A machine that ended early counts when it does so again: on a busy host one may fall silent.
fn confirmed(hunter: &Hunter<'_>, filter: &str) -> Result<Option<Notice>> {
    match hunter.hunt(filter)? {
        Some(notice) if notice.how.starts_with("crash") => hunter.hunt(filter),
        other => Ok(other),
    }
}
