//! Several domains: who disturbs whom, what is left of them, who gets how much of the processors.

use super::{Context, LIMIT, Outcome};
use crate::driver::{Driver, Stdin};
use crate::status::Status;
use anyhow::{Context as _, Result, bail, ensure};

/// How far a share may be from what was configured, in percent of it.
const TOLERANCE: f64 = 5.0;

/// The 100 Hz timer's ticks in 10 s, and how many of them may be missed.
const TICKS: u64 = 1000;
const MISSED_MOST: u64 = TICKS / 100;

/// Runs domains to their end and checks the status.
fn run(context: &Context, options: &[&str], guests: &[String], status: Status) -> Result<Driver> {
    let mut args = vec!["-v", "--hypervisor-append", "paravane.audit paravane.trace=10000"];
    if !options.contains(&"--memory") {
        args.extend(["--memory", "24M"]);
    }
    args.extend(options);
    args.extend(guests.iter().flat_map(|guest| ["--guest", guest.as_str()]));
    let mut driver = Driver::start(context.qemu(&args), Stdin::Null)?;
    let ended = driver.finish(LIMIT)?;
    ensure!(
        ended.code() == Some(i32::from(status.code())),
        "ended with {ended}, not with {}; printed last:\n{}",
        status.code(),
        driver.tail()
    );
    line(&driver, "audit: all counts agree")?;
    Ok(driver)
}

/// The first line that has a text.
fn line<'d>(driver: &'d Driver, text: &str) -> Result<&'d str> {
    let lines = driver.console.lines();
    lines
        .iter()
        .find(|line| line.contains(text))
        .map(String::as_str)
        .with_context(|| format!("no line has `{text}`; printed last:\n{}", driver.tail()))
}

/// The number before a word of a line.
fn number_before(line: &str, word: &str) -> Result<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[1].trim_end_matches([',', ';']) == word);
    let number = pairs.filter_map(|pair| pair[0].parse().ok()).next();
    number.with_context(|| format!("no number stands before `{word}` in `{line}`"))
}

fn guest(rest: &str) -> String {
    format!("pv-guest,{rest}")
}

/// On one processor: a domain that spins with its events masked, one that crashes itself, one that makes hypercalls
/// all the time; beside them a fourth keeps its timer, and nothing is left of the others.
fn beside_hogs(context: &Context, icount: &str) -> Result<Outcome> {
    let guests = [
        guest("name=spin,extra=role=spin seconds=12"),
        guest("name=crash,extra=role=crash-iret"),
        guest("name=hammer,extra=role=hammer seconds=12"),
        guest("name=tick,extra=role=ticker seconds=10"),
    ];
    let driver = run(context, &[icount, "--silence", "400"], &guests, Status::GuestCrash)?;
    line(&driver, "d2v0 crashed: iret context")?;
    for name in ["spin", "crash", "hammer", "tick"] {
        line(&driver, &format!("'{name}' is gone"))?;
    }
    let ticker = line(&driver, "ok ticker ")?;
    let (due, missed) = (number_before(ticker, "ticks")?, number_before(ticker, "missed")?);
    ensure!(due >= TICKS && missed <= MISSED_MOST, "{ticker}: at most {MISSED_MOST} may be missed");
    Ok(Outcome::Passed(format!("{missed} of {due} ticks missed; all frames came back")))
}

/// As above, an instruction counting as 16 ns: the 10 seconds are 625 million instructions.
pub fn isolation(context: &Context) -> Result<Outcome> {
    beside_hogs(context, "--icount=4")
}

/// As above, an instruction counting as 1 ns.
pub fn isolation_to_the_instruction(context: &Context) -> Result<Outcome> {
    beside_hogs(context, "--icount=0")
}

/// A domain that asks to be started again as soon as it runs: so often, all counts agree afterwards.
fn cycles(context: &Context, count: u32) -> Result<Outcome> {
    let guests = [guest(&format!(
        "name=cycle,memory=16M,on_reboot=restart,max_restarts={},extra=role=reboot",
        count - 1
    ))];
    let driver = run(context, &["--icount=4"], &guests, Status::Good)?;
    let gone: Vec<&String> =
        driver.console.lines().iter().filter(|line| line.contains("'cycle' is gone")).collect();
    ensure!(gone.len() == count as usize, "{} of {count} domains came to their end", gone.len());
    let free = |line: &str| number_before(line, "frames");
    let (first, last) = (free(gone[0])?, free(gone[gone.len() - 1])?);
    ensure!(first == last, "{first} frames were free after the first, {last} after the last");
    Ok(Outcome::Passed(format!("{count} domains, {last} frames free after the first and the last")))
}

/// A thousand domains after each other.
pub fn thousand(context: &Context) -> Result<Outcome> {
    cycles(context, 1000)
}

/// Ten thousand.
pub fn ten_thousand(context: &Context) -> Result<Outcome> {
    cycles(context, 10_000)
}

/// A vcpu's turn, as the hypervisor's trace has it.
#[derive(Debug)]
struct Turn<'l> {
    cpu: u32,
    vcpu: &'l str,
    start: u64,
    end: u64,
}

fn turns(driver: &Driver) -> Vec<Turn<'_>> {
    let parse = |line: &'_ str| -> Option<(u32, u64, u64, usize)> {
        let at = line.find("turn: cpu ")?;
        let words: Vec<&str> = line[at..].split_whitespace().collect();
        Some((words.get(2)?.parse().ok()?, words.get(4)?.parse().ok()?, words.get(5)?.parse().ok()?, at))
    };
    driver
        .console
        .lines()
        .iter()
        .filter_map(|line| {
            let (cpu, start, end, at) = parse(line)?;
            Some(Turn { cpu, vcpu: line[at..].split_whitespace().nth(3)?, start, end })
        })
        .collect()
}

/// Two domains run at the same time on different processors; no processor runs two vcpus at once, and no vcpu is on
/// two processors at once.
pub fn overlap(context: &Context) -> Result<Outcome> {
    let guests = [guest("name=a,extra=role=spin seconds=1"), guest("name=b,extra=role=spin seconds=1")];
    let driver = run(context, &["--smp", "4", "--icount=4"], &guests, Status::Good)?;
    let turns = turns(&driver);
    let mut overlaps = 0;
    for (index, one) in turns.iter().enumerate() {
        for other in &turns[index + 1..] {
            let both = one.end.min(other.end).saturating_sub(one.start.max(other.start));
            if both == 0 {
                continue;
            }
            ensure!(one.cpu != other.cpu, "two turns at once on one processor: {one:?}, {other:?}");
            ensure!(one.vcpu != other.vcpu, "a vcpu in two places: {one:?}, {other:?}");
            overlaps += u32::from(both > 100_000_000);
        }
    }
    ensure!(overlaps > 0, "no two domains ran at the same time: {turns:?}");
    Ok(Outcome::Passed(format!("{} turns, {overlaps} pairs overlap by more than 100 ms", turns.len())))
}

/// Microseconds that a domain ran.
fn ran(driver: &Driver, name: &str) -> Result<f64> {
    Ok(number_before(line(driver, &format!("'{name}' is gone; it ran "))?, "us")? as f64)
}

fn check_share(name: &str, is: f64, wanted: f64) -> Result<()> {
    let off = (is / wanted - 1.0).abs() * 100.0;
    if off > TOLERANCE {
        bail!("{name} has {is:.4} where {wanted:.4} was configured: {off:.1} % off");
    }
    Ok(())
}

/// The part of a span of time that domains had a processor, in nanoseconds, as the trace has it.
fn time_in(turns: &[Turn<'_>], domain: &str, from: u64, to: u64) -> f64 {
    let own = turns.iter().filter(|turn| turn.vcpu.split('v').next() == Some(domain));
    own.map(|turn| turn.end.min(to).saturating_sub(turn.start.max(from))).sum::<u64>() as f64
}

/// Weights of 1 to 2 to 4 on one processor of four, and a cap of 30 % on another, over the time in which all four have
/// come up and none is through.
pub fn shares(context: &Context) -> Result<Outcome> {
    const SECOND: u64 = 1_000_000_000;
    let spin = |name: &str, rest: &str| guest(&format!("name={name},{rest},extra=role=spin seconds=7"));
    let guests = [
        spin("one", "cpus=3,cpu_weight=128"),
        spin("two", "cpus=3,cpu_weight=256"),
        spin("four", "cpus=3,cpu_weight=512"),
        spin("cap", "cpus=2,cap=30"),
    ];
    let driver = run(context, &["--smp", "4", "--icount=4"], &guests, Status::Good)?;
    let turns = turns(&driver);
    let domains = ["d1", "d2", "d3", "d4"];
    let ends = domains.map(|domain| {
        let own = turns.iter().filter(|turn| turn.vcpu.split('v').next() == Some(domain));
        own.map(|turn| turn.end).max().unwrap_or(0)
    });
    let (from, to) = (2 * SECOND, ends.into_iter().min().unwrap_or(0));
    ensure!(to > from + 3 * SECOND, "all four ran together up to {to} ns only");
    let [one, two, four, cap] = domains.map(|domain| time_in(&turns, domain, from, to));
    let all = one + two + four;
    for (name, time, part) in [("one", one, 1.0), ("two", two, 2.0), ("four", four, 4.0)] {
        check_share(name, time / all, part / 7.0)?;
    }
    let capped = cap / (to - from) as f64;
    check_share("cap", capped, 0.3)?;
    let percent = [one, two, four].map(|time| format!("{:.1}", time / all * 100.0)).join(" : ");
    Ok(Outcome::Passed(format!(
        "in {:.1} s: {percent} %; cap of 30 %: {:.1} %",
        (to - from) as f64 / SECOND as f64,
        capped * 100.0
    )))
}

/// A domain with processors of its own has them to itself, whoever else wants them.
pub fn partition(context: &Context) -> Result<Outcome> {
    let spin = |name: &str, rest: &str| guest(&format!("name={name},{rest}extra=role=spin seconds=2"));
    let guests = [spin("own", "cpus=1,exclusive=1,"), spin("a", ""), spin("b", "")];
    let driver = run(context, &["--smp", "2", "--icount=4"], &guests, Status::Good)?;
    let own = ran(&driver, "own")?;
    ensure!(own >= 1.99e6, "it ran {own} us of 2 s");
    let turns = turns(&driver);
    let others = turns.iter().filter(|turn| turn.cpu == 1 && !turn.vcpu.starts_with("d1"));
    let first_end = turns.iter().filter(|turn| turn.vcpu.starts_with("d1")).map(|turn| turn.end).max();
    let early = others.filter(|turn| Some(turn.start) < first_end).count();
    ensure!(early == 0, "{early} turns of others on its processor");
    Ok(Outcome::Passed(format!("its processor was its own for {own} us")))
}

/// Two domains move memory from one to the other through grants, mapped and copied, and events; both compute a digest.
fn exchanged(context: &Context, mib: u32, version: u32) -> Result<String> {
    let guests = [
        guest(&format!("name=a,domid=1,extra=role=exchange-a peer=2 mib={mib} grants={version}")),
        guest("name=b,domid=2,extra=role=exchange-b peer=1"),
    ];
    let driver = run(
        context,
        &["--smp", "2", "--memory", "48M", "--icount=4", "--silence", "400"],
        &guests,
        Status::Good,
    )?;
    let digest = |role: &str| {
        let found = line(&driver, &format!("ok {role} "))?;
        let digest = found.split_whitespace().skip_while(|word| *word != "digest").nth(1);
        digest.with_context(|| format!("no digest in `{found}`"))
    };
    let (one, other) = (digest("exchange-a")?, digest("exchange-b")?);
    ensure!(one == other, "the digests {one} and {other} differ");
    Ok(format!("{mib} MiB by grants of version {version}, digest {one}"))
}

/// A part of what [`exchange_whole`] moves.
pub fn exchange(context: &Context) -> Result<Outcome> {
    let parts = [exchanged(context, 64, 1)?, exchanged(context, 32, 2)?];
    Ok(Outcome::Passed(parts.join("; ")))
}

/// A gibibyte.
pub fn exchange_whole(context: &Context) -> Result<Outcome> {
    let parts = [exchanged(context, 1024, 1)?, exchanged(context, 1024, 2)?];
    Ok(Outcome::Passed(parts.join("; ")))
}

/// Two domains hand memory to each other through the hypervisor.
pub fn balloon(context: &Context) -> Result<Outcome> {
    let guests = [guest("name=a,extra=role=balloon"), guest("name=b,extra=role=balloon")];
    let driver = run(context, &["--smp", "2", "--icount=4"], &guests, Status::Good)?;
    let lines = driver.console.ok_lines();
    let good = lines.iter().filter(|line| line.starts_with("ok balloon ")).count();
    ensure!(good == 2, "{good} of 2 domains say that all is well");
    Ok(Outcome::Passed(line(&driver, "ok balloon ")?.to_owned()))
}

/// A guest of four vcpus on four processors: a job divided among threads has the right answer fifty times over, and in
/// the demonstration vcpus go down and come up.
pub fn four_vcpus(context: &Context) -> Result<Outcome> {
    let options = ["--smp", "4", "--vcpus", "4", "--memory", "64M"];
    let driver = run(context, &options, &[guest("name=job,extra=role=parallel")], Status::Good)?;
    let parallel = line(&driver, "ok parallel ")?.to_owned();
    ensure!(number_before(&parallel, "times")? == 50, "{parallel}");
    let driver = context.demonstrate(&[
        "--smp",
        "4",
        "--vcpus",
        "4",
        "--hypervisor-append",
        "paravane.audit",
        "-v",
    ])?;
    let (cpus, hotplug) = (line(&driver, "ok cpus ")?, line(&driver, "ok hotplug ")?);
    ensure!(number_before(cpus, "cpus")? == 4, "{cpus}");
    ensure!(number_before(hotplug, "times")? >= 100, "{hotplug}");
    line(&driver, "audit: all counts agree")?;
    Ok(Outcome::Passed(format!("{parallel}; {hotplug}")))
}
