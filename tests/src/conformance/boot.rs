//! Boots the machines of a plan, and boots them again behind a case that took one down.

use super::catalogue::{Entry, Selection};
use super::lines::{self, Outcome};
use super::plan::{self, Job, Shape};
use super::seen::{Observed, Seen, settle};
use super::{Judged, Target};
use crate::driver::{Driver, Stdin, shell_status};
use crate::scenario::Context;
use crate::status::Status;
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Boots of one job, at most: a suite of which more crashes is not worth the time.
const BOOTS: usize = 16;

/// Seconds of silence after which a machine is given up, and of a whole run.
const SILENCE: &str = "60";
const TIMEOUT: &str = "540";

/// Longest run of `xtask qemu`, which ends by itself before.
const LIMIT: Duration = Duration::from_secs(600);

/// How long one side of a pair may still speak when the other is gone.
const GRACE: Duration = Duration::from_secs(2);

/// The module that kernels are given, which they only look up.
pub const MODULE: [u8; 5000] = [b'M'; 5000];

/// What all machines of a run share.
#[derive(Debug)]
pub struct Runner<'a> {
    context: &'a Context,
    target: Target,
    selection: &'a Selection,
    kernel: PathBuf,
    module: PathBuf,
}

/// Machines that run at the same time.
const MACHINES: usize = 2;

impl<'a> Runner<'a> {
    /// Prepares to run.
    pub fn new(context: &'a Context, target: Target, selection: &'a Selection) -> Result<Self> {
        let kernel = context.images.join(super::IMAGE);
        let module = context.scratch.join("conformance-module");
        std::fs::write(&module, MODULE).with_context(|| format!("writing {}", module.display()))?;
        Ok(Self { context, target, selection, kernel, module })
    }

    /// Runs these cases; `say` is told what is being done. The order stays.
    pub fn run(&self, cases: &[Entry], say: &(dyn Fn(String) + Sync)) -> Result<Vec<Judged>> {
        let jobs = plan::plan(cases);
        let queue = Mutex::new(jobs.iter());
        let ended = Mutex::new(Vec::new());
        let next = || queue.lock().ok().and_then(|mut queue| queue.next());
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..MACHINES.min(jobs.len()))
                .map(|_| {
                    scope.spawn(|| {
                        while let Some(job) = next() {
                            let judged = self.job(job, say)?;
                            ended.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?.extend(judged);
                        }
                        Ok(())
                    })
                })
                .collect();
            let mut all = Ok(());
            for worker in workers {
                let end: Result<()> = worker.join().unwrap_or_else(|_| bail!("a worker panicked"));
                all = all.and(end);
            }
            all
        })?;
        let mut ended = ended.into_inner().unwrap_or_default();
        let place = |judged: &Judged| cases.iter().position(|entry| entry.name() == judged.entry.name());
        ended.sort_by_cached_key(place);
        Ok(ended)
    }

    /// Runs one job to its end, in as many boots as it takes.
    fn job(&self, job: &Job, say: &(dyn Fn(String) + Sync)) -> Result<Vec<Judged>> {
        let mut ended = Vec::new();
        let mut waiting: Vec<Vec<Entry>> = vec![job.cases.clone()];
        let mut after: Option<Entry> = None;
        for _ in 0..BOOTS.max(job.cases.len().min(plan::FATAL_DOMAINS) + 1) {
            let Some(cases) = waiting.pop() else { break };
            let start = Instant::now();
            let (seen, cause) = self.boot(job, &cases, after.map(|entry| entry.name()).as_deref())?;
            let settled = settle(job, &cases, &seen, &cause);
            say(format!(
                "{:?} on {}: {} of {} cases in {:.1} s{}",
                job.shape,
                self.target,
                settled.ended.len(),
                cases.len(),
                start.elapsed().as_secs_f32(),
                if settled.left.is_empty() { String::new() } else { format!("; {cause}") }
            ));
            after = settled.ended.last().map(|(at, _)| cases[*at]).or(after);
            ended.extend(settled.ended.into_iter().map(|(at, seen)| Judged { entry: cases[at], seen }));
            let left: Vec<Entry> = settled.left.into_iter().map(|at| cases[at]).collect();
            match job.shape {
                Shape::Fatal => waiting.extend(left.into_iter().map(|entry| vec![entry])),
                _ if !left.is_empty() => waiting.push(left),
                _ => {}
            }
        }
        let unrun = waiting.into_iter().flatten();
        let given_up = || Observed::bare(Outcome::Crash, "not run: too much had crashed before");
        ended.extend(unrun.map(|entry| Judged { entry, seen: given_up() }));
        Ok(ended)
    }

    /// Boots a machine, and gives what was said on it and why it ended.
    fn boot(&self, job: &Job, cases: &[Entry], after: Option<&str>) -> Result<(Seen, String)> {
        let domains = job.domains(cases, &self.selection.words(), after);
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
        let mut options =
            plan::options(self.target, job.shape, &domains, &path(&self.kernel)?, &path(&self.module)?);
        options.extend(["--silence", SILENCE, "--timeout", TIMEOUT].map(str::to_owned));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let mut driver = Driver::start(self.context.qemu(&options), Stdin::Null)?;
        let status = match self.watch(&mut driver, job.shape)? {
            Some(status) => status,
            None => return Ok((read(&driver), "the other domain was gone".into())),
        };
        let seen = read(&driver);
        let known = Status::from_code(status);
        let unheard = known.is_none() || known == Some(Status::CheckFailed);
        if matches!(known, Some(Status::Usage | Status::Missing | Status::Interrupted))
            || unheard && seen.is_empty()
        {
            bail!("the machine for {:?} ended with status {status}:\n{}", job.shape, driver.tail());
        }
        Ok((seen, cause(&driver, known)))
    }

    /// Waits for the end; `None` when the machine was stopped because a side of a pair was gone.
    fn watch(&self, driver: &mut Driver, shape: Shape) -> Result<Option<i32>> {
        let start = Instant::now();
        let mut lost: Option<Instant> = None;
        while start.elapsed() < LIMIT {
            if let Some(status) = driver.ended_within(Duration::from_millis(500))? {
                return Ok(Some(shell_status(status)));
            }
            if shape == Shape::Pair && lost.is_none() && read(driver).lost_a_side() {
                lost = Some(Instant::now());
            }
            if lost.is_some_and(|since| since.elapsed() > GRACE) {
                driver.signal(Signal::TERM)?;
                driver.finish(LIMIT)?;
                return Ok(None);
            }
        }
        bail!("still running after {LIMIT:?}; printed last:\n{}", driver.tail())
    }
}

fn read(driver: &Driver) -> Seen {
    Seen::of(lines::read(driver.console.lines()))
}

/// Why a machine ended, for a case that was under way.
fn cause(driver: &Driver, status: Option<Status>) -> String {
    if let Some(panic) = driver.console.panic_line() {
        return format!("the hypervisor panicked: {panic}");
    }
    let report = driver
        .console
        .lines()
        .iter()
        .rev()
        .find(|line| line.starts_with("(PV) d") && line.contains(" crashed: "));
    match (report, status) {
        (Some(report), _) => report.trim_start_matches("(PV) ").to_owned(),
        (None, Some(Status::Good)) => "its domain ended".into(),
        (None, Some(status)) => status.to_string(),
        (None, None) => "the machine ended".into(),
    }
}
