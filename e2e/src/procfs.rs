//! What the kernel says about running processes: processor time and memory.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};

/// A process and everything that it has started and that still runs.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(pid) = family.get(next) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<u32> = children
            .flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        family.extend(children);
        next += 1;
    }
    family
}

/// Time that all threads of a process have run, to the nanosecond.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid}"))?;
    let ran = |task: PathBuf| -> Option<u64> {
        fs::read_to_string(task.join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
    };
    Ok(Duration::from_nanos(tasks.flatten().filter_map(|task| ran(task.path())).sum()))
}

/// Resident memory of a process in bytes.
pub fn resident(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kib.parse::<f64>().ok()? * 1024.0)
}

/// How long a process has been running, to a hundredth of a second.
pub fn age(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let started: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_secs_f64((uptime - started / TICKS).max(0.0)))
}

/// Ticks of the kernel's clock for programs in a second, on every architecture that we run on.
const TICKS: f64 = 100.0;

/// Time that a processor has had nothing to do, and all its time, in the kernel's ticks.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    /// Of one processor, so far.
    pub fn of(processor: usize) -> Result<Self> {
        Self::read(&fs::read_to_string("/proc/stat")?, processor)
    }

    fn read(stat: &str, processor: usize) -> Result<Self> {
        let name = format!("cpu{processor}");
        let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
        let (_, line) = lines.find(|(first, _)| *first == name).with_context(|| format!("no processor {processor}"))?;
        let ticks: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // The last two, guests, are in the first two already.
        let all = ticks.iter().take(8).sum();
        Ok(Self { idle: ticks.get(3..5).into_iter().flatten().sum(), all })
    }

    /// The part of the time since `before` in which it had nothing to do.
    pub fn idle_since(self, before: Self) -> f64 {
        (self.idle - before.idle) as f64 / (self.all - before.all).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use std::time::Duration;

    use super::{Ticks, age, family, processor_time, resident};

    #[test]
    fn a_processor_that_waited_for_a_disk_was_idle() {
        let before = Ticks::read("cpu 9 9\ncpu0 1 1\ncpu1 100 0 0 100 0 0 0 0 50 0\n", 1).expect("line");
        let after = Ticks::read("cpu 9 9\ncpu0 1 1\ncpu1 170 0 0 120 10 0 0 0 90 0\n", 1).expect("line");
        assert!((after.idle_since(before) - 0.3).abs() < 1e-9);
        assert!(Ticks::read("cpu0 1 1\n", 1).is_err());
    }

    #[test]
    fn a_process_is_counted_with_its_children() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("started");
        let family = family(process::id());
        assert!(age(child.id()).is_some_and(|age| age < Duration::from_mins(1)));
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(family.contains(&process::id()) && family.contains(&child.id()), "{family:?}");
        assert!(resident(process::id()).is_some_and(|bytes| bytes > 0.0));
        assert!(!processor_time(process::id()).expect("own time").is_zero());
        assert!(processor_time(child.id()).is_err());
    }
}
