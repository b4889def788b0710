//! What a seed does.

use std::{
    cell::{Cell, RefCell},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    time::Duration,
};

use clew_common::log::SimDisk;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use turmoil::Sim;

use crate::{LIMIT, nodes, sender};

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    seed: u64,
    agents: usize,
    collectors: usize,
    senders: usize,
    requests: u32,
    latency_ms: u64,
    sync_ms: u64,
    /// Mean milliseconds between faults.
    fault_every_ms: u64,
}

/// Something that goes wrong, and gets well again later.
#[derive(Clone, Debug, Hash)]
enum Fault {
    /// The host loses power: what was not synced is gone, in part.
    PowerLoss(String),
    /// The process is killed: what was written stays.
    Kill(String),
    /// Nothing passes between two hosts.
    Partition(String, String),
    /// Nothing passes from the first to the second.
    OneWay(String, String),
    /// What is sent between two hosts comes later.
    Hold(String, String),
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        Self {
            seed,
            agents: random.random_range(1..=2),
            collectors: random.random_range(1..=2),
            senders: random.random_range(1..=3),
            requests: random.random_range(10..=40),
            latency_ms: *[1, 5, 50].get(random.random_range(0..3)).unwrap_or(&1),
            sync_ms: *[1, 10, 100].get(random.random_range(0..3)).unwrap_or(&1),
            fault_every_ms: random.random_range(50..600),
        }
    }

    /// Runs it; the digest of all that happened, or what went wrong.
    pub fn run(&self, verbose: bool) -> Result<u64, String> {
        let mut random = SmallRng::seed_from_u64(self.seed ^ 0x5eed);
        let mut sim = turmoil::Builder::new()
            .simulation_duration(LIMIT)
            .tick_duration(Duration::from_millis(2))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(1 + self.latency_ms))
            .tcp_capacity(4096)
            .rng_seed(self.seed)
            .build();
        let collectors = names("collector", self.collectors);
        let agents = names("agent", self.agents);
        let disks: Vec<(String, SimDisk)> =
            collectors.iter().chain(&agents).map(|name| (name.clone(), SimDisk::new())).collect();
        disks.iter().for_each(|(_, disk)| disk.set_simulated_sync(Duration::from_millis(self.sync_ms)));
        let disk = |name: &String| {
            disks.iter().find(|(other, _)| other == name).map(|(_, disk)| disk.clone()).unwrap_or_default()
        };

        for (index, name) in collectors.iter().enumerate() {
            let (disk, seed) = (disk(name), self.seed.wrapping_mul(31) + index as u64);
            sim.host(name.as_str(), move || nodes::collector(disk.clone(), seed));
        }
        let urls: Vec<String> =
            collectors.iter().map(|name| format!("http://{name}:{}", nodes::COLLECTOR_PORT)).collect();
        for (index, name) in agents.iter().enumerate() {
            let (disk, seed, urls) = (disk(name), self.seed.wrapping_mul(37) + index as u64, urls.clone());
            sim.host(name.as_str(), move || nodes::agent(disk.clone(), seed, urls.clone()));
        }
        let acked = sender::Acked::default();
        let sending = Rc::new(Cell::new(self.senders));
        for index in 0..self.senders {
            let (agent, acked, sending) = (agents[index % agents.len()].clone(), acked.clone(), sending.clone());
            let (name, requests, seed) =
                (format!("sender-{index}"), self.requests, self.seed.wrapping_mul(41) + index as u64);
            sim.client(name.clone(), async move {
                sender::send(name, agent, requests, seed, acked).await?;
                sending.set(sending.get() - 1);
                Ok(())
            });
        }

        let mut log = DefaultHasher::new();
        let mut faults: Vec<(Duration, Fault)> = Vec::new();
        let mut count = 0;
        let mut next_fault = Duration::from_millis(200);
        // Faults come while spans are sent, and for a moment after.
        while sending.get() > 0 {
            self.step(&mut sim)?;
            let now = sim.elapsed();
            if now >= next_fault {
                next_fault = now + Duration::from_millis(random.random_range(1..2 * self.fault_every_ms));
                let fault = pick(&mut random, &agents, &collectors);
                let until = now + Duration::from_millis(random.random_range(10..2000));
                if begin(&mut sim, &fault, &faults, &disks, random.random_range(0..u64::MAX)) {
                    (now, &fault).hash(&mut log);
                    if verbose {
                        println!("{now:?} {fault:?} until {until:?}");
                    }
                    faults.push((until, fault));
                    count += 1;
                }
            }
            heal(&mut sim, &mut faults, now);
        }
        heal(&mut sim, &mut faults, LIMIT);

        let checked = Rc::new(RefCell::new(None));
        let (result, expected) = (checked.clone(), acked.clone());
        sim.client("checker", async move {
            let checked = sender::check(collectors, expected).await;
            *result.borrow_mut() = Some(checked);
            Ok(())
        });
        while checked.borrow().is_none() {
            self.step(&mut sim)?;
        }
        let spans = checked.borrow_mut().take().unwrap_or_else(|| Err("no answer".to_owned()))?;
        (sim.elapsed(), spans, &*acked.borrow()).hash(&mut log);
        if verbose {
            println!("{spans} spans, {count} faults, {:?} of simulated time", sim.elapsed());
        }
        Ok(log.finish())
    }

    fn step(&self, sim: &mut Sim<'_>) -> Result<(), String> {
        sim.step().map(drop).map_err(|error| error.to_string())
    }
}

fn names(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{what}-{index}")).collect()
}

fn pick(random: &mut SmallRng, agents: &[String], collectors: &[String]) -> Fault {
    let agent = agents[random.random_range(0..agents.len())].clone();
    let collector = collectors[random.random_range(0..collectors.len())].clone();
    match random.random_range(0..8) {
        0 => Fault::PowerLoss(agent),
        1 => Fault::PowerLoss(collector),
        2 => Fault::Kill(agent),
        3 => Fault::Kill(collector),
        4 => Fault::Partition(agent, collector),
        5 => Fault::OneWay(agent, collector),
        6 => Fault::OneWay(collector, agent),
        _ => Fault::Hold(agent, collector),
    }
}

/// Lets a fault happen, unless its hosts have one already.
fn begin(
    sim: &mut Sim<'_>,
    fault: &Fault,
    faults: &[(Duration, Fault)],
    disks: &[(String, SimDisk)],
    seed: u64,
) -> bool {
    let hosts = |fault: &Fault| match fault {
        Fault::PowerLoss(host) | Fault::Kill(host) => vec![host.clone()],
        Fault::Partition(a, b) | Fault::OneWay(a, b) | Fault::Hold(a, b) => vec![a.clone(), b.clone()],
    };
    let mine = hosts(fault);
    if faults.iter().any(|(_, other)| hosts(other).iter().any(|host| mine.contains(host))) {
        return false;
    }
    match fault {
        Fault::PowerLoss(host) | Fault::Kill(host) => {
            sim.crash(host.as_str());
            for (_, disk) in disks.iter().filter(|(name, _)| name == host) {
                match fault {
                    Fault::PowerLoss(_) => disk.crash(seed),
                    _ => disk.kill(),
                }
            }
        }
        Fault::Partition(a, b) => sim.partition(a.as_str(), b.as_str()),
        Fault::OneWay(a, b) => sim.partition_oneway(a.as_str(), b.as_str()),
        Fault::Hold(a, b) => sim.hold(a.as_str(), b.as_str()),
    }
    true
}

/// Ends the faults whose time is over.
fn heal(sim: &mut Sim<'_>, faults: &mut Vec<(Duration, Fault)>, now: Duration) {
    faults.retain(|(until, fault)| {
        if *until > now {
            return true;
        }
        match fault {
            Fault::PowerLoss(host) | Fault::Kill(host) => sim.bounce(host.as_str()),
            Fault::Partition(a, b) => sim.repair(a.as_str(), b.as_str()),
            Fault::OneWay(a, b) => sim.repair_oneway(a.as_str(), b.as_str()),
            Fault::Hold(a, b) => sim.release(a.as_str(), b.as_str()),
        }
        false
    });
}
