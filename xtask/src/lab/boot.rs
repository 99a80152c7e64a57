//! The end of a grade: the learner's hypervisor and kernel boot, and answer a line that is typed.

use super::catalogue::Boot;
use super::judge::Judge;
use super::report::Line;
use super::tree::{self, Tree};
use crate::setup::{self, Bring};
use crate::{build, run};
use anyhow::{Context as _, Result};
use paravane_tests::driver::{Driver, Stdin, shell_status};
use paravane_tests::scenario::Context;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How the images are built: a grade is not to wait for what makes them small.
const QUICK: [&str; 4] = ["lto=false", "codegen-units=16", "debug=0", "incremental=true"];

/// A boot and a line take seconds, on a busy machine a minute.
const LIMIT: Duration = Duration::from_secs(240);

/// Boots the tree.
pub fn check(judge: &Judge<'_>, bring: Bring, composed: &Tree, boot: &Boot) -> Result<Line> {
    let place = judge.place();
    tree::sync(&place.root, composed)?;
    let line = |result| Line::of(boot.name, boot.about, result, boot.read);
    let settings: Vec<String> = QUICK.iter().map(|setting| format!("profile.kernel.{setting}")).collect();
    let options: Vec<&str> = settings.iter().flat_map(|setting| ["--config", setting]).collect();
    if let Err(error) = build::to_boot(&place, bring, &options) {
        return match crate::stop::status_of(&error) {
            paravane_tests::status::Status::CheckFailed => Ok(line(Err(format!("{error:#}")))),
            _ => Err(error),
        };
    }
    {
        let _lock = setup::lock(&place)?;
        setup::qemu::need(&place, bring)?;
    }
    let scratch = place.kernel_target().join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let xtask = std::env::current_exe().context("finding this program")?;
    let context = Context { xtask, images: build::images(&place), scratch };
    run::say("booting what was built");
    Ok(line(answered(&context, boot)?))
}

/// Types the line and one that asks for a sum, and looks for both answers: the second no output has by chance.
fn answered(context: &Context, boot: &Boot) -> Result<Result<(), String>> {
    let nanoseconds = u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos());
    let (one, other) = (nanoseconds % 9973 + 17, nanoseconds / 9973 + 19);
    let typed = format!("{}\nbusybox expr {one} + {other}", boot.types);
    let mut driver = Driver::start(context.qemu(boot.arguments), Stdin::Pipe)?;
    driver.send(format!("{typed}\n").as_bytes())?;
    driver.close_input();
    let Some(status) = driver.ended_within(LIMIT)? else {
        driver.signal(rustix::process::Signal::TERM)?;
        driver.finish(Duration::from_secs(20))?;
        return Ok(Err(format!("it neither answered nor ended; printed last:\n{}", driver.tail())));
    };
    let lines = driver.console.lines();
    let sum = (one + other).to_string();
    let answered = lines.iter().any(|line| line.starts_with(boot.answer)) && lines.contains(&sum);
    let failed = lines.iter().find(|line| line.starts_with("FAILED"));
    let status = shell_status(status);
    Ok(match (failed, status) {
        (Some(line), _) => Err(format!("expected a line `{}`, saw `{line}`", boot.answer)),
        (None, 0) if answered => Ok(()),
        _ => Err(format!(
            "expected `{}` and `{sum}` after `{typed}`, and status 0; saw status {status}, and last:\n{}",
            boot.answer,
            driver.tail()
        )),
    })
}
